"""Reading of every checkpoint container; no code of a file is ever run.

pickles/             Pickles, read by a machine that cannot run code
weights/             Which objects of a file are the weights, and which of them are meant
blame.py             Errors that a file provokes are reported as faults of the file
budget.py            How much reading one file may take: memory, work, and the size of what it describes
folder.py            A Hugging Face folder: config.json (or open_clip_config.json) beside the weights, in
                     one file or in shards
hdf5.py              Reading HDF5 files that anyone may have written: what an object claims is checked
                     before it is read
keras_h5.py          Keras HDF5 files: the weights of a model, or a whole model
labels.py            Files of class names, in the forms that training codes and data sets have them
read.py              Any checkpoint file or folder becomes a ``Checkpoint``
safetensors_file.py  Files of the safetensors form (https://github.com/huggingface/safetensors)
sniff.py             What a file is, judged by its content; the extension is only a hint to people
texts.py             Settings written as text by others: JSON, YAML, and Python of which only literals are
                     taken
torch_file.py        Files of ``torch.save``: the zip form, and the older form of consecutive pickles
"""
