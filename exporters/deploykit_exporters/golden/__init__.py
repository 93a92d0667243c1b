"""Golden answers: what a model answered in the process that trained it, against what deploykit makes of it.

file.py      reading what ``deploykit.record`` wrote, without trust in it
prove.py     the comparison: pre-processing, network, head
difference.py where they differ, why, and what fixes it
compare.py   outputs of the two, and how far they are apart
pixels.py    the pre-processing, and what is wrong with it
network.py   why a network differs: channels, eps, activations, heads
weights.py   or because its weights are others
advice.py    which settings of --config would be honoured
head.py      why only its head does: classes in another order, an activation, other names
"""
