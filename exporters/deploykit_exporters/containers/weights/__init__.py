"""Which objects of a file are the weights, and which of them are meant.

averages.py      Which weights are the averaged ones where a file holds both, by the training codes that
                 write them
finder.py        The search for weights in the objects of a file
flattened.py     Averaged copies that lie in the same state dict as the weights, under names without dots
found.py         Weights that were found in a file, with where they were and what must be said about them
names.py         Names of weights, without what wrappers added to them
parametrized.py  Weights that training code keeps in parts, and computes anew for every run
partial.py       Files that hold only a part of a model's weights, or none: what they are, and what to do
unwrap.py        Which weights of a file are exported, and what else it tells
"""
