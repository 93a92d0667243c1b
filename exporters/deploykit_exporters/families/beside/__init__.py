"""Settings that training code left anywhere in a checkpoint, compared with what was built.

Custom training code saves its configuration under any name (``hyper_parameters``, ``cfg``, ``opt``). What it
says about the network or its images must match what was built; everything else is listed.

vocabulary.py   what a setting is about, by the words of its name
as_built.py     what was built, read off the network and its spec
network.py      settings of the network, compared with what was built; images.py those of the pre-processing
verdict.py      what comes of a comparison, and how values are read
settle.py       goes through a file and settles every setting
"""

from deploykit_exporters.families.beside.settle import settle_beside, stated_size

__all__ = ["settle_beside", "stated_size"]
