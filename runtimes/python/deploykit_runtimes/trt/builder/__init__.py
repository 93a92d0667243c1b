"""From an ONNX file to an engine, on the machine that builds.

ahead.py    `deploykit build`
compile.py  network -> plan, with progress, timing cache and targets
monitor.py  How far a build is, from the phases that TensorRT reports
network.py  ONNX file -> network
"""
