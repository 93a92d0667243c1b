"""What to keep of a model's answers: the thresholds, and what a model can follow of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from deploykit_runtimes.contract.spec import ModelSpec, OutputSpec
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.arguments import as_count, as_number

__all__ = ["Thresholds", "ThresholdsOf", "refuse_needless"]

_OF_BOXES = ("conf", "iou", "max_det", "class_agnostic")
_OF_OVERLAPS = ("iou", "class_agnostic")
_USED: dict[str, tuple[str, ...]] = {"classify": ("top_k",), "features": ()}
"""The thresholds that a task has a use for; those that are not here find boxes."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What to keep of the model's answers.

    Attributes:
        top_k: Number of classes of a classification.
        conf: Lowest score of a detection, exclusive.
        iou: Overlap above which the worse of two boxes falls.
        max_det: Most detections of one image.

    Raises:
        OptionError: a value is outside its range.
    """

    top_k: int = 5
    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300

    def __post_init__(self) -> None:
        for name in ("conf", "iou"):
            if not 0 <= as_number(getattr(self, name), name) <= 1:
                raise OptionError(f"{name} wants a number in 0..1, found {getattr(self, name)!r}.")
        for name in ("top_k", "max_det"):
            as_count(getattr(self, name), name)

    @classmethod
    def of(
        cls,
        output: OutputSpec,
        *,
        top_k: int | None = None,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
    ) -> Thresholds:
        """The model's own defaults where an option is None.

        Raises:
            OptionError: also where a graph with its post-processing inside has decided otherwise.
        """
        _check_built_in(output, top_k=top_k, conf=conf, iou=iou, max_det=max_det)
        return cls(
            top_k=(output.top_k or 5) if top_k is None else top_k,
            conf=output.conf if conf is None else conf,
            iou=output.iou if iou is None else iou,
            max_det=output.max_det if max_det is None else max_det,
        )


class ThresholdsOf:
    """The thresholds of the calls of one model. Those of the last calls are remembered."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self.defaults = Thresholds.of(spec.output)
        self.of = lru_cache(maxsize=8, typed=True)(partial(Thresholds.of, spec.output))

    def asked(self, options: Mapping[str, Any]) -> Thresholds:
        """Those that a caller gave by name; None stands for the model's own.

        Raises:
            OptionError: one has a wrong value, or would have no effect.
        """
        given = {name: value for name, value in options.items() if value is not None}
        refuse_needless(self._spec, given)
        try:
            return self.of(**given)
        except TypeError:  # an unhashable value is not one of the right ones, and is reported as such
            return Thresholds.of(self._spec.output, **given)


def refuse_needless(spec: ModelSpec, given: Collection[str]) -> None:
    """Refuse thresholds that the model has no use for.

    Args:
        spec: The model's contract.
        given: The names of those that were given.

    Raises:
        OptionError: one would have no effect.
    """
    used = _USED.get(spec.task, _OF_BOXES)
    if spec.output.layout.startswith("end2end") or (spec.output.nms and not spec.is_postprocessed):
        used = tuple(name for name in used if name not in _OF_OVERLAPS)
    needless = sorted(name for name in given if name not in used)
    if needless:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in needless)
        rest = ", ".join(f"--{name.replace('_', '-')}" for name in used)
        overlaps = spec.task not in _USED and "top_k" not in needless
        does = "does not suppress boxes by their overlap" if overlaps else f"has the task {spec.task}"
        raise OptionError(
            f"{names} would have no effect: the model {does}.",
            hint="Leave it out." + (f" What shapes its answers: {rest}." if rest else ""),
        )


def _check_built_in(
    output: OutputSpec, *, top_k: int | None, conf: float | None, iou: float | None, max_det: int | None
) -> None:
    """Options that a finished graph can no longer follow."""
    if output.layout not in ("top_k", "detections"):
        return
    fixed: list[tuple[str, float | None, float, Callable[[float, float], bool]]] = []
    if output.layout == "top_k":
        fixed.append(("top_k", top_k, output.top_k, operator.gt))
    if not output.runtime_thresholds:
        fixed += [("conf", conf, output.conf, operator.lt), ("iou", iou, output.iou, operator.ne)]
    fixed.append(("max_det", max_det, output.max_det, operator.gt))
    for name, given, built_in, contradicts in fixed:
        if given is not None and contradicts(given, built_in):
            flag = f"--{name.replace('_', '-')} {given:g}"
            free = f"Export again with {flag}, or with --runtime-thresholds."
            raise OptionError(
                f"The model's post-processing is inside its graph, with {name} {built_in:g}; "
                f"found {name}={given:g}.",
                hint=free if name in ("conf", "iou") else f"Export again with {flag}.",
            )
