"""INT8 files in TensorRT's form, by ONNX Runtime's own quantiser: signed, symmetric, weights per channel."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

SIZES = {"batch": 1, "height": 64, "width": 64}


class Noise(CalibrationDataReader):
    """Some inputs for a model with one float32 input."""

    def __init__(self, path: Path, count: int) -> None:
        (self._input,) = onnx.load(path).graph.input
        self._left = count

    def get_next(self) -> dict[str, np.ndarray] | None:
        self._left -= 1
        return None if self._left < 0 else {self._input.name: noise(self._input, self._left)}


def noise(port: onnx.ValueInfoProto, seed: int = 0) -> np.ndarray:
    """What an input takes, beyond what calibration has seen at both ends."""
    dims = port.type.tensor_type.shape.dim
    shape = [dim.dim_value or SIZES[dim.dim_param] for dim in dims]
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def quantise(
    path: Path,
    quantised: Path,
    *,
    operators: Sequence[str] = ("Add", "Concat", "Conv", "Gemm", "MatMul", "Mul"),
    seven_bits: bool = False,
) -> Path:
    """Write the INT8 form of a model, with its metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(
            path,
            quantised,
            Noise(path, 2),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=seven_bits,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(operators),
            extra_options={"ActivationSymmetric": True},
        )
    return quantised
