"""Squeeze-and-excitation (https://arxiv.org/abs/1709.01507): the sizes that a runtime wants to know of it.

A map [N, C, H, W] is multiplied by one number per channel, [N, C, 1, 1]. How a processor does that best
depends on H and W, which are nowhere in the file: the runtime reads it without shape inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_exporters.passes.known_shapes import inferred_values

if TYPE_CHECKING:
    import onnx

__all__ = ["note_gates"]

_POOLS = ("GlobalAveragePool", "AveragePool")
_MULTIPLY = "Mul"


def note_gates(model: onnx.ModelProto) -> bool:
    """Write down the shapes of each map of fixed height and width that is gated, and of its gate.

    Args:
        model: Without value infos. Gets them for these tensors alone.

    Returns:
        Whether there are any.
    """
    graph = model.graph
    products = [node for node in graph.node if node.op_type == _MULTIPLY]
    if not products or not any(node.op_type in _POOLS for node in graph.node):
        return False
    known = {value.name: value for value in inferred_values(model)}
    noted: dict[str, onnx.ValueInfoProto] = {}
    for node in products:
        for features, gate in (node.input, reversed(node.input)):
            if features in known and gate in known and _gates(known[features], known[gate]):
                noted |= {name: known[name] for name in (features, gate)}
    graph.value_info.extend(noted.values())
    return bool(noted)


def _gates(features: onnx.ValueInfoProto, gate: onnx.ValueInfoProto) -> bool:
    wide, narrow = (value.type.tensor_type.shape.dim for value in (features, gate))
    if len(wide) != 4 or len(narrow) != 4 or wide[0] != narrow[0]:
        return False
    batch = wide[0].dim_param or wide[0].dim_value
    sizes = [dim.dim_value for dim in wide[1:]]
    ones = [dim.dim_value for dim in narrow[1:]] == [sizes[0], 1, 1]
    return bool(batch) and all(sizes) and ones and sizes[1:] != [1, 1]
