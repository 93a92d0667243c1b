"""Remove what no output needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_exporters.passes.edit import edits, subgraphs

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["drop_unused", "reads"]


def drop_unused(model: onnx.ModelProto) -> bool:
    """Remove nodes and weights that no output needs, in the bodies of loops too, and value infos, which go
    stale."""
    changed = _drop_unused(model)
    _drop_shapes(model.graph)
    return changed


@edits
def _drop_unused(model: ir.Model) -> bool:
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    return RemoveUnusedNodesPass()(model).modified


def _drop_shapes(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for node in graph.node:
        for body in subgraphs(node):
            _drop_shapes(body)


def reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node takes, those that the bodies of its sub-graphs take from outside included."""
    names = set(node.input)
    for body in subgraphs(node):
        for inner in body.node:
            names |= reads(inner)
        names.update(output.name for output in body.output)
    return names
