"""Which values of a graph float16 cannot hold, measured on pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deploykit_exporters.precision.float_graph import FloatGraph, HalfNode
from deploykit_exporters.precision.rounding import EXACT, rounded_weight
from deploykit_exporters.precision.sessions import Arrays, outputs_of

if TYPE_CHECKING:
    import onnx

__all__ = ["MARGIN", "Unfit", "unfit_nodes"]

MARGIN = 4.0
"""How many times larger than on the calibration pictures a value may become: a float16 value is below 65504
divided by this."""
LARGEST = float(np.finfo(np.float16).max)
_LOST = 2.0**-7
"""Share of a tensor that rounding may cost, in its root mean square: 2**-11 at most where all is well, and
more where values lie below the normal numbers of float16."""
_SUMS = ("ReduceSum", "ReduceMean", "GlobalAveragePool", "ReduceL1", "ReduceL2", "ReduceSumSquare")
"""Operators that may sum in float16; ``LayerNormalization`` says itself that its sums are float32."""
_FLOAT, _FLOAT16 = 1, 10


@dataclass(frozen=True, kw_only=True)
class Unfit:
    """Why a node stays in float32.

    Attributes:
        why: ``overflow``: a value, or a sum inside an operator, is too large; ``digits``: rounding costs too
            many of its digits; ``weights``: a weight is too large, or too small.
        value: The name of the value or weight.
        largest: Its largest magnitude.
    """

    why: str
    value: str
    largest: float

    @property
    def said(self) -> str:
        """The reason in words."""
        words = {
            "overflow": f"reaches {self.largest:.3g}",
            "digits": f"loses digits (largest {self.largest:.3g})",
            "weights": f"has a weight of up to {self.largest:.3g}",
        }
        return words[self.why]


def unfit_nodes(graph: FloatGraph, feeds: Iterable[Arrays]) -> dict[int, Unfit]:
    """The nodes that read, make or sum what float16 cannot hold.

    Args:
        graph: The float32 graph.
        feeds: What it is measured on.

    Raises:
        ModelError: ONNX Runtime cannot run the graph.
    """
    found = _unfit_weights(graph)
    values = sorted(
        {name for each in graph.able.values() for name in (*each.reads, *each.makes)} - graph.weights.keys()
    )
    measured = _measured(graph, values, feeds)
    unfit: dict[str, Unfit] = {}
    for name in values:
        largest, size = measured.get(f"{name}/largest", 0.0), measured.get(f"{name}/size", 0.0)
        lost = measured.get(f"{name}/off/size", 0.0) > _LOST * size
        if not math.isfinite(largest):
            continue  # a mask of -inf is one in float16 too; what is not finite in the end, the proof sees
        if largest * MARGIN > LARGEST:
            unfit[name] = Unfit(why="overflow", value=name, largest=largest)
        elif lost:
            unfit[name] = Unfit(why="digits", value=name, largest=largest)
    for place, half in graph.able.items():
        total = measured.get(f"{place}/sum", 0.0)
        if total * MARGIN > LARGEST:
            found.setdefault(place, Unfit(why="overflow", value=half.makes[0], largest=total))
        for name in (*half.makes, *half.reads):
            if name in unfit:
                found.setdefault(place, unfit[name])
    return found


def _unfit_weights(graph: FloatGraph) -> dict[int, Unfit]:
    seen: dict[str, Unfit | None] = {}
    found: dict[int, Unfit] = {}
    for place, half in graph.able.items():
        for name in half.reads:
            if name not in graph.weights:
                continue
            if name not in seen:
                seen[name] = _unfit_weight(name, graph.array(name))
            unfit = seen[name]
            if unfit is not None:
                found.setdefault(place, unfit)
    return found


def _unfit_weight(name: str, values: np.ndarray) -> Unfit | None:
    finite = values[np.isfinite(values)].astype(np.float64)
    largest = float(np.abs(finite).max(initial=0.0))
    if largest > LARGEST:
        return Unfit(why="weights", value=name, largest=largest)
    size = math.sqrt(float(np.square(finite).sum()))
    lost = math.sqrt(float(np.square(rounded_weight(values)[np.isfinite(values)] - finite).sum()))
    return Unfit(why="weights", value=name, largest=largest) if lost > _LOST * size else None


def _measured(graph: FloatGraph, values: list[str], feeds: Iterable[Arrays]) -> dict[str, float]:
    """The largest of each measurement over all feeds."""
    worst: dict[str, float] = {}
    for outputs in outputs_of(_measuring(graph, values), feeds):
        for name, value in outputs.items():
            number = float(value.max(initial=0.0)) if value.size else 0.0
            worst[name] = max(worst.get(name, 0.0), number if not math.isnan(number) else math.inf)
    return worst


def _measuring(graph: FloatGraph, values: list[str]) -> onnx.ModelProto:
    """The float32 graph, which returns the measurements instead of its answers."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    del model.graph.value_info[:]
    meter = _Meter(model)
    for name in values:
        meter.largest(name)
        maker = graph.model.graph.node[graph.makers[name]] if name in graph.makers else None
        if maker is not None and maker.op_type not in EXACT:
            meter.lost(name)
    for place, half in graph.able.items():
        if half.node.op_type in _SUMS and half.makes:
            meter.summed(place, half)
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in meter.results
    )
    return model


class _Meter:
    """Adds measurements to a graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self.results: list[str] = []

    def _add(self, kind: str, reads: list[str], result: str, **attributes: int) -> str:
        from onnx import helper

        node = helper.make_node(kind, reads, [result])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._graph.node.append(node)
        return result

    def largest(self, name: str) -> None:
        size = self._add("Abs", [name], f"{name}/magnitude")
        self.results.append(self._add("ReduceMax", [size], f"{name}/largest", keepdims=0))

    def lost(self, name: str) -> None:
        """The root of the summed squares of what rounding changes, and of the value itself."""
        half = self._add("Cast", [name], f"{name}/half", to=_FLOAT16)
        back = self._add("Cast", [half], f"{name}/back", to=_FLOAT)
        off = self._add("Sub", [name, back], f"{name}/off")
        for each in (off, name):
            self.results.append(self._add("ReduceL2", [each], f"{each}/size", keepdims=0))

    def summed(self, place: int, half: HalfNode) -> None:
        """The largest sum of magnitudes, or of squares, that a node makes."""
        source, prefix = half.reads[0], f"{place}/sum"
        kind = half.node.op_type
        read = self._add("Abs", [source], f"{prefix}/magnitudes")
        node = self._graph.node.add()
        node.CopyFrom(half.node)
        node.input[0] = read
        node.name = node.output[0] = f"{prefix}/same"
        found = f"{prefix}/same"
        if kind == "ReduceL2":
            found = self._add("Mul", [found, found], f"{prefix}/squares")
        if kind in ("ReduceMean", "GlobalAveragePool"):
            sizes = [
                self._add(
                    "Cast", [self._add("Size", [name], f"{prefix}/{end}")], f"{prefix}/{end}/float", to=_FLOAT
                )
                for end, name in (("in", source), ("out", found))
            ]
            found = self._add("Mul", [found, self._add("Div", sizes, f"{prefix}/count")], f"{prefix}/sums")
        self.results.append(self._add("ReduceMax", [found], prefix, keepdims=0))
