"""The golden cases that a file carries: inputs, and what the checkpoint answers.

Cases are pictures first, and noise where the network is not chaotic on it. How far an engine may be off is
measured (``tolerances.py``). docs/spec.md says how the cases are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, AxisRange, ModelSpec
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.selftest.cases import (
    Case,
    Kept,
    KeptRows,
    Slice,
    Stage,
    cases_to_keys,
)
from deploykit_runtimes.selftest.compare import differences, gaps
from deploykit_runtimes.selftest.inputs import feeds_of
from deploykit_runtimes.selftest.measure import ROW_LAYOUTS, SAMPLES, keep_rows, keep_values
from deploykit_runtimes.selftest.scales import relative
from torch import nn

from deploykit_exporters.families.base import BuiltModel, OutputGroup
from deploykit_exporters.proof.answers import FEWEST
from deploykit_exporters.proof.cases import LARGE
from deploykit_exporters.proof.golden_cases.crafted import LEVELS, crafted_picture, levels_of
from deploykit_exporters.proof.golden_cases.rounding import Reduced, rounded_to
from deploykit_exporters.proof.golden_cases.tolerances import with_tolerances
from deploykit_exporters.proof.pictures import photo

__all__ = ["LARGEST", "NO_CASES", "golden_keys"]

LARGEST = 256 * 1024
"""Bytes of all golden cases of a file, keys and values."""

NO_CASES = (
    "The file carries no golden cases: no input gives an answer that float32 engines agree on, or raises a "
    "score above the threshold."
)
"""What an export says where nothing can be compared."""

_PICTURE = (48, 64)
_CALM = 2.5e-5
"""Share of the scale by which float32 evaluations may differ for an input to be of use."""
_SOFTEST = 3
_PARTS = 8
"""Most slices of outputs that a case keeps; of more, these lie evenly among them."""

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Around:
    """The parts of a file around its network, as torch modules.

    Attributes:
        before: Images as the graph takes them to the tensor; None: the graph takes the tensor.
        after: The graph's input, the heads, and the thresholds where they are inputs, to the outputs of the
            file; None: the heads are the outputs.
    """

    before: nn.Module | None = None
    after: nn.Module | None = None


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A case, and by how much other float32 evaluations differ from it: each part of each output, as a
    share of its scale."""

    case: Case
    float32: tuple[tuple[float, ...], ...]


def golden_keys(
    built: BuiltModel, core: ModelSpec, finished: ModelSpec, around: Around, file: Runner
) -> dict[str, str]:
    """The metadata of the golden cases of a file.

    Args:
        built: The checkpoint in torch.
        core: The contract of the network alone.
        finished: The contract of the file.
        around: What is in the file besides the network.
        file: The file in the engine that proved it.

    Returns:
        Nothing where no input gives anything to compare.
    """
    checkpoint = _Checkpoint(built, core, finished, around)
    found = [*_kept_cases(checkpoint, file, _plans(finished))]
    if finished.output.layout == "detections" and (
        _answers(found) < FEWEST or checkpoint.levels(each.case for each in found) < LEVELS
    ):
        crafted = crafted_picture(built.module, core, photo(), finished.output.conf)
        if crafted is not None:
            found += _kept_cases(checkpoint, file, _crafted_plans(finished, crafted))
        if not _answers(found):
            return {}
    cases = with_tolerances(
        [each.case for each in found],
        [each.float32 for each in found],
        finished,
        lambda case, precision: checkpoint.outputs(feeds_of(case, finished), reduced=precision),
    )
    cases = tuple(case for case in cases if _is_clear(case, finished, file))
    if not cases:
        return {}
    keys = cases_to_keys(cases)
    while len(cases) > 1 and sum(len(key) + len(text) for key, text in keys.items()) > LARGEST:
        cases = cases[:-1]
        keys = cases_to_keys(cases)
    return keys


def _is_clear(case: Case, spec: ModelSpec, file: Runner) -> bool:
    """Whether the proven file passes a case: not where two boxes overlap so closely at the threshold that
    either may suppress the other."""
    if not any(isinstance(kept, KeptRows) for kept in case.kept):
        return True
    outputs = file.infer(feeds_of(case, spec))
    return all(differences(outputs, kept, spec, "fp32").ok for kept in case.kept)


def _answers(found: Sequence[_Kept]) -> int:
    """The detections that the cases keep."""
    return sum(len(kept.rows) for each in found for kept in each.case.kept if isinstance(kept, KeptRows))


