"""Products of bytes that saturate: what ONNX Runtime is asked for on x86 processors without VNNI.

Their vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits: 255 * 127 + 255 * 127 gives
32767 in place of 64770, and an INT8 file has other answers than with VNNI, on Arm and on GPUs. Weights within
[-64, 63] cannot get there. For others ``session.x64quantprecision`` has ONNX Runtime make signed weights
unsigned, whose products take 32 bits; it does so where the processor saturates and where weights go beyond.
Signed activations are no way around: ONNX Runtime makes most of them unsigned itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deploykit_runtimes.machine.cpu import cpu_class
from deploykit_runtimes.onnx.file import OnnxFile, map_onnx
from deploykit_runtimes.onnx.stored import INT8, read_weights

__all__ = ["WIDE_PRODUCTS", "products_saturate"]

WIDE_PRODUCTS = {"session.x64quantprecision": "1"}
_LEAST, _MOST = -64, 63
"""2 * 255 * 64 fits into 16 bits."""


def products_saturate(path: Path, file: OnnxFile) -> bool:
    """Whether a file has weights whose products this processor would saturate.

    Args:
        path: The .onnx file.
        file: What was read of it.
    """
    if not file.weights.get("int8") or cpu_class() != "no-vnni":
        return False
    if file.external:
        return True  # they are not searched; ONNX Runtime looks for itself
    try:
        return any(_goes_beyond(values) for values in read_weights(map_onnx(path), INT8))
    except (ValueError, IndexError, OSError):
        return True  # for ONNX Runtime to refuse


def _goes_beyond(values: bytes | memoryview) -> bool:
    numbers = np.frombuffer(values, np.int8)
    return bool(numbers.size and (numbers.min() < _LEAST or numbers.max() > _MOST))
