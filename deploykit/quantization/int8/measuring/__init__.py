"""What is measured of a network and of candidates, and on which pictures.

``pictures``      pictures to calibrate with, and others to measure on
``activations``   histograms of what layers take and return, and the ranges that each method makes of them
``tensor_error``  how far the tensors of a candidate are off
``accuracy``      the metric of a candidate
``sessions``      a graph in memory in ONNX Runtime, returning what is asked of it
``speed``         the time of a candidate, in turns with float32
``state``         measurements on disk, for a run that goes on
"""
