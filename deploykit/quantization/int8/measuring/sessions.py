"""Runs a graph in memory with ONNX Runtime, and returns the requested tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.ort.unsigned import make_unsigned

if TYPE_CHECKING:
    import onnx

__all__ = ["session_returning"]


def session_returning(model: onnx.ModelProto, names: Sequence[str]) -> Any:
    """A session on the CPU whose outputs are these tensors, in the form that the Runner uses for INT8 graphs.

    Args:
        model: The graph; it is not changed.
        names: Float32 tensors that its nodes produce.
    """
    import onnxruntime
    from onnx import ModelProto, helper

    shown: onnx.ModelProto = ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are told by exceptions; a log line holds names of the model, raw
    content = shown.SerializeToString()
    return onnxruntime.InferenceSession(
        make_unsigned(content) or content, options, providers=["CPUExecutionProvider"]
    )
