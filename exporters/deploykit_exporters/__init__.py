"""From a checkpoint to a proven ONNX file. Users reach it through ``import deploykit``."""

from deploykit_runtimes import __version__

__all__ = ["__version__"]
