"""deploykit: from a trained checkpoint to one proven ONNX file that runs anywhere."""

__version__ = "0.1.0"
