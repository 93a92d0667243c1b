"""Post-processing of detectors inside the graph: heads in, finished detections out.

candidates.py      The heads of detectors, read inside the graph: what scores above ``conf``, and its box
detections.py      Finished detections inside the graph: the head's answers, suppressed, in pixels of the
                   image
instance_masks.py  Instance masks at the size of the graph's input, equal to
                   ``deploykit_runtimes.answers.masks``
overlaps.py        How much boxes overlap, as ``deploykit_runtimes.answers.nms`` measures it. Can be
                   scripted
suppression.py     Non-maximum suppression in standard ONNX operators, equal to
                   ``deploykit_runtimes.answers.nms``
"""
