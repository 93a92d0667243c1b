"""The first layer at which an engine leaves the reference.

anew.py     The checkpoint exported again as a model file was, and whether both have the same nodes
cuts.py     Where a graph can be cut, and which values are alive there
inputs.py   What the two sides are fed: the user's images, the golden cases, the photo of the proof
result.py   What was found
run.py      ``bisect``: the two sides, and one case after the other
search.py   Comparing at cuts and halving, down to one node
sides.py    The two sides: a graph, and the engine that runs its parts
stored.py   A graph whose weights lie in a file of their own, so that its parts are small
weights.py  The weights of a model file in a file of their own
"""
