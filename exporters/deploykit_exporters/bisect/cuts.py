"""Where a graph can be cut, and which values are alive there.

The nodes whose values depend on the input are numbered in the graph's order. There is a cut after each: a
value is alive at a cut if it was computed before and is read or returned later. The narrowest cuts have
only one comparable value.
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
        alive: The values compared here.
        unordered: Those that come after an operator that selects or sorts.
    """

    node: onnx.NodeProto
    place: int
    alive: tuple[str, ...]
    unordered: frozenset[str]


def cuts_of(graph: Stored) -> list[Cut]:
    """The cuts of a graph that have comparable values, in node order."""
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
    """For each value, the index of the last node that reads it; outputs come after all nodes."""
    found = {name: index for index, node in enumerate(graph.nodes) for name in reads(node)}
    return {**found, **dict.fromkeys(graph.outputs, len(graph.nodes))}


def _comparable(graph: Stored, name: str, unordered: Sequence[str] | set[str]) -> bool:
    """Whether values can be compared: floating-point values always, others if their order is fixed.

    Shapes and other integers count too: an engine that rounds a size in another way is wrong there first.
    """
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, 0)
    return name not in unordered or graph.type_of(name) in floats
