"""Remove what no output needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_exporters.passes.graph_index import bodies

if TYPE_CHECKING:
    import onnx

__all__ = ["drop_unused", "reads"]


def drop_unused(model: onnx.ModelProto) -> bool:
    """Remove nodes and weights that no output needs, in the bodies of loops too, and value infos, which go
    stale."""
    return _drop_unused(model.graph)


def _drop_unused(graph: onnx.GraphProto) -> bool:
    changed = False
    for node in graph.node:
        for body in bodies(node):
            changed |= _drop_unused(body)
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed.update(reads(node))
    dead = len(graph.node) - len(kept)
    unused = [tensor for tensor in graph.initializer if tensor.name not in needed]
    for tensor in unused:
        graph.initializer.remove(tensor)
    if dead:
        kept.reverse()
        nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
    del graph.value_info[:]
    return bool(changed or dead or unused)


def reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node takes, those that the bodies of its sub-graphs take from outside included."""
    names = set(node.input)
    for body in bodies(node):
        for inner in body.node:
            names |= reads(inner)
        names.update(output.name for output in body.output)
    return names
