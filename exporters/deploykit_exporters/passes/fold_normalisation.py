"""Fold the normalisation of the pixels into the convolution that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deploykit_exporters.passes.edit import add_weight, constant, edits, is_weight, sole_maker

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["fold_normalisation"]


@edits
def fold_normalisation(model: ir.Model) -> bool:
    """Scale the first convolution's weights instead of the pixels, and move the mean into its bias.

    Takes a ``Mul`` by one number or one per channel, alone or followed by such an ``Add``, whose result
    only a ``Conv`` reads. Equal but for rounding: zeros that a convolution pads with are zeros under any
    gain. Before one that pads, an ``Add`` of ``bias / gain`` stays, so that its zeros remain the mean.

    Returns:
        Whether the graph changed. Constants that it no longer reads are left to ``drop_unused``.
    """
    convolutions = [node for node in model.graph if node.op_type == "Conv" and not node.domain]
    found = [(conv, _match(conv)) for conv in convolutions]
    for conv, normalisation in found:
        if normalisation is not None:
            _fold(model.graph, conv, normalisation)
    return any(normalisation is not None for _, normalisation in found)


class _Normalisation(NamedTuple):
    """``pixels * gain + bias`` in front of a convolution; without ``add``, the bias is 0.

    ``gain`` and ``bias`` are float64 [channels].
    """

    pixels: ir.Value
    mul: ir.Node
    gain: np.ndarray
    add: ir.Node | None
    bias: np.ndarray


def _match(conv: ir.Node) -> _Normalisation | None:
    """The normalisation in front of a convolution, if all about both is as it must be."""
    if conv.attributes.get_int("group", 1) != 1 or not all(is_weight(value) for value in conv.inputs[1:]):
        return None
    kernel = constant(conv.inputs[1])
    assert kernel is not None
    channels = kernel.shape[1]
    node, add, bias = sole_maker(conv.inputs[0]), None, np.zeros(channels)
    if node is not None and node.op_type == "Add":
        parts = _with_constant(node, channels)
        if parts is None:
            return None
        add, node, bias = node, sole_maker(parts[0]), parts[1]
    if node is None or node.op_type != "Mul":
        return None
    parts = _with_constant(node, channels)
    if parts is None or not parts[1].all():
        return None
    return _Normalisation(parts[0], node, parts[1], add, bias)


def _with_constant(node: ir.Node, channels: int) -> tuple[ir.Value, np.ndarray] | None:
    """The variable input of a sum or a product of images, and the constant one, float64 [channels]."""
    for variable, other in (node.inputs, node.inputs[::-1]):
        value = constant(other)
        if variable is None or value is None or value.dtype != np.float32 or value.ndim > 4:
            continue
        shape = (1,) * (4 - value.ndim) + value.shape
        if shape in ((1, 1, 1, 1), (1, channels, 1, 1)):
            return variable, np.broadcast_to(value.reshape(-1).astype(float), channels)
    return None


def _fold(graph: ir.Graph, conv: ir.Node, found: _Normalisation) -> None:
    kernel = constant(conv.inputs[1])
    assert kernel is not None
    values = kernel.astype(float)
    name = conv.outputs[0].name
    if found.add is None:
        conv.replace_input_with(0, found.pixels)
    elif _pads(conv, values.shape[2:]):
        mean = (found.bias / found.gain).astype(np.float32).reshape(-1, 1, 1)
        moved = add_weight(graph, mean, f"{found.add.outputs[0].name}_over_gain")
        found.add.replace_input_with(0, found.pixels)
        found.add.replace_input_with(1, moved)
    else:
        total = values.sum(axis=tuple(range(2, values.ndim))) @ found.bias
        own = constant(conv.inputs[2]) if len(conv.inputs) == 3 else None
        bias = add_weight(graph, (total if own is None else total + own).astype(np.float32), f"{name}_bias")
        conv.resize_inputs(3)
        conv.replace_input_with(0, found.pixels)
        conv.replace_input_with(2, bias)
        graph.remove(found.add, safe=True)
    scaled = np.einsum("oi...,i->oi...", values, found.gain).astype(np.float32)
    conv.replace_input_with(1, add_weight(graph, scaled, f"{name}_scaled"))
    graph.remove(found.mul, safe=True)


def _pads(conv: ir.Node, kernel: tuple[int, ...]) -> bool:
    automatic = conv.attributes.get_string("auto_pad", "") or "NOTSET"
    if automatic == "NOTSET":
        return any(conv.attributes.get_ints("pads", []))
    return automatic != "VALID" and max(kernel) > 1
