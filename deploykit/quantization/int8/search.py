"""The fastest mix of 8 bits and float that keeps the metric inside the budget.

1. All layers in 8 bits, with the ranges of each method: the method with the closest tensors is kept. 2. The
same in several forms (what is quantised besides products, and which sums are rounded), timed: the fastest
that may meet the budget is kept. 3. Each group of layers alone back in float: the gain in accuracy and the
cost in time. 4. Groups go back to float in order of gain per millisecond, as few as the budget needs
(bisection on the metric itself); from the last group, only the layers that must. 5. Groups that are faster
in float go there too, if that makes the whole faster.

The result is the fastest of all candidates measured inside the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from deploykit.quantization.int8.candidates import Candidate, Laboratory
from deploykit.quantization.int8.graph.groups import Group, groups_of, split
from deploykit.quantization.int8.graph.insert import FORMS, Choice, Form
from deploykit.quantization.int8.measuring.activations import METHODS

__all__ = ["FASTER", "Found", "Sensitivity", "search"]

FASTER = 1.02
"""Ratio to float32 below which a candidate counts as not faster: timing knows no better."""
_HOPELESS = 8.0
"""Times the error of the best form, beyond which a form is not timed."""
_TRIED = 3
"""Forms whose metric is measured, the fastest first."""
_CLEARLY = 1.03
"""Ratio from which layers in float count as faster than in 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The effect of a group on the result.

    Attributes:
        group: The layers.
        gain: By how much the error of the tensors falls when they alone stay in float.
        cost_ms: The cost in milliseconds on the engine; without an engine, the share of all multiplications.
        free: Clearly faster in float.
    """

    group: Group
    gain: float
    cost_ms: float
    free: bool = False

    @property
    def rank(self) -> float:
        """Gain per millisecond; layers that cost nothing come first."""
        return self.gain / self.cost_ms if self.cost_ms > 0 else float("inf")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result of a search.

    Attributes:
        best: The fastest candidate inside the budget; None if there is none.
        candidates: All measured candidates.
        sensitivities: The sensitivity of each group, most sensitive first.
        engine: The runtime on which times were compared; empty if none was measured.
        kept: The layers of ``best`` that stayed in float, with the reason.
    """

    best: Candidate | None
    candidates: tuple[Candidate, ...]
    sensitivities: tuple[Sensitivity, ...]
    engine: str
    kept: tuple[str, ...] = ()

    @property
    def pays(self) -> bool:
        """Whether the best candidate is faster than float32 on its best engine, if that was measured."""
        return self.best is not None and (not self.engine or self.best.gain(self.engine) >= FASTER)


