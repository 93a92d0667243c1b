"""What stays in float32 and why, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from deploykit_runtimes.text.printable import printable

from deploykit_exporters.precision.float_graph import FloatGraph
from deploykit_exporters.precision.islands import HEAVY, Chosen
from deploykit_exporters.precision.ranges import Unfit
from deploykit_exporters.precision.rounding import EXACT

__all__ = ["kept_lines"]

_MOST = 32
"""Lines of a file's metadata."""


def kept_lines(
    graph: FloatGraph, chosen: Chosen, unfit: Mapping[int, Unfit], attention: Mapping[int, int]
) -> tuple[str, ...]:
    """One line for all attentions, one for the end of the network, and one for each other island.

    Args:
        graph: The float32 graph.
        chosen: What computes in float16.
        unfit: What float16 cannot hold.
        attention: The nodes of attentions.
    """
    kept = set(graph.able) - chosen.half
    alone = {place for place in attention if place not in unfit}
    lines = []
    if alone:
        count = len({attention[place] for place in alone})
        lines.append(
            f"{count} attention{'s' if count > 1 else ''}: sums in float32, between the casts of q, k and v"
        )
    tail = chosen.tail & kept - unfit.keys() - alone
    if tail:
        lines.append(f"{_named(graph, tail)}: takes no time, lessens the difference")
    islands = sorted(graph.connected(kept - alone - tail), key=min)
    lines += [f"{_named(graph, island)}: {_why(island, chosen, unfit)}" for island in islands]
    if len(lines) > _MOST:
        lines = [*lines[: _MOST - 1], f"{len(lines) - _MOST + 1} other islands"]
    return tuple(lines)


def _why(island: Collection[int], chosen: Chosen, unfit: Mapping[int, Unfit]) -> str:
    reasons = [unfit[place] for place in sorted(island) if place in unfit]
    if reasons:
        worst = max(reasons, key=lambda each: (each.why == "overflow", each.largest))
        return worst.said
    if any(place in chosen.moved for place in island):
        return "rounding it costs most"
    return "between others"


def _named(graph: FloatGraph, island: Collection[int]) -> str:
    nodes = [graph.model.graph.node[place] for place in sorted(island)]
    kinds = Counter(node.op_type for node in nodes)
    telling = sorted(kinds, key=lambda kind: (kind in EXACT, kind not in HEAVY, -kinds[kind]))
    told = ", ".join(telling[:3])
    first, last = (printable(node.name or node.output[0], 40) for node in (nodes[0], nodes[-1]))
    return f"{first} ({told})" if len(nodes) == 1 else f"{len(nodes)} nodes, {first} to {last} ({told})"
