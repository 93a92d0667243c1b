"""Fold the normalisation of the pixels into the convolution that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deploykit_exporters.passes.graph_index import Values, attribute

if TYPE_CHECKING:
    import onnx

__all__ = ["fold_normalisation"]


def fold_normalisation(model: onnx.ModelProto) -> bool:
    """Scale the first convolution's weights instead of the pixels, and move the mean into its bias.

    Takes a ``Mul`` by one number or one per channel, alone or followed by such an ``Add``, whose result
    only a ``Conv`` reads. Equal but for rounding: zeros that a convolution pads with are zeros under any
    gain. Before one that pads, an ``Add`` of ``bias / gain`` stays, so that its zeros remain the mean.

    Returns:
        Whether the graph changed. Constants that it no longer reads are left to ``drop_unused``.
    """
    graph = Values(model.graph)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and not node.domain]
    found = [(conv, _match(graph, conv)) for conv in convolutions]
    for conv, normalisation in found:
        if normalisation is not None:
            _fold(graph, conv, normalisation)
    return any(normalisation is not None for _, normalisation in found)


class _Normalisation(NamedTuple):
    """``pixels * gain + bias`` in front of a convolution; without ``add``, the bias is 0.

    ``gain`` and ``bias`` are float64 [channels].
    """

    pixels: str
    mul: onnx.NodeProto
    gain: np.ndarray
    add: onnx.NodeProto | None
    bias: np.ndarray


def _match(graph: Values, conv: onnx.NodeProto) -> _Normalisation | None:
    """The normalisation in front of a convolution, if all about both is as it must be."""
    if attribute(conv, "group", 1) != 1 or not all(graph.is_weight(name) for name in conv.input[1:]):
        return None
    if graph.readers[conv.input[1]] != 1:
        return None
    channels = graph.weights[conv.input[1]].dims[1]
    node, add, bias = graph.sole_maker(conv.input[0]), None, np.zeros(channels)
    if node is not None and node.op_type == "Add":
        parts = _with_constant(graph, node, channels)
        if parts is None:
            return None
        add, node, bias = node, graph.sole_maker(parts[0]), parts[1]
    if node is None or node.op_type != "Mul":
        return None
    parts = _with_constant(graph, node, channels)
    if parts is None or not parts[1].all():
        return None
    return _Normalisation(parts[0], node, parts[1], add, bias)


def _with_constant(graph: Values, node: onnx.NodeProto, channels: int) -> tuple[str, np.ndarray] | None:
    """The variable input of a sum or a product of images, and the constant one, float64 [channels]."""
    for variable, name in (node.input, node.input[::-1]):
        value = graph.constant(name)
        if value is None or value.dtype != np.float32 or value.ndim > 4:
            continue
        shape = (1,) * (4 - value.ndim) + value.shape
        if shape in ((1, 1, 1, 1), (1, channels, 1, 1)):
            return variable, np.broadcast_to(value.reshape(-1).astype(float), channels)
    return None


def _fold(graph: Values, conv: onnx.NodeProto, found: _Normalisation) -> None:
    from onnx import numpy_helper

    kernel = graph.weights[conv.input[1]]
    values = numpy_helper.to_array(kernel).astype(float)
    if found.add is None:
        conv.input[0] = found.pixels
    elif _pads(conv, values.shape[2:]):
        mean = (found.bias / found.gain).astype(np.float32).reshape(-1, 1, 1)
        found.add.input[:] = [found.pixels, graph.add_weight(mean, f"{found.add.output[0]}_over_gain")]
    else:
        moved = values.sum(axis=tuple(range(2, values.ndim))) @ found.bias
        if len(conv.input) == 3:
            moved += numpy_helper.to_array(graph.weights[conv.input[2]])
        bias = graph.add_weight(moved.astype(np.float32), f"{conv.output[0]}_bias")
        conv.input[:] = [found.pixels, kernel.name, bias]
        graph.proto.node.remove(found.add)
    scaled = np.einsum("oi...,i->oi...", values, found.gain).astype(np.float32)
    kernel.CopyFrom(numpy_helper.from_array(scaled, kernel.name))
    graph.proto.node.remove(found.mul)


def _pads(conv: onnx.NodeProto, kernel: tuple[int, ...]) -> bool:
    automatic = attribute(conv, "auto_pad", b"NOTSET")
    if automatic in (b"NOTSET", b""):
        return any(attribute(conv, "pads", []))
    return automatic != b"VALID" and max(kernel) > 1
