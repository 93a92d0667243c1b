"""The comparison with golden answers: first the pre-processing, then the network, then its head.

The recorded tensors go through our network, so that a difference in the pre-processing is not blamed on it,
and the input of the last layer was recorded too, which tells a head from what is before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec, ParityRecord
from deploykit_runtimes.errors import OptionError, ParityError
from deploykit_runtimes.runner import Runner

from deploykit_exporters import record
from deploykit_exporters.families.base import OutputGroup
from deploykit_exporters.families.shared.class_names import ASSUMED_IMAGENET
from deploykit_exporters.golden.advice import honoured, in_words_of
from deploykit_exporters.golden.compare import distance, infer, pair_outputs, recorded_images
from deploykit_exporters.golden.difference import DifferenceError, Why, one_error
from deploykit_exporters.golden.file import Golden, GoldenCase
from deploykit_exporters.golden.head import (
    check_activation,
    check_labels,
    check_shapes,
    explain_head,
    through_activation,
)
from deploykit_exporters.golden.network import explain_network
from deploykit_exporters.golden.pixels import compare_pixels
from deploykit_exporters.load import LoadedCheckpoint
from deploykit_exporters.proof.float64 import LOOSEST, MULTIPLE, Float64Reference, Outputs
from deploykit_exporters.proof.tensors import FP32_TOLERANCE, compare

__all__ = ["GoldenProof", "with_labels"]


_FREE_VALUES, _MOST_TIMES = 1 << 24, 128
"""Values of images that recipes may ask for: these, or so many inputs of the model if that is more."""
_ROUNDING = 2e-6
"""Share of the scale below which two float32 networks are the same whatever they are."""

_NO_SETTING = {
    "pre-processing": "all of it here: prepare the images yourself, and record with size= alone",
    "network": "it here",
    "head": "it here",
}
_UNEXPLAINED = 4.0
"""Differences of this many times float32's own distance from float64 may have another cause, which leaves
this much less."""


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """How far a case is off, as a share of the scale; None where float32 cannot tell."""

    off: float | None
    passed: bool


class GoldenProof:
    """Golden answers and the checkpoint that they should be of.

    Args:
        golden: The answers.
        loaded: The checkpoint.
        spec: The contract of the network: its pre-processing, its outputs, the names of its classes.
    """

    def __init__(self, golden: Golden, loaded: LoadedCheckpoint, spec: ModelSpec) -> None:
        self.golden, self.loaded, self.spec = golden, loaded, spec
        self.groups = loaded.built.groups
        self.name = golden.path.name

    @cached_property
    def cases(self) -> tuple[tuple[GoldenCase, np.ndarray], ...]:
        """Each case with its images, float32 [N, C, H, W].

        Raises:
            OptionError: the images are not those that were recorded.
        """
        self._check_recipes()
        return tuple((case, recorded_images(case, self.name)) for case in self.golden.cases)

    def _check_recipes(self) -> None:
        """A recipe is a line, whatever its size: images far beyond the model's own are not made."""
        made = sum(math.prod(case.shape) for case in self.golden.cases if case.recipe is not None)
        tensor = self.spec.tensor
        most = max(_FREE_VALUES, _MOST_TIMES * tensor.channels * tensor.height * tensor.width)
        if made > most:
            raise OptionError(
                f"--golden {self.name} cannot be used: its images have {made:,} values, wanted at most "
                f"{most:,} for a model of {tensor.channels}x{tensor.height}x{tensor.width}.",
                hint="Record with the size of the model, or give it with --imgsz.",
            )

    @cached_property
    def reference(self) -> Float64Reference:
        return Float64Reference(self.loaded.built.module, self.spec.output.names)

    def on_record(self, record: ParityRecord, candidate: Runner | None = None) -> ParityRecord:
        """Compare, and write down that it was done.

        Args:
            record: The record of the proof.
            candidate: The model file in an engine; None where it takes no tensors.

        Raises:
            ParityError, OptionError: see ``check_reading`` and ``check_file``.
        """
        said = [self.check_reading()]
        if candidate is not None:
            said.append(self.check_file(candidate, tolerance=record.tolerance))
        return replace(record, golden=self.golden.sha256, golden_said=", ".join(said))

    def check_reading(self) -> str:
        """Compare with the checkpoint in torch.

        Returns:
            What was compared and how close it was, in words.

        Raises:
            ParityError: they differ; it says where first, and why where that could be found out.
            OptionError: the answers are of images that the network does not take.
        """
        return self._reading

    @cached_property
    def _reading(self) -> str:
        said: list[str] = []
        differences: list[DifferenceError] = []
        for check in (self._check_pixels, self._check_network, self._check_labels):
            try:
                said.append(check())
            except DifferenceError as difference:
                differences.append(difference)
            except OptionError:
                if not differences:
                    raise
        if differences:
            told = [self._with_advice(one) for one in differences]
            raise one_error(told, self.name, self.loaded.hints.config)
        pixels, network, names = said
        return f"{self._whose}: {network}, {pixels}, {names}"

    def _with_advice(self, found: DifferenceError) -> DifferenceError:
        """With the settings that deploykit honours for this checkpoint; not every origin takes every one."""
        wanted = in_words_of(self.spec.origin, found.why.config)
        taken = honoured(self.loaded, wanted, self.cases[0][1]) if wanted else {}
        rest = (
            "" if len(taken) == len(wanted) else f" deploykit has no setting for {_NO_SETTING[found.where]}."
        )
        found.why = replace(found.why, said=f"{found.why.said}{rest}", config=taken)
        return found

    def _check_pixels(self) -> str:
        return compare_pixels(self.cases, self.spec, self.loaded.built.axes)

    def _check_labels(self) -> str:
        return check_labels(self.golden, self.spec)

    def check_file(self, candidate: Runner, *, tolerance: float = FP32_TOLERANCE) -> str:
        """Compare with the model file in an engine, on the images whose size it takes.

        Raises:
            ParityError: they differ.
        """
        offs: list[float] = []
        for (case, images), ours in zip(self.cases, self._ours, strict=True):
            found = infer(candidate, images)
            if found is None:
                continue
            verdict = self._judge(case, images, ours, found, tolerance)
            if not verdict.passed:
                raise ParityError(
                    f"The model file differs from the golden answers of {self.name} on {case.name}, by "
                    f"{verdict.off:.2e} of the scale of its outputs; allowed is {tolerance:.0e}.",
                    hint="The file does not give the answers of the training process: do not deploy it.",
                )
            offs += [] if verdict.off is None else [verdict.off]
        return f"the file within {max(offs):.1e}" if offs else "the file takes another size"

    @property
    def _whose(self) -> str:
        of = ("torch", "timm", "torchvision", "transformers", "ultralytics")
        versions = self.golden.versions
        return f"{self.golden.model} ({', '.join(f'{one} {versions[one]}' for one in of if one in versions)})"

    @cached_property
    def _ours(self) -> tuple[Outputs, ...]:
        return tuple(next(self.reference.float32(images)) for _, images in self.cases)

    def _check_sizes(self) -> None:
        """The network must take the recorded images."""
        built, image = self.loaded.built, self.spec.input
        for case in self.golden.cases:
            _, channels, *sides = case.shape
            own = (image.height, image.width)
            axes = zip(("height", "width"), sides, own, strict=True)
            free = all(side == size or side in built.axes.get(axis, ()) for axis, side, size in axes)
            if channels != image.channels or not free:
                size = ",".join(map(str, sides))
                raise OptionError(
                    f"--golden {self.name} was recorded on images of {channels}x{sides[0]}x{sides[1]}, the "
                    f"network takes {image.channels}x{own[0]}x{own[1]}.",
                    hint=f"Export with --imgsz {size}, or record with size=({own[0]}, {own[1]}).",
                )

    def _check_network(self) -> str:
        self._check_sizes()
        check_shapes(self.golden, self.spec, self._ours)
        offs: dict[int, float] = {}
        for n, ((case, images), ours) in enumerate(zip(self.cases, self._ours, strict=True)):
            verdict = self._judge(case, images, ours, ours, FP32_TOLERANCE)
            if not verdict.passed:
                raise self._differs(case, images, ours)
            if verdict.off is not None:
                offs[n] = verdict.off
                check_activation(case, ours, self.spec, pickled=self.loaded.checkpoint.module is not None)
        if not any(off <= FP32_TOLERANCE for off in offs.values()):
            raise ParityError(
                f"Nothing can be proven with {self.name}: on none of its images does float32 come within "
                f"{FP32_TOLERANCE:.0e} of float64.",
                hint="The network's activations explode: check the training, or record an earlier state.",
            )
        worst = max(offs, key=lambda n: offs[n])
        self._look_closer(worst, offs[worst])
        sizes = [case.shape[0] for case in self.golden.cases]
        count = sum(sizes[n] for n in offs)
        left = sum(sizes) - count
        unclear = f" ({left} more left out, on which float32 cannot decide)" if left else ""
        return f"network{self._part} within {offs[worst]:.1e} on {count} images{unclear}"

    @property
    def _part(self) -> str:
        """Which outputs are compared, where it is not all of them."""
        found = list(pair_outputs(self.golden.cases[0], self._ours[0]))
        return "" if len(found) == len(self.spec.output.names) else f" ({', '.join(found)} only)"

    def _look_closer(self, n: int, off: float) -> None:
        """A difference within the tolerance that rounding does not explain, but a setting does, is one.

        Raises:
            DifferenceError: there is such a setting.
        """
        if off <= _ROUNDING:
            return
        (case, images), ours = self.cases[n], self._ours[n]
        spread = max(self._spread(self._offs(case, ours), images).values())
        if off <= _UNEXPLAINED * spread:
            return
        why = explain_network(
            self.golden, self.loaded, self.spec, images, self._off_of(case), limit=off / _UNEXPLAINED
        )
        if why.said:
            raise DifferenceError(
                "network",
                f"by {off:.1e} of the scale, which is small, but more than float32's own {spread:.0e}.",
                why=why,
            )

    def _judge(
        self, case: GoldenCase, images: np.ndarray, ours: Outputs, found: Outputs, tolerance: float
    ) -> _Verdict:
        """Hold what a float32 network found against the golden answers; where they are apart by more than
        the tolerance, float32's own distance from float64 says what may be asked.

        Args:
            ours: The outputs of our network in torch, for the scale.
            found: Those of what is judged: the same, or of a file.
        """
        offs = self._offs(case, found)
        off = max(offs.values())
        if off <= tolerance:
            return _Verdict(off=off, passed=True)
        spread = self._spread(offs, images)
        # Two float32 networks are apart by up to the sum of their distances from float64.
        allowed = {group: max(tolerance, 2 * MULTIPLE * own) for group, own in spread.items()}
        if not max(spread.values()) <= LOOSEST / (2 * MULTIPLE):
            return _Verdict(off=None, passed=True)
        offs = self._offs(case, self.reference.exact(images) if found is ours else found)
        passed = all(value <= allowed[group] for group, value in offs.items())
        return _Verdict(off=max(offs.values()), passed=passed)

    def _spread(self, groups: Iterable[OutputGroup], images: np.ndarray) -> dict[OutputGroup, float]:
        """How far float32 itself is from float64 in each output group, as a share of its scale."""
        exact = self.reference.exact(images)
        spread = dict.fromkeys(groups, 0.0)
        for each in self.reference.float32(images):
            for group, own in spread.items():
                spread[group] = max(own, compare(exact[group.output], each[group.output], group).max_rel)
        return spread

    def _off_of(self, case: GoldenCase) -> Callable[[Outputs], float]:
        return lambda found: max(self._offs(case, found).values())

    def _offs(self, case: GoldenCase, found: Outputs) -> dict[OutputGroup, float]:
        """Distance of each output group from the golden answers, as a share of its scale."""
        pairs = pair_outputs(case, found)
        found = through_activation(pairs, found, self.spec)
        return {
            group: distance(pairs[group.output], found[group.output], group)
            for group in self.groups
            if group.output in pairs
        }

    def _differs(self, case: GoldenCase, images: np.ndarray, ours: Outputs) -> DifferenceError:
        """Where and, as far as it can be found out, why."""
        offs = self._offs(case, ours)
        group = max(offs, key=lambda one: offs[one])
        features = self._features(case, images)
        pairs = pair_outputs(case, ours)
        first = next(iter(pairs))
        same = features is not None and features <= FP32_TOLERANCE
        why = Why()
        if self.spec.task == "classify" and (same or features is None):
            why = Why(said=explain_head(pairs[first], ours[first], self.spec))
        where: Literal["head", "network"] = "head" if same or why.said else "network"
        if not why.said:
            why = explain_network(self.golden, self.loaded, self.spec, images, self._off_of(case))
        return DifferenceError(
            where,
            f"{group.output} is off by {offs[group]:.2e} of its scale on {case.name}; allowed is "
            f"{FP32_TOLERANCE:.0e}.",
            why=why,
            exact=f" (what goes into it agrees to {features:.0e})" if same else "",
            otherwise="The checkpoint is read differently from how it was trained: give what it does not say "
            "with --variant or --config, and which weights with --weights. The answers were recorded from "
            f"{self._whose}. Assumed: {' '.join(self.spec.assumed) or 'nothing.'}",
        )

    def _features(self, case: GoldenCase, images: np.ndarray) -> float | None:
        """Distance of the input of the last layer; None where there is no such layer on both sides."""
        module = self.loaded.built.module
        with torch.no_grad(), record.watch_last_layer(module) as find:
            found = module(torch.from_numpy(images))
            last = find(found) if isinstance(found, torch.Tensor) else None
        if last is None or case.last is None or tuple(last[1].shape) != case.last.shape:
            return None
        return distance(case.last, last[1].numpy(), OutputGroup(output=""))


def with_labels(loaded: LoadedCheckpoint, golden: Golden | None) -> LoadedCheckpoint:
    """The names of the classes from the training process, where the checkpoint and the user give none."""
    spec = loaded.built.spec
    guessed = [line for line in spec.assumed if line == ASSUMED_IMAGENET]
    if golden is None or (spec.classes and not guessed) or len(golden.labels) != spec.num_classes:
        return loaded
    named = replace(
        spec,
        classes=golden.labels,
        recognised=(*spec.recognised, f"Class names are from {golden.path.name}."),
        assumed=tuple(line for line in spec.assumed if line not in guessed),
    )
    return replace(loaded, built=replace(loaded.built, spec=named))