def _kept_cases(checkpoint: _Checkpoint, file: Runner, plans: Iterable[Case]) -> Iterator[_Kept]:
    seen: list[tuple[str, int]] = []
    for plan in plans:
        for case in (plan, *_softer(plan)):
            try:
                feeds = feeds_of(case, checkpoint.finished)
                expected = checkpoint.outputs(feeds)
                found = file.infer(feeds)
            except DeploykitError:
                break  # of a size that the model does not take
            kept = checkpoint.keep(expected)
            other = checkpoint.outputs(feeds, channels_last=True)
            off = tuple(
                tuple(
                    map(
                        max, *(relative(gaps(run, each, checkpoint.finished), each) for run in (found, other))
                    )
                )
                for each in kept
            )
            if max(map(max, off)) <= _CALM or case.soft == _SOFTEST:
                if (case.title, case.seed) not in seen:
                    yield _Kept(case=replace(case, kept=kept), float32=off)
                seen.append((case.title, case.seed))
                break


def _softer(case: Case) -> Iterator[Case]:
    """The same with less contrast; for noise the picture."""
    pixels = case.picture if case.picture is not None else _picture()
    for halved in range(case.picture is not None, _SOFTEST + 1):
        yield replace(case, picture=pixels, soft=halved)


def _plans(spec: ModelSpec) -> Iterator[Case]:
    """The cases that suit a file: two pictures through the whole pre-processing, and tensors of several
    batches and sizes where these are free."""
    image = spec.tensor if spec.preprocess.included else spec.input
    large = image.height * image.width > LARGE
    one = _nearest(1, spec.input.dynamic.get("batch"), spec.input.batch)
    several = one if large else _nearest(3, spec.input.dynamic.get("batch"), spec.input.batch)
    native = (image.height, image.width)
    yield _case("image", one, _taken(spec, (96, 128)))
    yield _case("image", one if large else several, _taken(spec, (native[0] * 3 // 2, native[1] * 5 // 4)))
    if spec.preprocess.included:
        yield _case("image", several, native)
        yield _case("image", one, _taken(spec, (native[0] * 3 // 4, native[1] // 2)), seed=1)
        return
    yield _case("tensor", several, native)
    yield _case("tensor", one, native, seed=1)
    axes = [spec.input.dynamic.get(axis) for axis in ("height", "width")]
    if any(axes):
        sides = ((0.5, 0.75), (0.8, 0.55))
        for seed, scales in zip((None, 2), sides, strict=True):
            size = tuple(
                _nearest(int(side * scale), allowed, side)
                for side, scale, allowed in zip(native, scales, axes, strict=True)
            )
            yield _case(
                "tensor",
                one if large or seed else _nearest(2, spec.input.dynamic.get("batch"), one),
                size,
                seed=seed,
            )


def _crafted_plans(spec: ModelSpec, picture: np.ndarray) -> Iterator[Case]:
    """A picture at the size of the tensor, alone and as a batch."""
    image = spec.tensor
    stage: Stage = "image" if spec.preprocess.included else "tensor"
    allowed = spec.input.dynamic.get("batch")
    for batch in dict.fromkeys(_nearest(count, allowed, spec.input.batch) for count in (1, 3)):
        yield Case(picture=picture, batch=batch, height=image.height, width=image.width, stage=stage)


def _case(stage: Stage, batch: int, size: tuple[int, ...], seed: int | None = None) -> Case:
    return Case(
        picture=None if seed else _picture(),
        seed=seed or 0,
        batch=batch,
        height=size[0],
        width=size[1],
        stage=stage,
    )


def _taken(spec: ModelSpec, size: tuple[int, int]) -> tuple[int, int]:
    """A size of images, or the nearest that the network takes where images are not resized."""
    image = spec.tensor if spec.preprocess.included else spec.input
    if not spec.preprocess.keeps_size:
        return size
    return (
        _nearest(size[0], image.dynamic.get("height"), image.height),
        _nearest(size[1], image.dynamic.get("width"), image.width),
    )


def _nearest(wanted: int, allowed: AxisRange | None, fixed: int) -> int:
    if allowed is None:
        return fixed
    lowest = -(-allowed.min // allowed.step) * allowed.step
    highest = allowed.max // allowed.step * allowed.step
    return min(max(-(-wanted // allowed.step) * allowed.step, lowest), highest)


def _picture() -> np.ndarray:
    """The proof's photo at the size of a stamp, uint8 [48, 64, 3]."""
    from PIL import Image

    whole = Image.fromarray(photo())
    return np.asarray(whole.resize(_PICTURE[::-1], Image.Resampling.BICUBIC))


class _Checkpoint:
    """The checkpoint in torch, answering as the file does."""

    def __init__(self, built: BuiltModel, core: ModelSpec, finished: ModelSpec, around: Around) -> None:
        self._built, self._core, self.finished, self._around = built, core, finished, around

    def outputs(
        self,
        feeds: Outputs,
        *,
        reduced: Reduced | None = None,
        channels_last: bool = False,
    ) -> dict[str, np.ndarray]:
        """The outputs of the file for its feeds, by the checkpoint in torch.

        Args:
            feeds: What the file takes.
            reduced: A precision to emulate, in the network.
            channels_last: Lay its tensors out so: other sums in another order, as right as the first.
        """
        images = torch.from_numpy(np.ascontiguousarray(feeds[self.finished.input.name]))
        with torch.no_grad():
            tensor = images if self._around.before is None else self._around.before(images)
            heads = self._network(tensor, reduced, channels_last=channels_last)
            if self._around.after is not None:
                scalars = [torch.from_numpy(feeds[name]) for name in THRESHOLD_INPUTS if name in feeds]
                heads = tuple(self._around.after(images, *heads, *scalars))
        return {name: value.numpy() for name, value in zip(self.finished.output.names, heads, strict=True)}

    def levels(self, cases: Iterable[Case]) -> int:
        """On how many grids of a detector the cases show something: a fault in another one is not seen."""
        found: set[int] = set()
        with torch.no_grad():
            for case in cases:
                feeds = feeds_of(case, self.finished)
                images = torch.from_numpy(np.ascontiguousarray(feeds[self.finished.input.name]))
                tensor = images if self._around.before is None else self._around.before(images)
                heads = self._network(tensor, None, channels_last=False)
                found |= levels_of(heads[0], self._core, self.finished.output.conf)
        return len(found)

    def _network(
        self, tensor: torch.Tensor, reduced: Reduced | None, *, channels_last: bool
    ) -> tuple[torch.Tensor, ...]:
        module = self._built.module
        if channels_last:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        if reduced:
            with rounded_to(reduced):
                found = module(tensor)
        else:
            found = module(tensor)
        return (found,) if isinstance(found, torch.Tensor) else tuple(found)

    def keep(self, outputs: Outputs) -> tuple[Kept, ...]:
        """What a case keeps of the outputs."""
        kept: list[Kept] = []
        layout = self.finished.output.layout
        if layout in ROW_LAYOUTS:
            kept.append(keep_rows(outputs, self.finished))
        parts = list(self._slices())
        if len(parts) > _PARTS:
            parts = [parts[index * (len(parts) - 1) // (_PARTS - 1)] for index in range(_PARTS)]
        samples = SAMPLES if len(parts) <= 4 else SAMPLES // 2
        return (*kept, *(keep_values(outputs, part, samples) for part in parts))

    def _slices(self) -> Iterator[Slice]:
        output = self.finished.output
        if output.layout in ("top_k", "detections"):
            if "prototypes" in output.names:
                yield Slice(output="prototypes")
            return
        groups = [group for group in self._built.groups if group.kind != "detections"]
        scores = [group for group in groups if _is_scores(group, self.finished)]
        for group in groups:
            if not scores or group in scores or not _is_behind(group, scores[0]):
                yield _slice(group, self.finished)
        behind = [group for group in groups if scores and _is_behind(group, scores[0])]
        if behind:  # keypoints, or what else a box has: one slice
            stop = max(group.stop or 0 for group in behind)
            yield _slice(replace(behind[0], start=scores[0].stop, stop=stop, floor=0.0), self.finished)


def _is_scores(group: OutputGroup, spec: ModelSpec) -> bool:
    """Whether a slice holds the class scores of boxes."""
    detects = spec.output.layout in ("yolo", "yolov5")
    return detects and group.output == spec.output.names[0] and group.start == 4


def _is_behind(group: OutputGroup, scores: OutputGroup) -> bool:
    return group.output == scores.output and (group.start or 0) >= (scores.stop or 0) > 0


def _slice(group: OutputGroup, spec: ModelSpec) -> Slice:
    scores = _is_scores(group, spec)
    log = scores or spec.output.layout == "probabilities"
    part = Slice(output=group.output, log=log, best=scores or group.kind == "scores")
    if group.axis is None:
        return part
    if group.start is None or group.stop is None:
        return part  # the whole axis
    return replace(part, axis=group.axis, start=group.start, stop=group.stop)
