"""Reading of every checkpoint container; no code of a file is ever run.

read.py              the way in: any file or folder becomes a ``Checkpoint``
sniff.py             what a file is, by its content
torch_file.py        torch.save, zip and older form, through the pickle machine of
unpickle.py          opcodes.py, machine.py: what a pickle names becomes one of the
inert.py             stand-ins, but for the tensors and arrays of
rebuild.py
dangerous.py         what a file may not name, though nothing of it is run, by the
powers.py            of what it names
finder.py            where in the objects the weights are, as
found.py             and which of them are meant:
averages.py          the averaged ones, by the training codes that write them,
flattened.py         or beside the others in one state dict
partial.py           what is only a part of a model's weights
unwrap.py, names.py  the whole, and the names of weights
safetensors_file.py, keras_h5.py, folder.py
"""
