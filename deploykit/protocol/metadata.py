"""What a model declares to clients about its inputs and outputs, for REST and gRPC.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploykit_runtimes.contract.tensors import TensorInfo

from deploykit.protocol.datatypes import datatype_of

__all__ = ["PLATFORM", "axis_sizes", "model_metadata"]

PLATFORM = "onnxruntime_onnx"
"""Triton's name, which its clients know, of a model that came as ONNX."""


def model_metadata(
    name: str, version: str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> dict[str, Any]:
    """Metadata of a model's inputs and outputs; -1 for an axis of variable length."""
    return {
        "name": name,
        "versions": [version],
        "platform": PLATFORM,
        "inputs": [_tensor(info) for info in inputs],
        "outputs": [_tensor(info) for info in outputs],
    }


def axis_sizes(shape: Sequence[int | str]) -> list[int]:
    """The length of each axis; -1 if it is variable."""
    return [axis if isinstance(axis, int) else -1 for axis in shape]


def _tensor(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": datatype_of(info.dtype), "shape": axis_sizes(info.shape)}
