"""ONNX files, read and edited without an engine and without the onnx package.

edit.py          Changing the graph of an ONNX file in memory, without the onnx package. Field numbers are
                 those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)
file.py          What an ONNX file says about itself, read without an engine and without the onnx package
graph_limits.py  Whether a graph asks for more than ``limits`` allows, told without running it
model_file.py    What a file given as a model is, told by its first bytes before an engine sees it
model_files.py   The files of a model: its own, and those with weights or compiled parts that it names
precompiled.py   Models that were compiled already, and which engine runs them
protobuf.py      The encoding of protocol buffers, as far as ONNX files need it
                 (https://protobuf.dev/programming-guides/encoding/)
quantised.py     Graphs with QuantizeLinear and DequantizeLinear nodes, as far as rewrites of INT8 files
                 need them
stored.py        Tensors that are stored in an ONNX file: their shapes, and the bytes of those of 8 bits
tensor_sizes.py  The sizes of tensors that follow from constants: a rule for each operator that can make
                 something large
"""