@dataclass
class _Search:
    lab: Laboratory
    bits: int
    forms: tuple[Form, ...]
    tried: dict[str, Candidate]

    def run(self) -> Found:
        groups = groups_of(self.lab.network)
        every = frozenset(name for group in groups for name in group.nodes)
        method = self._method(every)
        base, engine = self._form(every, method)
        measured = self._sensitivities(base, groups, engine)
        order = [each.group for each in measured]
        floats = self._finer(base, self._mix(base, order))
        free = [each.group for each in measured if each.free and each.group not in floats]
        if free:
            self._measure(_without(base.choice, (*floats, *free)), _title((*floats, *free)), scored=True)
        best = self._best(engine)
        return Found(
            best=best,
            candidates=tuple(self.tried.values()),
            sensitivities=tuple(sorted(measured, key=lambda each: -each.gain)),
            engine=engine,
            kept=_reasons(best, groups, free) if best else (),
        )

    def _best(self, engine: str) -> Candidate | None:
        """The fastest inside the budget; without an engine, the one with the most multiplications in 8
        bits.
        """
        inside = [
            each
            for each in self.tried.values()
            if each.fits(self.lab.budget) and (not engine or engine in each.speeds)
        ]
        if not inside:
            return None
        if engine:
            return max(inside, key=lambda each: each.ratio(engine))
        macs = self.lab.network.macs
        return max(inside, key=lambda each: sum(macs[name] for name in each.choice.nodes))

    def _method(self, every: frozenset[str]) -> str:
        form = FORMS[1]
        errors = {}
        for method in METHODS:
            choice = Choice(nodes=every, method=method, form=form, weight_bits=self.bits)
            self.lab.say(f"Calibrating by {method}")
            errors[method] = self.lab.error(choice)
        return min(METHODS, key=errors.__getitem__)

    def _form(self, every: frozenset[str], method: str) -> tuple[Candidate, str]:
        """The form and the engine: the fastest form inside the budget; if there is none, the form with the
        smallest error among those nearly as fast as the fastest.
        """
        found = []
        for form in self.forms:
            choice = Choice(nodes=every, method=method, form=form, weight_bits=self.bits)
            found.append((self.lab.error(choice), form, choice))
        least = min(error for error, _, _ in found)
        timed = [
            self._measure(choice, f"all layers, {form.name}")
            for error, form, choice in found
            if error <= _HOPELESS * least
        ]
        engine = _engine(timed)
        timed = [each for each in timed if not engine or engine in each.speeds]
        ranked = sorted(timed, key=lambda each: each.speeds[engine].ms) if engine else timed
        for each in ranked[:_TRIED]:
            scored = self._measure(each.choice, each.title, scored=True)
            if scored.fits(self.lab.budget):
                return scored, engine
        if engine:
            limit = 1.1 * ranked[0].speeds[engine].ms
            ranked = [each for each in ranked if each.speeds[engine].ms <= limit]
        return min(ranked, key=lambda each: each.error), engine

    def _sensitivities(self, base: Candidate, groups: Sequence[Group], engine: str) -> list[Sensitivity]:
        total = sum(self.lab.network.macs.values()) or 1.0
        found = []
        for group in groups:
            choice = replace(base.choice, nodes=base.choice.nodes - set(group.nodes))
            if not choice.nodes:
                continue
            each = self._measure(choice, f"{group} in float")
            if engine and engine not in each.speeds:
                continue  # the engine does not take it so
            cost = (
                each.speeds[engine].float32_ms / each.ratio(engine)
                - each.speeds[engine].float32_ms / base.ratio(engine)
                if engine
                else sum(self.lab.network.macs[name] for name in group.nodes) / total
            )
            free = bool(engine) and _is_faster(each, base, engine)
            found.append(Sensitivity(group=group, gain=base.error - each.error, cost_ms=cost, free=free))
        return sorted(found, key=lambda each: -each.rank)

    def _mix(self, base: Candidate, order: Sequence[Group]) -> tuple[Group, ...]:
        """As few groups in float as the budget needs, in order, with at least one in 8 bits. None if that
        does not help either.
        """

        def tried(count: int) -> Candidate:
            floats = tuple(order[:count])
            return self._measure(_without(base.choice, floats), _title(floats), scored=True)

        count = _fewest(len(order) - 1, lambda number: tried(number).fits(self.lab.budget))
        return tuple(order[: count or 0])

    def _finer(self, base: Candidate, floats: tuple[Group, ...]) -> tuple[Group, ...]:
        """From the last group that had to go to float, keep only the layers that must."""
        if not floats or len(floats[-1].nodes) == 1:
            return floats
        held = floats[:-1]
        parts = [
            (self.lab.error(_without(base.choice, (*held, part))), place, part)
            for place, part in enumerate(split(floats[-1]))
        ]
        ranked = [part for _, _, part in sorted(parts, key=lambda each: each[:2])]

        def tried(count: int) -> Candidate:
            chosen = (*held, *ranked[:count])
            return self._measure(_without(base.choice, chosen), _title(chosen), scored=True)

        count = _fewest(len(ranked) - 1, lambda number: tried(number).fits(self.lab.budget))
        return floats if count is None else (*held, *ranked[:count])

    def _measure(self, choice: Choice, title: str, *, scored: bool = False) -> Candidate:
        known = self.tried.get(choice.key)
        if known is not None and (known.accuracy is not None or not scored):
            return known
        found = self.lab.candidate(choice, title, scored=scored)
        self.lab.forget(choice)
        self.tried[choice.key] = found
        return found


def search(lab: Laboratory, *, bits: int = 7, portable: bool = False) -> Found:
    """Search for the fastest mix inside the laboratory's budget.

    Args:
        lab: Measures candidates.
        bits: Bits of the weights; see ``Choice``.
        portable: Try only forms that TensorRT accepts.
    """
    forms = tuple(form for form in FORMS if form.portable or not portable)
    return _Search(lab=lab, bits=bits, forms=forms, tried={}).run()


def _engine(candidates: Sequence[Candidate]) -> str:
    """The runtime on which the fastest candidate is fastest."""
    times = [(speed.ms, runtime) for each in candidates for runtime, speed in each.speeds.items()]
    return min(times)[1] if times else ""


def _without(choice: Choice, floats: Sequence[Group]) -> Choice:
    return replace(choice, nodes=choice.nodes - {name for group in floats for name in group.nodes})


def _title(floats: Sequence[Group]) -> str:
    if not floats:
        return "all layers"
    names = ", ".join(map(str, floats[-2:]))
    more = f"{len(floats) - 2} groups, " if len(floats) > 2 else ""
    return f"in float: {more}{names}"


def _fewest(most: int, fits: Callable[[int], bool]) -> int | None:
    """The smallest number from 0 to ``most`` that fits, given that larger ones fit too; None if none fits."""
    if most < 0:
        return None
    if fits(0):
        return 0
    if not fits(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return high


def _is_faster(each: Candidate, base: Candidate, engine: str) -> bool:
    """Whether a candidate is faster than another by more than the timing error."""
    clear = each.ratio(engine) >= _CLEARLY * base.ratio(engine)
    return clear and each.speeds[engine].low > base.ratio(engine)


def _reasons(best: Candidate, groups: Sequence[Group], free: Sequence[Group]) -> tuple[str, ...]:
    """Which layers stayed in float, and why."""
    found = []
    for group in groups:
        left = [name for name in group.nodes if name not in best.choice.nodes]
        if left:
            count = "" if len(left) == len(group.nodes) else f"{len(left)} of "
            why = "faster in float" if group in free else "for the accuracy"
            found.append(f"{count}{group}: {why}")
    return tuple(found)
