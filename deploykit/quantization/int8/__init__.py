"""INT8 files: explicit QuantizeLinear and DequantizeLinear by ONNX Runtime's quantiser, and our search.

``network``      what of a graph can be quantised
``groups``       layers of one kind, which decide together
``activations``  histograms of what layers take and return, and the ranges that each method makes of them
``insert``       a candidate: which layers, which ranges, which further operators
``saturation``   the proof that no product saturates on CPUs without VNNI
``pictures``     pictures to calibrate with and to measure on
``accuracy``     the metric of a candidate, and how far its tensors are off
``speed``        the time of a candidate, in turns with float32
``state``        measurements on disk, for a run that goes on
``search``       the fastest mix inside the budget
``golden``       golden cases with tolerances for INT8
``run``          from the file to the report
``report``       what was found; ``html`` the same as a page
"""
