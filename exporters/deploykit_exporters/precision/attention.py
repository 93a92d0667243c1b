"""Attention that accumulates in float32: its queries, keys and values are cast around it.

TensorRT from 11.3 on computes such an attention in one float16 kernel with sums in float32, if the scale is
multiplied into the queries or keys before the first product (NVIDIA's notes on fused attention).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_exporters.passes.edit import constant, edits, sole_maker, sole_readers

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["attention_nodes", "scale_queries"]

_BETWEEN = ("Add", "Mul", "Div", "Where", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity")
_MOST_BETWEEN = 8
"""Nodes from the first product of an attention to its softmax, and from there to the second."""


def attention_nodes(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Of each attention the outputs of its nodes: a product, what follows on it, a softmax, a product."""
    import onnx_ir as ir

    found = []
    for softmax in ir.from_proto(model).graph:
        if softmax.op_type != "Softmax":
            continue
        before = _back(softmax.inputs[0])
        after = _onward(softmax.outputs[0])
        if before and after:
            found.append(tuple(node.outputs[0].name or "" for node in (*before, softmax, *after)))
    return found


@edits
def scale_queries(model: ir.Model) -> bool:
    """Multiply the queries by the scale where it is applied to the scores; whether that changed anything.

    Equal but for rounding.
    """
    changed = False
    for softmax in list(model.graph):
        before = _back(softmax.inputs[0]) if softmax.op_type == "Softmax" else []
        scale = _scale(before[1], before[0]) if len(before) > 1 else None
        if scale is not None:
            _scale_first(model.graph, before[0], before[1], scale)
            changed = True
    return changed


def _back(value: ir.Value | None) -> list[ir.Node]:
    """The nodes from a product to a value, if nothing else reads what they make."""
    found: list[ir.Node] = []
    for _ in range(_MOST_BETWEEN):
        node = sole_maker(value)
        if node is None or node.op_type not in ("MatMul", *_BETWEEN):
            return []
        found.insert(0, node)
        if node.op_type == "MatMul":
            return [] if any(constant(each) is not None for each in node.inputs) else found
        value = next((each for each in node.inputs if _leads_to_product(each)), None)
    return []


def _leads_to_product(value: ir.Value | None) -> bool:
    for _ in range(_MOST_BETWEEN):
        node = sole_maker(value)
        if node is None or node.op_type == "MatMul":
            return node is not None
        if node.op_type not in _BETWEEN:
            return False
        value = next((each for each in node.inputs if constant(each) is None), None)
    return False


def _onward(value: ir.Value) -> list[ir.Node]:
    """The nodes from a value to a product, if nothing else reads it."""
    found: list[ir.Node] = []
    for _ in range(_MOST_BETWEEN):
        readers = sole_readers(value)
        if len(readers) != 1 or readers[0].op_type not in ("MatMul", *_BETWEEN):
            return []
        found.append(readers[0])
        if readers[0].op_type == "MatMul":
            return found
        value = readers[0].outputs[0]
    return []


def _scale(scaling: ir.Node, product: ir.Node) -> ir.Value | None:
    """The number by which a node multiplies or divides a product; None where it does something else."""
    if scaling.op_type not in ("Mul", "Div"):
        return None
    sides = [scaling.inputs[:2]]
    if scaling.op_type == "Mul":
        sides.append(scaling.inputs[1::-1])
    for scores, scale in sides:
        number = constant(scale)
        if scores is product.outputs[0] and number is not None and number.size == 1 and number.ndim <= 1:
            return scale
    return None


def _scale_first(graph: ir.Graph, product: ir.Node, scaling: ir.Node, scale: ir.Value) -> None:
    """Apply the scale to the first input of the product in place of its output."""
    import onnx_ir as ir
    from onnx_ir.convenience import replace_nodes_and_values

    queries = ir.Value(name=f"{product.outputs[0].name}/queries")
    scores = ir.Value()
    nodes = [
        ir.node(
            scaling.op_type, [product.inputs[0], scale], outputs=[queries], name=f"{scaling.name}/queries"
        ),
        ir.node("MatMul", [queries, product.inputs[1]], outputs=[scores], name=product.name),
    ]
    replace_nodes_and_values(graph, scaling, [product, scaling], nodes, scaling.outputs, [scores])
