"""The graph: what of it can be quantised, and how that is written.

``network``     what of a graph can be quantised
``groups``      layers of one kind, which decide together
``insert``      a candidate: which layers, which ranges, which further operators
``saturation``  the proof that no product saturates on CPUs without VNNI
"""
