"""Where a graph can be cut, and which values are alive there.

The nodes whose values depend on the input are numbered in the graph's order. A cut lies after each: what
was computed up to there and is read later, or returned, is alive. Of those values that can be compared the
narrowest cuts have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit_exporters.bisect.stored import Stored, reads

if TYPE_CHECKING:
    import onnx

__all__ = ["Cut", "cuts_of"]

_CHOOSES = ("TopK", "NonMaxSuppression", "ArgMax", "ArgMin", "NonZero", "Unique")
"""Operators after which equals may come in any order: there the values are compared, not their places."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A cut after a node.

    Attributes:
        node: The node.
        place: Its number in the graph, from 1.
        alive: The values that are compared here.
        unordered: Those of them that lie behind an operator that chooses.
    """

    node: onnx.NodeProto
    place: int
    alive: tuple[str, ...]
    unordered: frozenset[str]


def cuts_of(graph: Stored) -> list[Cut]:
    """The cuts of a graph with values that can be compared, in the order of the nodes."""
    return [cut for cut in _cuts(graph) if cut.alive]


def _cuts(graph: Stored) -> Iterator[Cut]:
    last = _last_reads(graph)
    dynamic, unordered = set(graph.inputs), set[str]()
    alive: dict[str, None] = {}
    for index, node in enumerate(graph.nodes):
        read = set(reads(node))
        if not read & dynamic:
            continue
        made = [name for name in node.output if name]
        dynamic.update(made)
        if node.op_type in _CHOOSES or read & unordered:
            unordered.update(made)
        alive.update(dict.fromkeys(made))
        alive = {name: None for name in alive if last.get(name, -1) > index}
        shown = tuple(name for name in alive if _comparable(graph, name, unordered))
        if shown:
            yield Cut(
                node=node, place=index + 1, alive=shown, unordered=frozenset(unordered.intersection(shown))
            )


def _last_reads(graph: Stored) -> dict[str, int]:
    """By value the index of the last node that reads it; behind all nodes for outputs."""
    found = {name: index for index, node in enumerate(graph.nodes) for name in reads(node)}
    return {**found, **dict.fromkeys(graph.outputs, len(graph.nodes))}


def _comparable(graph: Stored, name: str, unordered: Sequence[str] | set[str]) -> bool:
    """Floating-point values can be compared anywhere, others where their order is fixed.

    Shapes and other integers count too: an engine that rounds a size in another way is wrong there first.
    """
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, 0)
    return name not in unordered or graph.type_of(name) in floats
