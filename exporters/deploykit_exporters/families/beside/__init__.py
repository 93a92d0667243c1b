"""Settings that training code left anywhere in a checkpoint, compared with what was built.

Custom training code saves its configuration under any name (``hyper_parameters``, ``cfg``, ``opt``). What it
says about the network or its images must match what was built; everything else is listed.

vocabulary.py   what a setting is about, by the words of its name
as_built.py     what was built, read off the network and its spec
network.py      settings of the network, compared with what was built; images.py those of the pre-processing
verdict.py      what comes of a comparison, and how values are read
settle.py       goes through a file and settles every setting
classes.py      Names of the classes that training code stored in a file
contents.py     The contents of a setting: dictionaries, objects, text that is a configuration, steps of a
                transform
entries.py      The settings of a file that the dialect does not read, one by one
lists.py        Settings saved as a list or as one line: a command line, overrides of Hydra, pairs, records
models.py       Names of models among the settings of a file, compared with what was built
modules.py      Weights outside the network that may process images before it sees them
refusal.py      Messages about settings that differ from what was built, and the options that settle them
scores.py       How the file turns logits into scores
"""

from deploykit_exporters.families.beside.settle import settle_beside, stated_size

__all__ = ["settle_beside", "stated_size"]
