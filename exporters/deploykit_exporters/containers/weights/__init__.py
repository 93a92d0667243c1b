"""Which objects of a file are the weights, and which of them are meant.

averages.py      Which weights are the averaged ones if a file holds both, for each training code that
                 writes them
finder.py        The search for weights in the objects of a file
flattened.py     Averaged copies that lie in the same state dict as the weights, under names without dots
found.py         Weights that were found in a file, where they were, and what must be said about them
names.py         Names of weights, without the prefixes that wrappers added
parametrized.py  Weights that training code keeps in parts, and computes for every run
partial.py       Files that hold only a part of a model's weights, or none: what they are, and what to do
unwrap.py        Which weights of a file are exported, and what else it says
"""
