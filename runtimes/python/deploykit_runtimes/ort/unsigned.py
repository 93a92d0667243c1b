"""Signed activations become unsigned: a rewrite of INT8 files for ONNX Runtime on x86 processors.

TensorRT wants symmetric activations: int8 with zero point 0. x86 processors multiply unsigned by signed bytes
(vpmaddubsw, VNNI), so the signed products of ONNX Runtime take 1.2 to 2.4 times as long there. An int8 value
with zero point 0 is exactly the uint8 value 128 above it with zero point 128, at both ends of the range too:
a QuantizeLinear rounds the same quotient, a DequantizeLinear subtracts what was added. Weights stay signed.

Tensors between which int8 values only move (Reshape, Concat, MaxPool, ...) change together or not at all.
What another node reads, a body of a loop or a branch, or the caller, stays as it is.

OpenVINO gets signed activations unsigned where a Concat joins them, for another reason: in front of a product
it loses their scale (2024.6 to 2026.4; outputs of a YOLO are off by 10 to 30 %), and of unsigned ones it does
not. All others stay signed there: unsigned, it refuses some (products of a ViT) and computes some wrongly (a
decoder of boxes in 8 bits).
"""

from __future__ import annotations

from collections.abc import Iterator

from deploykit_runtimes.onnx.edit import Node, edit_graph, read_attributes
from deploykit_runtimes.onnx.quantised import (
    QuantisedGraph,
    dequantises,
    is_in_blocks,
    makes_signed,
    quantised_graphs,
    quantises,
    read_quantised,
    shift,
)
from deploykit_runtimes.onnx.stored import INT8

__all__ = ["joins_signed", "make_unsigned"]

