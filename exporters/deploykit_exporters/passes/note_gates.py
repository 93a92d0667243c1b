"""Squeeze-and-excitation (https://arxiv.org/abs/1709.01507): the sizes that a runtime wants to know of it.

A map [N, C, H, W] is multiplied by one number per channel, [N, C, 1, 1]. How a processor does that best
depends on H and W, which are nowhere in the file: the runtime reads it without shape inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_exporters.passes.edit import infer_shapes

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

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
    import onnx_ir as ir

    if not any(node.op_type in _POOLS for node in model.graph.node):
        return False
    inferred = ir.from_proto(model)
    infer_shapes(inferred)
    noted: dict[str | None, ir.Value] = {}
    for node in inferred.graph:
        if node.op_type != _MULTIPLY:
            continue
        for features, gate in (node.inputs, node.inputs[::-1]):
            if _gates(features, gate):
                noted |= {value.name: value for value in (features, gate) if value is not None}
    model.graph.value_info.extend(ir.to_proto(value) for value in noted.values())
    return bool(noted)


def _gates(features: ir.Value | None, gate: ir.Value | None) -> bool:
    wide, narrow = _inner_shape(features), _inner_shape(gate)
    if len(wide) != 4 or len(narrow) != 4 or wide[0] != narrow[0] or not wide[0]:
        return False
    fixed = all(isinstance(size, int) and size for size in wide[1:])
    return fixed and narrow[1:] == [wide[1], 1, 1] and wide[2:] != [1, 1]


def _inner_shape(value: ir.Value | None) -> list[int | str | None]:
    """The shape of a value that a node makes, and that is not an output; empty where it is not known."""
    if value is None or value.producer() is None or value.is_graph_output() or value.shape is None:
        return []
    return [size if isinstance(size, int) else size.value for size in value.shape]
