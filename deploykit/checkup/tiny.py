"""The smallest image model, as bytes: enough to make an engine prove that it runs.

Encoded by hand, because a machine that only runs models need not have onnx or torch. The
field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from deploykit_runtimes.onnx.protobuf import encode, encode_number

__all__ = ["INPUT_SHAPE", "tiny_model"]

INPUT_SHAPE = (1, 3, 8, 8)
"""Shape of the input ``images``, float32; the output ``logits`` is its mean over each channel [1, 3]."""

_IR_VERSION, _OPSET, _FLOAT = 8, 17, 1


def tiny_model() -> bytes:
    """An ONNX file: GlobalAveragePool, then Flatten."""
    graph = b"".join(
        (
            encode(1, _node("GlobalAveragePool", "images", "pooled")),
            encode(1, _node("Flatten", "pooled", "logits")),
            encode(2, "tiny"),
            encode(11, _value("images", INPUT_SHAPE)),
            encode(12, _value("logits", INPUT_SHAPE[:2])),
        )
    )
    opset = encode_number(2, _OPSET)
    return encode_number(1, _IR_VERSION) + encode(7, graph) + encode(8, opset)


def _node(operator: str, source: str, target: str) -> bytes:
    return encode(1, source) + encode(2, target) + encode(3, operator.lower()) + encode(4, operator)


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(encode(1, encode_number(1, n)) for n in shape)
    tensor = encode_number(1, _FLOAT) + encode(2, dims)
    return encode(1, name) + encode(2, encode(1, tensor))
