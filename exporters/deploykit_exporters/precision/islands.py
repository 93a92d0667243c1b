"""Which nodes compute in float16: as many as the answers allow, in as few pieces as there can be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deploykit_exporters.precision.answers import Found
from deploykit_exporters.precision.float_graph import FloatGraph

__all__ = ["HEAVY", "Chosen", "find_islands", "without_splinters"]

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that take the time; others follow them."""
_FREE = 0.8
"""Share of the difference that may be left where the end of a network is worth its float32."""
_PIECES = 12
"""Pieces of the network that are ranked."""
_GIVEN_BACK = 6
"""Halvings of a piece, by which as much of it as possible returns to float16."""

Measure = Callable[[Collection[int]], Found]
"""How far a graph is from float32 when these nodes compute in float16."""


@dataclass(frozen=True)
class Chosen:
    """Which nodes compute in float16.

    Attributes:
        half: Their places.
        found: How far the answers are from float32's.
        moved: Nodes that stay in float32 because the answers were too far off otherwise.
        tail: Those of them that stand after the last products.
        runs: How many graphs were measured.
    """

    half: frozenset[int]
    found: Found
    moved: frozenset[int] = frozenset()
    tail: frozenset[int] = frozenset()
    runs: int = 1


def find_islands(
    graph: FloatGraph, kept: Collection[int], measure: Measure, report: Callable[[int], None]
) -> Chosen:
    """Put into float32 what costs the answers most, until they are close enough.

    Nodes after the last products, such as the decoding of boxes, take no time: they go to float32 if that
    reduces the difference by a fifth. Then the network is cut into pieces; each is rounded by itself, and
    the worst goes to float32 first. As much of these pieces as possible returns to float16.

    Args:
        graph: The float32 graph.
        kept: Nodes that stay in float32 for other reasons.
        measure: Called with the places of float16 nodes.
        report: Called with the number of graphs measured so far.

    Returns:
        The best that was found; ``found.share`` is above 1 where even that is too far off.
    """
    search = _Search(graph, frozenset(kept), measure, report)
    moved: frozenset[int] = frozenset()
    found = search.run(moved)
    tail = _tail(graph) & search.free
    if tail and found.cost:
        without = search.run(tail)
        if without.cost <= _FREE * found.cost:
            moved, found = tail, without
    if found.cost <= 1:
        return search.chosen(moved, found)
    pieces = _pieces(graph, search.free - moved)
    ranked = sorted(pieces, key=lambda piece: -search.run(search.free - piece).cost)
    for number, piece in enumerate(ranked):
        moved |= piece
        found = search.run(moved)
        if found.cost <= 1:
            moved, found = search.give_back(moved, ranked[: number + 1], found)
            break
    return search.chosen(moved, found)


class _Search:
    def __init__(
        self, graph: FloatGraph, kept: frozenset[int], measure: Measure, report: Callable[[int], None]
    ) -> None:
        self._graph, self._kept, self._measure, self._report = graph, kept, measure, report
        self.free = frozenset(graph.able) - kept
        self._runs = 0

    def half(self, moved: frozenset[int]) -> frozenset[int]:
        return without_splinters(self._graph, self.free - moved)

    def run(self, moved: frozenset[int]) -> Found:
        self._runs += 1
        self._report(self._runs)
        return self._measure(self.half(moved))

    def chosen(self, moved: frozenset[int], found: Found) -> Chosen:
        return Chosen(self.half(moved), found, moved, _tail(self._graph) & moved, self._runs)

    def give_back(
        self, moved: frozenset[int], pieces: Sequence[frozenset[int]], found: Found
    ) -> tuple[frozenset[int], Found]:
        """Return to float16 what of some pieces the answers can spare."""
        for piece in pieces:
            parts = [sorted(piece)]
            for _ in range(_GIVEN_BACK):
                part = parts.pop(0) if parts else []
                if len(part) < 2:
                    continue
                for some in (part[: len(part) // 2], part[len(part) // 2 :]):
                    less = moved - frozenset(some)
                    tried = self.run(less)
                    if tried.cost <= 1:
                        moved, found = less, tried
                    else:
                        parts.append(some)
        return moved, found


def _tail(graph: FloatGraph) -> frozenset[int]:
    """The nodes after which no convolution or product follows."""
    leads: set[str] = set()
    found = []
    for place in range(len(graph.model.graph.node) - 1, -1, -1):
        node = graph.model.graph.node[place]
        if (node.op_type in HEAVY and place in graph.able) or leads.intersection(node.output):
            leads.update(node.input)
        elif place in graph.able:
            found.append(place)
    return frozenset(found)


def _pieces(graph: FloatGraph, free: frozenset[int]) -> list[frozenset[int]]:
    """The free nodes in pieces of neighbours with as many products each."""
    units: list[list[int]] = [[]]
    for place in sorted(free):
        if graph.model.graph.node[place].op_type in HEAVY:
            units.append([])
        units[-1].append(place)
    units = [unit for unit in units if unit]
    count = min(_PIECES, len(units))
    edges = [len(units) * index // count for index in range(count + 1)] if count else []
    return [
        frozenset(place for unit in units[start:stop] for place in unit) for start, stop in pairwise(edges)
    ]


def without_splinters(graph: FloatGraph, half: Iterable[int]) -> frozenset[int]:
    """Float16 nodes without the small groups that cost more casts than they save.

    A group of neighbours without a convolution or product goes to float32, and so does a node at the edge of
    a larger group, where that leaves fewer places at which the types meet.
    """
    chosen = set(half)
    for group in graph.connected(chosen):
        if not any(graph.model.graph.node[place].op_type in HEAVY for place in group):
            chosen -= group
    changed = True
    while changed:
        changed = False
        for place in sorted(chosen):
            if graph.model.graph.node[place].op_type in HEAVY:
                continue
            near = graph.neighbours[place]
            same = len(near & chosen)
            if same < len(near) - same:
                chosen.discard(place)
                changed = True
    return frozenset(chosen)
