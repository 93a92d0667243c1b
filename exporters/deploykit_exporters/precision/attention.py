"""Attention that accumulates in float32: its queries, keys and values are cast around it.

TensorRT from 11.3 on computes such an attention in one float16 kernel with sums in float32, if the scale is
multiplied into the queries or keys before the first product (NVIDIA's notes on fused attention).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_exporters.passes.graph_index import Values

if TYPE_CHECKING:
    import onnx

__all__ = ["attention_nodes", "scale_queries"]

_BETWEEN = ("Add", "Mul", "Div", "Where", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity")
_MOST_BETWEEN = 8
"""Nodes from the first product of an attention to its softmax, and from there to the second."""


def attention_nodes(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Of each attention the outputs of its nodes: a product, what follows on it, a softmax, a product."""
    graph = Values(model.graph)
    found = []
    for softmax in graph.nodes:
        if softmax.op_type != "Softmax":
            continue
        before = _back(graph, softmax.input[0])
        after = _onward(graph, softmax.output[0])
        if before and after:
            found.append(tuple(node.output[0] for node in (*before, softmax, *after)))
    return found


def scale_queries(model: onnx.ModelProto) -> int:
    """Multiply the queries by the scale where it is applied to the scores; how many attentions that changed.

    Equal but for rounding.
    """
    graph = Values(model.graph)
    parts: dict[int, list[onnx.NodeProto]] = {}
    for softmax in graph.nodes:
        before = _back(graph, softmax.input[0]) if softmax.op_type == "Softmax" else []
        scale = _scale(graph, before[1], before[0]) if len(before) > 1 else None
        if scale is not None:
            parts[id(before[0])] = _scaled_product(before[0], before[1], scale)
            parts[id(before[1])] = []
    if parts:
        graph.replace(parts)
    return len(parts) // 2


def _back(graph: Values, name: str) -> list[onnx.NodeProto]:
    """The nodes from a product to a value, if nothing else reads what they make."""
    found: list[onnx.NodeProto] = []
    for _ in range(_MOST_BETWEEN):
        node = graph.sole_maker(name)
        if node is None or node.op_type not in ("MatMul", *_BETWEEN):
            return []
        found.insert(0, node)
        if node.op_type == "MatMul":
            dynamic = all(graph.constant(each) is None for each in node.input)
            return found if dynamic else []
        name = next((each for each in node.input if _leads_to_product(graph, each)), "")
        if not name:
            return []
    return []


def _leads_to_product(graph: Values, name: str) -> bool:
    for _ in range(_MOST_BETWEEN):
        node = graph.sole_maker(name)
        if node is None:
            return False
        if node.op_type == "MatMul":
            return True
        if node.op_type not in _BETWEEN:
            return False
        dynamic = [each for each in node.input if graph.constant(each) is None]
        if not dynamic:
            return False
        name = dynamic[0]
    return False


def _onward(graph: Values, name: str) -> list[onnx.NodeProto]:
    """The nodes from a value to a product, if nothing else reads it."""
    found: list[onnx.NodeProto] = []
    for _ in range(_MOST_BETWEEN):
        readers = graph.behind(name)
        if len(readers) != 1 or readers[0].op_type not in ("MatMul", *_BETWEEN):
            return []
        found.append(readers[0])
        if readers[0].op_type == "MatMul":
            return found if name in readers[0].input else []
        name = readers[0].output[0]
    return []


def _scale(graph: Values, scaling: onnx.NodeProto, product: onnx.NodeProto) -> str | None:
    """The number by which a node multiplies or divides a product; None where it does something else."""
    if scaling.op_type not in ("Mul", "Div"):
        return None
    sides = [(scaling.input[0], scaling.input[1])]
    if scaling.op_type == "Mul":
        sides.append((scaling.input[1], scaling.input[0]))
    for scores, name in sides:
        number = graph.constant(name)
        if scores == product.output[0] and number is not None and number.size == 1 and number.ndim <= 1:
            return name
    return None


def _scaled_product(product: onnx.NodeProto, scaling: onnx.NodeProto, scale: str) -> list[onnx.NodeProto]:
    from onnx import helper

    scaled = f"{product.output[0]}/queries"
    queries = helper.make_node(
        scaling.op_type, [product.input[0], scale], [scaled], name=f"{scaling.name}/queries"
    )
    moved = type(product).FromString(product.SerializeToString())
    moved.input[0] = scaled
    moved.output[0] = scaling.output[0]
    return [queries, moved]
