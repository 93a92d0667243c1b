"""The ONNX graph of a module: exported, described and written.

loading.py               An ONNX file as a graph in memory
metadata.py              The spec in the metadata of an ONNX model
onnx_export.py           A module and its spec -> one simplified ONNX graph with the spec inside
report.py                What an ONNX graph consists of, read without torch
storage.py               Writing a model: one file where the format allows it, two named and hashed files
                         where not
ultralytics_metadata.py  The metadata keys by which Ultralytics recognises its own ONNX exports
"""
