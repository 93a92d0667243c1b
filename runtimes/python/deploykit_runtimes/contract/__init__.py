"""What a model file declares about itself, and what is inferred where it declares nothing.

axes.py                 The axes of an input that may be dynamic
exporter_metadata.py    What other exporters write about a model into its file: Ultralytics, and the
                        repository of YOLOv5
inferred_processing.py  What follows from the meaning of a foreign file's outputs: pre-processing,
                        thresholds, assumptions
inferred_spec.py        The spec of a file that another exporter wrote: told by its metadata, declared by
                        the caller, or inferred
limits.py               What a model file may ask for: one table, which C++ has too and SECURITY.md explains
metadata.py             ModelSpec <-> flat string keys, as ``docs/spec.md`` defines them
reading_shapes.py       Which readings fit the shapes of a graph's outputs
readings.py             What the outputs of a file can mean that another exporter wrote, by the names that
                        ``--outputs`` takes
shapes.py               Whether a model takes the batch or the image size that an option asks for
spec.py                 ModelSpec: everything an application must know to use a model file
spec_limits.py          Whether the sizes that a contract names can be meant; see ``limits``
tensors.py              What a graph takes and returns: names, element types and shapes
"""
