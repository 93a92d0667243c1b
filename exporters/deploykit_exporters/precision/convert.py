"""A float32 graph in, a typed float16 graph out, with the islands that its answers need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ModelError, ParityError

from deploykit_exporters.precision.answers import BUDGET, Found, Reference, found_of, reference_of
from deploykit_exporters.precision.attention import attention_nodes, scale_queries
from deploykit_exporters.precision.float_graph import FloatGraph, float_graph
from deploykit_exporters.precision.islands import HEAVY, Chosen, find_islands
from deploykit_exporters.precision.kept import kept_lines
from deploykit_exporters.precision.ranges import Unfit, unfit_nodes
from deploykit_exporters.precision.rounding import rounded_graph
from deploykit_exporters.precision.sessions import Arrays, outputs_of
from deploykit_exporters.precision.typed import cast_count, typed_graph

if TYPE_CHECKING:
    import onnx

__all__ = ["Feed", "Fp16Graph", "convert_fp16"]

_SEARCHED = 4
"""Feeds on which graphs are compared with one another; the result is proven on all."""
_AGAIN = 3
"""How often the search is repeated with a feed that the first ones did not speak for."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Feed:
    """One input to measure on.

    Attributes:
        name: What it is.
        arrays: The inputs of the graph, by name.
        judged: Whether the answers have to be float32's; of noise they have to be finite.
    """

    name: str
    arrays: Arrays
    judged: bool = True


@dataclass(frozen=True, kw_only=True)
class Fp16Graph:
    """A typed float16 graph.

    Attributes:
        model: The graph, with float32 inputs and outputs.
        rounded: The same as float32 nodes that round: the proof, and what measures tolerances.
        found: How far its answers are from float32's, on all feeds.
        kept: What stays in float32, and why, one a line.
        half, able: How many nodes compute in float16, and how many could.
        products: The same of convolutions and matrix products.
        casts: How many casts between the two there are.
        runs: How many graphs were measured.
    """

    model: onnx.ModelProto
    rounded: onnx.ModelProto
    found: Found
    kept: tuple[str, ...]
    half: int
    able: int
    products: tuple[int, int]
    casts: int
    runs: int


def convert_fp16(
    model: onnx.ModelProto, feeds: Sequence[Feed], spec: ModelSpec, *, report: Report = lambda _: None
) -> Fp16Graph:
    """Write a float32 graph in float16, but for what float16 cannot hold or the answers cannot spare.

    Activations are measured on the feeds: what comes near float16's range, or below it, stays in float32 with
    all that reads it. Attention is cast to float32 around its products. The rest is rounded after every node,
    and what costs the answers most goes to float32 until they are within ``answers.BUDGET``.

    Args:
        model: The graph; it is changed on the way.
        feeds: What it is measured on; at least one that is judged.
        spec: The contract of the model.
        report: Called with a sentence as each stage starts.

    Raises:
        ParityError: the answers are beyond the budget, or not finite, whatever stays in float32; or nothing
            can leave it.
        ModelError: float32 itself gives NaN or infinity, or ONNX Runtime cannot run the graph.
    """
    report("Measuring activations in float32")
    scale_queries(model)
    graph = float_graph(model)
    pairs = list(zip(feeds, _references(graph, feeds, spec), strict=True))
    unfit = unfit_nodes(graph, (feed.arrays for feed in feeds))
    attention = _attention(graph)
    chosen, found = _proven(graph, {*unfit, *attention}, pairs, report)
    _refuse(graph, chosen, found, unfit)
    typed = typed_graph(graph, chosen.half)
    products = [place for place in graph.able if model.graph.node[place].op_type in HEAVY]
    return Fp16Graph(
        model=typed,
        rounded=rounded_graph(graph, chosen.half),
        found=found,
        kept=kept_lines(graph, chosen, unfit, attention),
        half=len(chosen.half),
        able=len(graph.able),
        products=(len(chosen.half & set(products)), len(products)),
        casts=cast_count(typed),
        runs=chosen.runs,
    )


def _references(graph: FloatGraph, feeds: Sequence[Feed], spec: ModelSpec) -> list[Reference]:
    found = []
    answers = outputs_of(rounded_graph(graph, ()), (feed.arrays for feed in feeds))
    for feed, outputs in zip(feeds, answers, strict=True):
        image = feed.arrays[spec.input.name]
        reference = reference_of(outputs, spec, image, inner=graph.watched, judged=feed.judged)
        if feed.judged and not reference.finite:
            raise ModelError(
                f"The model already gives NaN or infinity for {feed.name} in float32.",
                hint="Find the layer that makes it: deploykit verify CKPT MODEL --bisect.",
            )
        found.append(reference)
    return found


def _attention(graph: FloatGraph) -> dict[int, int]:
    """The nodes of attentions, and the number of theirs."""
    return {
        graph.makers[output]: number
        for number, outputs in enumerate(attention_nodes(graph.model))
        for output in outputs
        if graph.makers[output] in graph.able
    }


Pairs = Sequence[tuple[Feed, Reference]]


def _proven(graph: FloatGraph, kept: Collection[int], pairs: Pairs, report: Report) -> tuple[Chosen, Found]:
    """The search on a few feeds, and the proof on all; a feed that fails it takes part in another search."""
    few = [pair for pair in pairs if pair[0].judged][:_SEARCHED]

    def measure(half: Collection[int]) -> Found:
        return _together(_each(rounded_graph(graph, half), few))

    def tell(runs: int) -> None:
        report(
            "Rounding after every node" if runs == 1 else f"Looking for what needs float32 ({runs} graphs)"
        )

    for _ in range(_AGAIN):
        chosen = find_islands(graph, kept, measure, tell)
        each = _each(rounded_graph(graph, chosen.half), pairs)
        total = _together(each)
        worst = pairs[max(range(len(pairs)), key=lambda index: each[index].cost)]
        if total.cost <= 1 or chosen.found.cost > 1 or any(worst is pair for pair in few):
            break
        few.append(worst)
    return chosen, total


def _each(graph: onnx.ModelProto, pairs: Pairs) -> list[Found]:
    answers = outputs_of(graph, (feed.arrays for feed, _ in pairs))
    return [found_of(outputs, reference) for outputs, (_, reference) in zip(answers, pairs, strict=True)]


def _together(each: Sequence[Found]) -> Found:
    return reduce(Found.with_other, each, Found())


def _refuse(graph: FloatGraph, chosen: Chosen, found: Found, unfit: dict[int, Unfit]) -> None:
    if found.cost > 1:
        raise ParityError(
            f"In float16 the answers are beyond the budget, whatever stays in float32: {found.said}.",
            hint=f"The budget is {BUDGET}. Deploy the float32 file.",
        )
    if not any(graph.model.graph.node[place].op_type in HEAVY for place in chosen.half):
        why = next(iter(unfit.values())).said if unfit else "the answers would be beyond the budget"
        raise ParityError(
            f"No convolution or matrix product of the model can compute in float16: {why}.",
            hint="Deploy the float32 file.",
        )
