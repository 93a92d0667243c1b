"""Squeeze-and-excitation in blocks of channels: a rewrite for ONNX Runtime on CPUs.

ONNX Runtime convolves in blocks of channels, and multiplies a map [N, C, H, W] by a number per channel only
outside of them: in an EfficientNet every gate reorders its map, multiplies, and reorders it back, 16 % of the
time. Products of two maps stay in blocks. So the gate is repeated to the size of its map first, which for
small maps takes less than what it saves: 3 % of an EfficientNet-B0, and 5 % where each call has one
thread (repeating is done by one, reordering by all of them). Equal products; the sums after them may differ
in their last bit. ``deploykit export`` writes down the sizes of gated maps.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from deploykit_runtimes.machine.cpu import cpu_flags
from deploykit_runtimes.onnx.edit import (
    INITIALIZER,
    NODE,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OPERATOR,
    NODE_OUTPUT,
    VALUE_INFO,
    Node,
    edit_graph,
    read_node,
)
from deploykit_runtimes.onnx.file import read_tensor_info
from deploykit_runtimes.onnx.protobuf import encode, encode_number, pieces
from deploykit_runtimes.ort.ranking import ADDED

__all__ = ["SMALL", "repeat_gates", "repeating_pays"]

_MACHINES = ("x86_64", "AMD64")
_BLOCKS_OF_8, _BLOCKS_OF_16 = "avx2", "avx512f"
"""The rewrite was measured on x86-64 with AVX2. Blocks are twice as wide with AVX-512, and elsewhere there
may be none; ``benchmarks/gates.py`` measures what it costs there."""
SMALL = 256
"""Pixels of a map up to which one thread repeats its gate sooner than several reorder the map."""

_BLOCK = 16
"""Channels: what fills no whole blocks is not kept in them."""

_NAME = 1  # of an attribute or a value info
_ATTRIBUTE_TEXT, _ATTRIBUTE_TYPE = 4, 20
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_DATA = 1, 2, 8, 9
_FLOAT, _TEXT = 1, 3  # types of a tensor and of an attribute


def repeat_gates(model: bytes, largest: int | None = None) -> bytes | None:
    """Repeat the gates of maps whose sizes the file gives.

    Args:
        model: An ONNX file.
        largest: Most pixels of a map that is treated so; None: of any size.

    Returns:
        None: there are none.
    """
    return edit_graph(model, partial(_rewritten, largest=largest))


def repeating_pays() -> bool:
    """Whether this machine is of the kind on which the rewrite was measured to be faster."""
    flags = cpu_flags()
    return platform.machine() in _MACHINES and _BLOCKS_OF_8 in flags and _BLOCKS_OF_16 not in flags


class _Gated(NamedTuple):
    """A product of a map and its gate.

    Attributes:
        gate: The name of the gate.
        info: The value info of the map.
        height, width: Of the map.
    """

    gate: str
    info: memoryview
    height: int
    width: int

    def repeat(self, name: str) -> bytes:
        """The node that repeats the gate as ``name``, in the one form that ONNX Runtime does in blocks."""
        modes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        wires = ((NODE_INPUT, self.gate), (NODE_INPUT, ""), (NODE_INPUT, _scales(name)), (NODE_OUTPUT, name))
        content = [encode(number, wire) for number, wire in wires]
        content += [encode(NODE_NAME, name), encode(NODE_OPERATOR, "Resize")]
        for key, mode in modes.items():
            attribute = encode(_NAME, key) + encode(_ATTRIBUTE_TEXT, mode)
            content.append(encode(NODE_ATTRIBUTE, attribute + encode_number(_ATTRIBUTE_TYPE, _TEXT)))
        return encode(NODE, b"".join(content))

    def known(self, name: str) -> bytes:
        """How often the gate is repeated, and the shape that comes of it, which is that of the map."""
        scales = struct.pack("<4f", 1, 1, self.height, self.width)
        tensor = encode_number(_TENSOR_DIMS, 4) + encode_number(_TENSOR_TYPE, _FLOAT)
        tensor += encode(_TENSOR_NAME, _scales(name)) + encode(_TENSOR_DATA, scales)
        others = (piece for number, _, piece in pieces(self.info) if number != _NAME)
        return encode(INITIALIZER, tensor) + encode(VALUE_INFO, b"".join((encode(_NAME, name), *others)))


def _rewritten(graph: memoryview, largest: int | None) -> bytes | None:
    shapes: dict[str, tuple[memoryview, tuple[int | str, ...]]] = {}
    for number, value, _ in pieces(graph):
        if number == VALUE_INFO and isinstance(value, memoryview):
            info = read_tensor_info(value)
            shapes[info.name] = value, info.shape
    if not shapes:
        return None
    parts: list[bytes | memoryview] = []
    known: list[bytes] = []
    for number, value, piece in pieces(graph):
        node = read_node(0, value) if number == NODE and isinstance(value, memoryview) else None
        gated = None if node is None else _gated(node, shapes)
        if node is None or gated is None or (largest and gated.height * gated.width > largest):
            parts.append(piece)
            continue
        name = f"{ADDED}gate{len(known)}"
        parts += [gated.repeat(name), node.rewired({gated.gate: name})]
        known.append(gated.known(name))
    return b"".join((*parts, *known)) if known else None


def _gated(node: Node, shapes: Mapping[str, tuple[memoryview, tuple[int | str, ...]]]) -> _Gated | None:
    if node.operator != "Mul" or not all(name in shapes for name in node.inputs):
        return None
    for features, gate in (node.inputs, reversed(node.inputs)):
        (info, wide), (_, narrow) = shapes[features], shapes[gate]
        if len(wide) != 4 or narrow != (*wide[:2], 1, 1) or wide == narrow:
            continue
        _, channels, height, width = wide
        if isinstance(channels, int) and isinstance(height, int) and isinstance(width, int):
            return None if channels % _BLOCK else _Gated(gate, info, height, width)
    return None


def _scales(name: str) -> str:
    return f"{name}/scales"
