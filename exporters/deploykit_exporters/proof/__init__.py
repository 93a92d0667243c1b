"""The proof that a file answers as the checkpoint does.

answers.py       The proof end to end: answers of a self-contained file against the checkpoint's
candidate.py     The file under proof, opened node for node in the engine that proves it
cases.py         The inputs of the proof: noise and real pictures
float64.py       Telling a wrong file from inputs on which float32 cannot decide
golden_cases     The golden cases that a file carries
golden_cases/    The golden cases that a file carries, made while it is proven.
                 ``deploykit_runtimes.selftest`` reads them
own_forward.py   What a module in memory answers itself, compared with what was read from it
pictures.py      Real pictures for the proof, with as many channels as a network takes
processing.py    The proof of the parts around a network, each alone: pre-processing by pixels, post-
                 processing on plenty
raised.py        The proof of a detector on pictures without its objects
tensors.py       The proof: the checkpoint in torch against the ONNX file in an engine
torch_runner.py  The oracle: the checkpoint itself, run by torch behind the Runner protocol
witness.py       The origin's own library as a second reader of the checkpoint
"""
