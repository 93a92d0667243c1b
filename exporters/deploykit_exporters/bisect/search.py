"""Compares at cuts and halves the range, down to one node.

A part of the graph that ends at a cut is run on both sides. Cuts with one value alive come first: an engine
fuses the nodes before them as in the whole graph. Wider cuts between two of them follow. The result is
a node before which the sides agree and after which they do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from deploykit_runtimes.errors import DeploykitError

from deploykit_exporters.bisect.cuts import Cut, cuts_of
from deploykit_exporters.bisect.result import Layer, Read, Weight, Why
from deploykit_exporters.bisect.sides import Side
from deploykit_exporters.bisect.stored import reads
from deploykit_exporters.proof.tensors import difference

__all__ = ["Search"]

_WIDTHS = (1, 2, 4, math.inf)
_SWEPT = 12
"""Cuts that are compared where the outputs agree."""
_LAST = 3
"""Of them, cuts right before the outputs: a softmax makes a large difference of a rare class small."""
_OWN = 0.1
"""Share of the tolerance above which a node alone is wrong: one operator rounds less than a network."""
_LEAP = 10
"""A difference that grows by this factor from one node to the next did not build up gradually."""
_ROUNDING = 1e-6
"""Below it float32 differs from float32 in any engine."""
_FLOOR = 1e-10
"""Scale of values that are all zero but for rounding."""
_TIGHTER = 4
"""Most searches for where a gradual difference came from."""


@dataclass
class Search:
    """The search on one case.

    Attributes:
        reference, candidate: The two sides, whose graphs have the same nodes.
        tolerance: Largest difference allowed, relative to the largest value. If only the outputs differ, by
            less than this and more than ``at_outputs``, it becomes half of their difference.
        at_outputs: Largest difference allowed in the outputs.
    """

    reference: Side
    candidate: Side
    tolerance: float
    at_outputs: float = math.inf
    _offs: dict[int, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cuts = cuts_of(self.candidate.graph)
        self._last = len(self._cuts) - 1

    @property
    def compared(self) -> int:
        """The number of cuts that were compared."""
        return len(self._offs)

    def of_outputs(self) -> float:
        """The difference of the outputs."""
        return self._off(self._last)

    def first(self, *, sweep: bool = True) -> Layer | None:
        """The first layer that differs; None if the outputs agree and so do the cuts of a sweep.

        Args:
            sweep: Whether cuts are compared even if the outputs agree.
        """
        high = self._last
        if not self._differs(high, self.tolerance):
            if self._differs(high, self.at_outputs):
                self.tolerance = max(self._off(high) / 2, _ROUNDING)
            else:
                high = self._swept() if sweep else -1
        if high < 0:
            return None
        crossing = self._narrowed(high, self.tolerance)
        layer = self._layer(crossing)
        return layer if layer.why == "alone" else self._origin(crossing, layer) or layer

    def _swept(self) -> int:
        """The first of some narrow cuts that differs; -1 if none does."""
        narrow = [index for index, cut in enumerate(self._cuts) if len(cut.alive) <= _WIDTHS[2]]
        spread = np.linspace(0, len(narrow) - 1, min(_SWEPT, len(narrow))).astype(int).tolist()
        chosen = sorted({*(narrow[place] for place in spread), *narrow[-_LAST:]})
        return next((index for index in chosen if self._differs(index, self.tolerance)), -1)

    def _narrowed(self, high: int, tolerance: float) -> int:
        """Starting from a cut that differs, the earliest cut that differs while the one before it agrees."""
        low = max((i for i in self._offs if i < high and not self._differs(i, tolerance)), default=-1)
        for width in _WIDTHS:
            inside = [i for i in range(low + 1, high) if len(self._cuts[i].alive) <= width]
            while inside:
                middle = len(inside) // 2
                if self._differs(inside[middle], tolerance):
                    high, inside = inside[middle], inside[:middle]
                else:
                    low, inside = inside[middle], inside[middle + 1 :]
        return high

    def _origin(self, crossing: int, layer: Layer) -> Layer | None:
        """The node that is itself wrong, if its error only exceeds the tolerance later."""
        tolerance = layer.before / 2
        for _ in range(_TIGHTER):
            if crossing == 0 or tolerance < _ROUNDING:
                return None
            crossing = self._narrowed(crossing - 1, tolerance)
            found = self._layer(crossing)
            if found.why == "alone":
                return found
            tolerance = found.before / 2
        return None

    def _differs(self, index: int, tolerance: float) -> bool:
        return not self._off(index) <= tolerance

    def _off(self, index: int) -> float:
        """The largest difference of the values alive at a cut."""
        return max(self._offs_at(index).values()) if index >= 0 else 0.0

    def _offs_at(self, index: int) -> dict[str, float]:
        if index not in self._offs:
            cut = self._cuts[index]
            expected = self.reference.values(cut.alive)
            found = self.candidate.values(cut.alive)
            self._offs[index] = _differences(expected, found, cut.unordered)
        return self._offs[index]

    def _layer(self, index: int) -> Layer:
        """The node of a cut, with its inputs and its own error."""
        cut = self._cuts[index]
        before, after = self._off(index - 1), self._off(index)
        given, inputs = self._inputs(cut)
        alone = self._alone(cut, given)
        why: Why = "gradual"
        if alone is not None and not alone <= _OWN * self.tolerance:
            why = "alone"
        elif not after <= _LEAP * max(before, _ROUNDING):
            why = "fused"
        offs = self._offs_at(index)
        return Layer(
            name=cut.node.name or cut.node.output[0],
            operator=cut.node.op_type,
            place=cut.place,
            of=len(self.candidate.graph.nodes),
            output=max(offs, key=lambda name: offs[name]),
            inputs=inputs,
            before=before,
            after=after,
            alone=alone,
            why=why,
            weights=self._weights(cut),
        )

    def _inputs(self, cut: Cut) -> tuple[dict[str, np.ndarray], tuple[Read, ...]]:
        """What a node reads from other nodes in the reference, and how far the candidate's values are from
        it.
        """
        graph = self.reference.graph
        stored = {*graph.tensors}
        made = {name for node in graph.nodes for name in node.output}
        names = [name for name in dict.fromkeys(reads(cut.node)) if name and name not in stored]
        computed = tuple(name for name in names if name in made)
        given = {name: self.reference.feeds[name] for name in names if name not in made}
        offs = dict.fromkeys(given, 0.0)
        if computed:
            expected = self.reference.values(computed)
            offs |= _differences(expected, self.candidate.values(computed), cut.unordered)
            given |= expected
        return given, tuple(_read(name, given[name], offs[name]) for name in names)

    def _alone(self, cut: Cut, given: Mapping[str, np.ndarray]) -> float | None:
        """The difference when the node runs alone; None if an engine refuses it alone."""
        wanted = tuple(name for name in cut.node.output if name)
        try:
            expected = self.reference.values(wanted, given)
            return max(_differences(expected, self.candidate.values(wanted, given), cut.unordered).values())
        except DeploykitError:
            return None

    def _weights(self, cut: Cut) -> tuple[Weight, ...]:
        """The stored tensors of a node that differ between the two graphs."""
        one, other = self.reference.graph, self.candidate.graph
        if one is other:
            return ()
        names = [name for name in dict.fromkeys(reads(cut.node)) if name in one.tensors]
        found = (_weight(name, one.values_of(name), other.values_of(name)) for name in names)
        return tuple(each for each in found if each.differ)


def _differences(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], unordered: frozenset[str]
) -> dict[str, float]:
    return {
        name: _relative_difference(expected[name], found[name], unordered=name in unordered)
        for name in expected
    }


def _relative_difference(expected: np.ndarray, found: np.ndarray, *, unordered: bool) -> float:
    """The largest difference relative to the largest value; infinite if shapes differ."""
    if expected.shape != found.shape:
        return math.inf
    if unordered:
        expected, found = np.sort(expected, axis=None), np.sort(found, axis=None)
    return difference(expected, found, _FLOOR).max_rel


def _read(name: str, values: np.ndarray, off: float) -> Read:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return Read(name=name, shape=values.shape, dtype=str(values.dtype), low=low, high=high, off=off)


def _weight(name: str, wanted: np.ndarray, found: np.ndarray) -> Weight:
    if wanted.shape != found.shape:
        return Weight(name=name, values=wanted.size, differ=wanted.size, off=math.inf)
    differ = int(np.count_nonzero((wanted != found) & ~(np.isnan(wanted) & np.isnan(found))))
    return Weight(name=name, values=wanted.size, differ=differ, off=difference(wanted, found).max_abs)
