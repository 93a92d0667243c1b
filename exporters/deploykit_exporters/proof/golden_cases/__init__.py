"""The golden cases that a file carries, made while it is proven. ``deploykit_runtimes.selftest`` reads them.

keys.py        The cases, and the metadata that holds them
crafted.py     A picture in which a detector finds objects, where photos show none of its own
tolerances.py  How far an engine may be off them, at each precision
rounding.py    A network as an engine of a lower precision computes it
"""
