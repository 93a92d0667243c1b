"""INT8 files: explicit QuantizeLinear and DequantizeLinear by ONNX Runtime's quantiser, and our search.

``options``     what an INT8 file is made for, of what, and how much it may lose
``graph``       what of a graph can be quantised, and how that is written
``measuring``   what is measured of a network and of candidates, and on which pictures
``candidates``  mixes of 8 bits and float, each measured once
``search``      the fastest mix inside the budget
``writing``     the best candidate as a file, tested on the engines of this machine
``golden``      golden cases with tolerances for 8 bits
``run``         from the file to the report
``report``      what was found; ``html`` the same as a page
"""
