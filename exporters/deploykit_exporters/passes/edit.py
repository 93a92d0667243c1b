"""Rewrites on onnx-ir's form of a graph, in which every value knows its maker and its readers.

A pass takes and changes a ``ModelProto``, as do the tools around it; `edits` gives it onnx-ir's form. Only
nodes and new weights are written back, so that the weights of a large model are not copied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = [
    "Pass",
    "add_weight",
    "constant",
    "edits",
    "infer_shapes",
    "is_weight",
    "sole_maker",
    "sole_readers",
    "subgraphs",
]

Pass = Callable[["onnx.ModelProto"], bool]
"""A rewrite in place that keeps what the graph computes, but for rounding. True: it changed the graph."""


def edits(edit: Callable[[ir.Model], bool]) -> Pass:
    """Make a pass of a function that changes a model in onnx-ir's form and says whether it did.

    Weights are added under new names (`add_weight`); those that stay are never changed.
    """

    @wraps(edit)
    def rewrite(model: onnx.ModelProto) -> bool:
        import onnx_ir as ir

        edited = ir.from_proto(model)
        if not edit(edited):
            return False
        _write_back(edited.graph, model.graph)
        return True

    return rewrite


def _write_back(edited: ir.Graph, graph: onnx.GraphProto) -> None:
    import onnx_ir as ir

    nodes = [ir.to_proto(node) for node in edited]
    del graph.node[:]
    graph.node.extend(nodes)
    before = {tensor.name: tensor for tensor in graph.initializer}
    for name, tensor in before.items():
        if name not in edited.initializers:
            graph.initializer.remove(tensor)
    graph.initializer.extend(
        ir.to_proto(value.const_value)
        for name, value in edited.initializers.items()
        if name not in before and value.const_value is not None
    )


def sole_maker(value: ir.Value | None) -> ir.Node | None:
    """The node that makes a value, if exactly one input reads it, and no output is it."""
    if value is None or value.is_graph_output() or len(value.uses()) != 1:
        return None
    return value.producer()


def sole_readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, in their order; none where an output or a sub-graph reads it too."""
    readers = {id(node): node for node, _ in value.uses()}
    if value.is_graph_output() or any(node.graph is not value.graph for node in readers.values()):
        return []
    return list(readers.values())


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of a weight or of a ``Constant``; None for other values."""
    from onnx_ir.convenience import get_const_tensor

    tensor = None if value is None else get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def is_weight(value: ir.Value | None) -> bool:
    """Whether a value is a float32 tensor of the file."""
    import onnx_ir as ir

    return value is not None and value.is_initializer() and value.dtype == ir.DataType.FLOAT


def add_weight(graph: ir.Graph, values: np.ndarray, name: str) -> ir.Value:
    """Store a tensor under a new name."""
    import onnx_ir as ir

    tensor = ir.tensor(values, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def infer_shapes(model: ir.Model) -> None:
    """Give the values of a graph the shapes that follow from those of its inputs."""
    from onnx_ir.passes.common import ShapeInferencePass

    ShapeInferencePass(check_type=False, strict_mode=False)(model)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The bodies of a loop or the branches of a condition; none for other nodes."""
    return [
        body
        for attribute in node.attribute
        for body in ([attribute.g] if attribute.HasField("g") else attribute.graphs)
    ]