_MOVES = (
    *("DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice"),
    *("SpaceToDepth", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)
"""Operators that give values of their first input: moved, repeated, or the largest of some."""
_SPREADS = ("Concat", "Split")
"""Operators that give such values in all of their outputs."""
_PAIRS = ("Add", "Concat", "Div", "Max", "Min", "Mul", "Sub", "Where")
"""Operators whose quantised form takes inputs of one type: a constant there is no weight."""
_CARRIES = ("AveragePool", "Clip", "LeakyRelu", "Pad", "PRelu", "Relu", "Resize")
"""Further operators past which OpenVINO moves a quantisation."""
_SCALES = ("Add", "Div", "Mul", "Sub")
"""Those too, where one side is a constant."""
_PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Operators whose first input is an activation, constant or not."""


def make_unsigned(model: bytes, *, joined: bool = False) -> bytes | None:
    """Quantise activations to uint8 around 128 where the file says int8 around 0.

    Args:
        model: An ONNX file with QuantizeLinear and DequantizeLinear nodes, and no weights beside it.
        joined: Only those between which and a Concat values are moved, scaled or shifted.

    Returns:
        None: it has no such activations.
    """
    return edit_graph(model, lambda graph: _rewritten(graph, joined=joined))


def joins_signed(model: memoryview) -> bool:
    """Whether a Concat joins what is quantised to int8 around 0, before or after it.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    return any(map(_joins, quantised_graphs(model)))


def _joins(read: QuantisedGraph) -> bool:
    near = _near_concat(read)
    return any(
        quantises(node) and makes_signed(node, read) and node.outputs[0] in near for node in read.nodes
    )


def _near_concat(read: QuantisedGraph) -> set[str]:
    """The tensors between which and a Concat values are moved, scaled or shifted."""
    constants = set(read.stored)
    constants |= {node.outputs[0] for node in read.nodes if dequantises(node) and node.inputs[0] in constants}
    touching: dict[str, list[Node]] = {}
    joining = []
    for node in read.nodes:
        if node.domain or not _carries(node, constants):
            continue
        for name in (*node.inputs, *node.outputs):
            touching.setdefault(name, []).append(node)
        if node.operator == "Concat":
            joining.append(node)
    near: set[str] = set()
    left = [name for node in joining for name in (*node.inputs, *node.outputs)]
    while left:
        name = left.pop()
        if name and name not in near and name not in constants:
            near.add(name)
            left += [each for node in touching.get(name, []) for each in (*node.inputs, *node.outputs)]
    return near


def _carries(node: Node, constants: set[str]) -> bool:
    """Whether OpenVINO takes a quantisation from one side of a node to the other."""
    if node.operator in _SCALES:
        return any(name in constants for name in node.inputs)
    return (
        node.operator in (*_MOVES, *_SPREADS, *_CARRIES)
        or quantises(node)
        or (dequantises(node) and node.inputs[0] not in constants)
    )


def _rewritten(graph: memoryview, *, joined: bool) -> bytes | None:
    read = read_quantised(graph)
    if not any(quantises(node) for node in read.nodes):
        return None
    groups = _Groups()
    for name, tensor in read.stored.items():
        if tensor.dtype == INT8 and tensor.bytes():
            groups.add(name)
    for node in read.nodes:
        _follow(node, read, groups)
    for node in read.nodes:
        _spoil_other_uses(node, read, groups)
    for name in (*read.outputs, *read.inputs):
        groups.spoil(name)
    chosen = _chosen(read, groups)
    if joined:
        near = {groups.of(name) for name in _near_concat(read) if name in groups}
        chosen = {name for name in chosen if groups.of(name) in near}
    return shift(read, chosen)


class _Groups:
    """Tensors of int8 values, in groups that change together."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}
        self._spoilt: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._above

    def __iter__(self) -> Iterator[str]:
        return iter(self._above)

    def add(self, name: str) -> None:
        self._above.setdefault(name, name)

    def spoil(self, name: str) -> None:
        """The group of a tensor stays as it is."""
        if name in self._above:
            self._spoilt.add(name)

    def join(self, names: list[str]) -> None:
        for name in names[1:]:
            self._above[self.of(name)] = self.of(names[0])

    def of(self, name: str) -> str:
        """The name by which the group of a tensor goes."""
        while (above := self._above[name]) != name:
            self._above[name] = self._above[above]
            name = above
        return name

    def unspoilt(self) -> set[str]:
        return {self.of(name) for name in self._above} - {self.of(name) for name in self._spoilt}


def _follow(node: Node, read: QuantisedGraph, groups: _Groups) -> None:
    """Add what a node gives, if that is int8 values."""
    if quantises(node):
        if makes_signed(node, read):
            groups.add(node.outputs[0])
            if read.zero(node) is None or is_in_blocks(node):
                groups.spoil(node.outputs[0])
        return
    given = [name for index, name in enumerate(node.inputs) if name and _moves(node, index)]
    if not any(name in groups for name in given):
        return
    for name in given:
        if name not in groups:
            groups.add(name)
            groups.spoil(name)  # nobody knows what made it
    taken = node.outputs if node.operator in _SPREADS else node.outputs[:1]
    for name in taken:
        groups.add(name)
    groups.join([*given, *taken])


def _moves(node: Node, index: int) -> bool:
    """Whether a node gives the values of an input as they are."""
    if node.domain:
        return False
    if node.operator == "Concat":
        return True
    if node.operator == "Where":
        return index > 0
    if node.operator == "Resize" and index == 0:
        told = read_attributes(node)
        nearest = told.get("mode", b"nearest") == b"nearest"
        return nearest and told.get("coordinate_transformation_mode") != b"tf_crop_and_resize"
    return index == 0 and (node.operator in _MOVES or node.operator == "Split")


def _spoil_other_uses(node: Node, read: QuantisedGraph, groups: _Groups) -> None:
    """What is read by anything but moves and a DequantizeLinear around 0 stays as it is."""
    for index, name in enumerate(node.inputs):
        if name not in groups or _moves(node, index):
            continue
        restores = index == 0 and dequantises(node) and read.zero(node) is not None
        if not restores or is_in_blocks(node):
            groups.spoil(name)
    for name in node.inside:
        groups.spoil(name)


def _chosen(read: QuantisedGraph, groups: _Groups) -> set[str]:
    """The tensors to change: what is quantised, and constants that only stand beside it."""
    readers: dict[str, list[bool]] = {}  # whether what reads a tensor takes it for an activation
    for node in read.nodes:
        for index, name in enumerate(node.inputs):
            beside = node.operator in _PAIRS or (node.operator in _PRODUCTS and index == 0)
            readers.setdefault(name, []).append(beside and not node.domain)
    made: set[str] = set()
    weights: set[str] = set()
    for node in read.nodes:
        if quantises(node) and node.outputs[0] in groups:
            made.add(groups.of(node.outputs[0]))
        elif dequantises(node) and node.inputs[0] in groups:
            found = readers.get(node.outputs[0], [])
            if not found or not all(found):
                weights.add(groups.of(node.inputs[0]))
    wanted = {group for group in groups.unspoilt() if group in made or group not in weights}
    return {name for name in groups if groups.of(name) in wanted}
