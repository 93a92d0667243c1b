"""From a checkpoint to a proven ONNX file. Users reach it through ``import deploykit``."""
