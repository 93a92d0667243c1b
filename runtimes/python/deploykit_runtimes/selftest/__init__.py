"""The golden cases that a model file carries, and the test of an engine by them.

docs/spec.md defines the cases for every language; C++ has the same room.

bits.py          Pseudo-random numbers and pictures that every language makes alike, to the bit
cases.py         The cases: dataclasses, and the metadata keys that hold them
inputs.py        The feeds of a case: its pixels, pre-processed as ``predict`` does it
measure.py       What is kept of an output: sampled values, means along each axis, rows of answers
compare.py       How far an engine's outputs are from what was kept
run.py           ``self_test``: every case on a runner, judged by the precision that it runs in
cache_watch.py   Engines that are compiled into a cache as a model is opened: tested before anyone uses them
renewed.py       Golden cases for a file of a lower precision: the answers stay, the tolerances are measured
                 again
scales.py        Differences from a golden case as shares of the scale of what it kept
"""
