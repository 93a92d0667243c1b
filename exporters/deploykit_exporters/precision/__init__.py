"""Typed float16 files, torch-free: an ONNX file in float32 in, one in float16 out.

file.py         A file to a file, with its golden cases and its record
convert.py      A graph to a graph: what is measured, searched and proven
feeds.py        What a model is measured on, and the pictures of a folder
float_graph.py  Which values are float32, which nodes can compute in float16, and a choice of them
attention.py    Attention that accumulates in float32
ranges.py       What float16 cannot hold, measured
answers.py      How far answers are from float32's, and how far they may be
islands.py      The search for what has to stay in float32
rounding.py     The emulation: float32 nodes that round to float16
typed.py        The typed graph, with its casts
kept.py         What stays in float32 and why, in words
golden.py       The golden cases with tolerances measured anew
sessions.py     Running a graph in memory, node for node
"""
