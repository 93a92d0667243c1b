"""Convolutions whose channels are split become one convolution per part.

Engines for CPUs keep the channels of convolutions in blocks. A Split leaves that layout, so tensors are
written in rows before it and in blocks again after it: 4 to 9 % of the time of a YOLO11n, whose C3k2 blocks
begin with one. Two convolutions with half of the filters each compute the same sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deploykit_exporters.passes.graph_index import Values, attribute

if TYPE_CHECKING:
    import onnx

__all__ = ["split_convolutions"]


class _Chain(NamedTuple):
    """A convolution, what is applied to it number by number, and the Split of the result."""

    nodes: tuple[onnx.NodeProto, ...]
    split: onnx.NodeProto
    sizes: tuple[int, ...]


def split_convolutions(model: onnx.ModelProto) -> bool:
    """Convolve into the parts of each Split.

    Takes a Split of the channels of a ``Conv`` without groups, alone, or followed by ``Relu`` or by ``x *
    Sigmoid(x)`` (SiLU), that nothing else reads.

    Returns:
        Whether the graph changed. Constants that it no longer reads are left to ``drop_unused``.
    """
    values = Values(model.graph)
    splits = [node for node in values.nodes if node.op_type == "Split" and not node.domain]
    chains = [chain for chain in (_match(values, split) for split in splits) if chain is not None]
    if not chains:
        return False
    parts = {id(chain.split): _parts(values, chain) for chain in chains}
    dropped: dict[int, list[onnx.NodeProto]] = {id(node): [] for chain in chains for node in chain.nodes}
    values.replace({**parts, **dropped})
    return True


def _match(values: Values, split: onnx.NodeProto) -> _Chain | None:
    if attribute(split, "axis", 0) != 1:
        return None
    nodes = _activated(values, split.input[0])
    if nodes is None or attribute(nodes[0], "group", 1) != 1:
        return None
    if not all(values.is_weight(name) for name in nodes[0].input[1:]):
        return None
    channels = values.weights[nodes[0].input[1]].dims[0]
    sizes = _sizes(values, split, channels)
    return None if sum(sizes) != channels else _Chain(nodes, split, sizes)


def _activated(values: Values, name: str) -> tuple[onnx.NodeProto, ...] | None:
    """The convolution behind a value, and its activation."""
    last = values.sole_maker(name)
    if last is None or last.domain:
        return None
    if last.op_type == "Conv":
        return (last,)
    if last.op_type == "Relu":
        conv = values.sole_maker(last.input[0])
        return (conv, last) if conv is not None and conv.op_type == "Conv" else None
    if last.op_type != "Mul":
        return None
    for gated, gate in (last.input, last.input[::-1]):
        sigmoid, conv = values.sole_maker(gate), values.makers.get(gated)
        if sigmoid is None or conv is None or (sigmoid.op_type, conv.op_type) != ("Sigmoid", "Conv"):
            continue
        if sigmoid.input[0] == gated and values.readers[gated] == 2:
            return conv, sigmoid, last
    return None


def _sizes(values: Values, split: onnx.NodeProto, channels: int) -> tuple[int, ...]:
    """How many channels each part has; empty where that is not known."""
    if len(split.input) == 2:
        given = values.constant(split.input[1])
        return () if given is None else tuple(given.tolist())
    size = -(-channels // len(split.output))
    return tuple(min(size, channels - size * part) for part in range(len(split.output)))


def _parts(values: Values, chain: _Chain) -> list[onnx.NodeProto]:
    """The chain once for each output of the Split."""
    conv = chain.nodes[0]
    weights = [values.constant(name) for name in conv.input[1:]]
    nodes: list[onnx.NodeProto] = []
    start = 0
    for part, (output, size) in enumerate(zip(chain.split.output, chain.sizes, strict=True)):
        names = {name: f"{name}.{part}" for node in chain.nodes for name in node.output}
        names[chain.split.input[0]] = output
        for name, weight in zip(conv.input[1:], weights, strict=True):
            assert weight is not None
            names[name] = values.add_weight(
                weight[start : start + size].copy(), f"{conv.output[0]}.{part}.{name}"
            )
        for node in chain.nodes:
            copied = type(node).FromString(node.SerializeToString())
            copied.name = node.name and f"{node.name}.{part}"
            copied.input[:] = [names.get(name, name) for name in node.input]
            copied.output[:] = [names[name] for name in node.output]
            nodes.append(copied)
        start += size
    return nodes
