"""The classifier that training code put beside a network, or instead of the origin's own.

join.py    The classifier that training code put beside the network, or instead of the origin's own
layers.py  The layers of a classifier of several layers: read from keys and shapes, or from the pickled
           module
search.py  The search for classifiers among the weights inside and outside a network
"""
