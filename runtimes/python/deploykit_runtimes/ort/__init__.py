"""ONNX Runtime: the adapter, its sessions and plug-ins, and the rewrites that it gets at load.

binding.py     Calls of a session through buffers that stay on the device, one set per shape
errors.py      What ONNX Runtime could not do, as one of our errors; in the texts of C++
               (``ort/api/errors.cpp``)
gates.py       Squeeze-and-excitation in blocks of channels: a rewrite for ONNX Runtime on CPUs
late_cast.py   Pixels are moved as the bytes they are: a rewrite of self-contained models for ONNX Runtime
               on CPUs
options.py     What is set on an ONNX Runtime session, and why. Pure functions from options to settings
plugins.py     Plug-in execution providers of ONNX Runtime: engines that come as packages of their own
ranking.py     The best classes, found by the engine: softmax and top-k at the end of a classifier's own
               graph
rewrites.py    What becomes of a graph at load, in memory: the rewrites for ONNX Runtime on CPUs, and their
               names
runner.py      ONNX Runtime adapter: CPU, CUDA, TensorRT and plug-in execution providers, with proof of what
               ran
saturation.py  Products of bytes that saturate, and how INT8 files have right answers on x86 processors
               without VNNI
session.py     Starting an ONNX Runtime session, and refusing one that is not what was asked for
unsigned.py    Signed activations become unsigned: a rewrite of INT8 files for ONNX Runtime on x86
               processors
"""
