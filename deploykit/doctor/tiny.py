"""The smallest image model, as bytes: enough to make an engine prove that it runs.

Encoded by hand, because neither onnx nor torch needs to be installed where models only run. The
field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

__all__ = ["INPUT_SHAPE", "tiny_model"]

INPUT_SHAPE = (1, 3, 8, 8)
"""Shape of the input ``images``, float32; the output ``logits`` is its mean over each channel [1, 3]."""

_IR_VERSION, _OPSET, _FLOAT = 8, 17, 1


def tiny_model() -> bytes:
    """An ONNX file: GlobalAveragePool, then Flatten."""
    graph = b"".join(
        (
            _field(1, _node("GlobalAveragePool", "images", "pooled")),
            _field(1, _node("Flatten", "pooled", "logits")),
            _field(2, "tiny"),
            _field(11, _value("images", INPUT_SHAPE)),
            _field(12, _value("logits", INPUT_SHAPE[:2])),
        )
    )
    opset = _number(2, _OPSET)
    return _number(1, _IR_VERSION) + _field(7, graph) + _field(8, opset)


def _node(operator: str, source: str, target: str) -> bytes:
    return _field(1, source) + _field(2, target) + _field(3, operator.lower()) + _field(4, operator)


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _number(1, n)) for n in shape)
    tensor = _number(1, _FLOAT) + _field(2, dims)
    return _field(1, name) + _field(2, _field(1, tensor))


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _field(tag: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(tag << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
