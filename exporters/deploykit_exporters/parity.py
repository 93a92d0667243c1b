"""The proof: the checkpoint in torch against the ONNX file in an engine.

Every output group is compared against its own largest value, so that box coordinates in the
hundreds cannot hide an error in scores below one. Inputs are noise and a real photo at several
batches and, where the file is dynamic, several sizes including ones far from the traced size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.preprocess import preprocess
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.spec import InputSpec, ModelSpec, ParityRecord

from deploykit_exporters.families.base import OutputGroup

__all__ = ["FP32_TOLERANCE", "Case", "compare", "image_case", "proof_cases", "prove"]

FP32_TOLERANCE = 1e-4
"""Largest difference allowed, as a share of the largest value of the output group."""

_SCORE_FLOOR = 0.01
"""Scale of the scores of an end-to-end head where all of them are tiny; see ``OutputGroup.floor``."""

_LARGE = 640 * 640
"""Pixels from which on a forward pass takes seconds on a small machine."""

_CUT_MARGIN = 1e-5
"""Scores this close to that of the last place may fall on either side of top-k."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input of the proof: what it is, and the tensor [N, C, H, W] float32."""

    name: str
    images: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one output group of one case is off: absolute, relative to the group's scale, and
    the share of inputs whose best class agrees."""

    max_abs: float = 0.0
    max_rel: float = 0.0
    top1: float = 1.0


def prove(
    reference: Runner,
    candidate: Runner,
    groups: Sequence[OutputGroup],
    cases: Sequence[Case],
    *,
    tolerance: float = FP32_TOLERANCE,
) -> ParityRecord:
    """Compare two runners on every case.

    Raises:
        ParityError: a group is beyond the tolerance, an output is not finite where the reference
            is, or shapes differ; the message names the worst case.
    """
    worst = Difference()
    for case in cases:
        expected = reference.infer({reference.spec.input.name: case.images})
        found = candidate.infer({candidate.spec.input.name: case.images})
        for group in groups:
            difference = compare(expected[group.output], found[group.output], group)
            if not difference.max_rel <= tolerance:
                raise ParityError(
                    f"{group.output} of the ONNX file is off by {difference.max_rel:.2e} of its scale "
                    f"({difference.max_abs:.2e} absolute) on {case.name} {_shape(case)}; "
                    f"allowed is {tolerance:.0e}.",
                    hint="The file does not give this checkpoint's answers: do not deploy it. A new export "
                    "with another --opset or a fixed size may; please report the checkpoint's origin.",
                )
            worst = _worse(worst, difference)
    return ParityRecord(
        max_abs=worst.max_abs,
        max_rel=worst.max_rel,
        top1=worst.top1,
        tolerance=tolerance,
        shapes=tuple(dict.fromkeys(_shape(case) for case in cases)),
        inputs=tuple(dict.fromkeys(case.name for case in cases)),
        reference=reference.placement().title,
        engine=candidate.placement().title,
    )


def _shape(case: Case) -> str:
    return "x".join(map(str, case.images.shape))


def _worse(a: Difference, b: Difference) -> Difference:
    return Difference(
        max_abs=max(a.max_abs, b.max_abs), max_rel=max(a.max_rel, b.max_rel), top1=min(a.top1, b.top1)
    )


def compare(expected: np.ndarray, found: np.ndarray, group: OutputGroup) -> Difference:
    """Compare one output group.

    Args:
        expected, found: The whole output from the reference and from the candidate.
        group: The slice and the way to compare it.
    """
    if expected.shape != found.shape:
        raise ParityError(f"{group.output} has shape {found.shape}, the checkpoint gives {expected.shape}.")
    if group.kind == "detections":
        return _compare_detections(expected, found)
    if group.axis is not None:
        index = (slice(None),) * group.axis + (slice(group.start, group.stop),)
        expected, found = expected[index], found[index]
    difference = _difference(expected, found, group.floor)
    if group.kind == "scores" and expected.shape[group.axis or 1] > 1:
        axis = group.axis or 1
        agree = expected.argmax(axis) == found.argmax(axis)
        return Difference(max_abs=difference.max_abs, max_rel=difference.max_rel, top1=float(agree.mean()))
    return difference


def _difference(expected: np.ndarray, found: np.ndarray, floor: float = 0.0) -> Difference:
    if expected.size == 0:
        return Difference()
    with np.errstate(invalid="ignore"):
        gap = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    # An infinity or NaN that both give in the same place is agreement; anything else of the kind is not.
    gap[(expected == found) | (np.isnan(expected) & np.isnan(found))] = 0.0
    max_abs = float(gap.max()) if np.isfinite(gap).all() else float("inf")
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(floor, float(finite.max()) if finite.size else 0.0)
    return Difference(
        max_abs=max_abs, max_rel=max_abs / scale if scale else (0.0 if max_abs == 0 else float("inf"))
    )


def _compare_detections(expected: np.ndarray, found: np.ndarray) -> Difference:
    """Rows [N, K, 6 + extra] of an end-to-end head: xyxy, score, class, extra.

    Rows are matched by content, because equal scores may come in any order. A row may be missing
    only if its score is that of the last place, where top-k cuts between equals.
    """
    worst = Difference()
    for want, have in zip(expected, found, strict=True):
        rows = want[want[:, 4] > want[:, 4].min() + _CUT_MARGIN]
        if not len(rows):
            worst = _worse(worst, _difference(np.sort(want[:, 4]), np.sort(have[:, 4]), _SCORE_FLOOR))
            continue
        matched = have[_match_rows(rows, have)]
        for start, stop, floor in ((0, 4, 0.0), (4, 5, _SCORE_FLOOR), (6, None, 0.0)):
            worst = _worse(worst, _difference(rows[:, start:stop], matched[:, start:stop], floor))
        worst = _worse(worst, Difference(top1=float((rows[:, 5] == matched[:, 5]).mean())))
        if (rows[:, 5] != matched[:, 5]).any():
            return Difference(max_abs=float("inf"), max_rel=float("inf"), top1=worst.top1)
    return worst


def _match_rows(rows: np.ndarray, have: np.ndarray) -> np.ndarray:
    """Index of the row of ``have`` nearest to each of ``rows``; a different class is far away."""
    scale = max(float(np.abs(rows[:, :4]).max()), 1.0)
    distance = np.abs(rows[:, None, :4] - have[None, :, :4]).max(2) / scale
    distance += np.abs(rows[:, None, 4] - have[None, :, 4])
    distance += rows[:, None, 5] != have[None, :, 5]
    return np.asarray(distance.argmin(1))


def proof_cases(spec: ModelSpec) -> tuple[Case, ...]:
    """The inputs on which an export is proven: noise and a real photo, at several shapes."""
    return tuple(_proof_cases(spec))


def _proof_cases(spec: ModelSpec) -> Iterator[Case]:
    generator = np.random.default_rng(0)
    yield image_case(photo(), spec, name="photo")
    batches = (2, 3) if "batch" in spec.input.dynamic else (spec.input.batch,) * 2
    shapes = [(n, spec.input.channels, *size) for n, size in zip(batches, _sizes(spec.input), strict=True)]
    if len({shape[2:] for shape in shapes}) == 1 and spec.input.height * spec.input.width > _LARGE:
        # One size only, and an expensive one: a second batch of noise would say nothing new.
        shapes = shapes[:1]
    for shape in dict.fromkeys(shapes):
        yield Case(name="noise", images=_noise(generator, shape, spec))


def _sizes(spec: InputSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    return _small(spec), _odd(spec)


def _small(spec: InputSpec) -> tuple[int, int]:
    """A landscape size well below the native one, or the native one where an axis is fixed."""
    return _scaled(spec, 0.5, 0.75)


def _odd(spec: InputSpec) -> tuple[int, int]:
    """A portrait size that is no multiple of anything the axis does not demand."""
    return _scaled(spec, 0.8, 0.55, extra=1)


def _scaled(spec: InputSpec, height: float, width: float, *, extra: int = 0) -> tuple[int, int]:
    size = []
    for axis, native, scale in (("height", spec.height, height), ("width", spec.width, width)):
        allowed = spec.dynamic.get(axis)
        if allowed is None:
            size.append(native)
            continue
        n = int(native * scale) // allowed.step * allowed.step
        if extra and n % 2 == 0:
            n += allowed.step
        lowest = -(-allowed.min // allowed.step) * allowed.step
        highest = allowed.max // allowed.step * allowed.step
        size.append(min(max(n, lowest), highest))
    return size[0], size[1]


def _noise(generator: np.random.Generator, shape: tuple[int, ...], spec: ModelSpec) -> np.ndarray:
    """Uniform pixels, normalised as images are, so that activations have their usual range."""
    process = spec.preprocess
    pixels = generator.random(shape, dtype=np.float32) * (255.0 * process.scale)
    mean = np.resize(np.asarray(process.mean, np.float32), shape[1])[:, None, None]
    std = np.resize(np.asarray(process.std, np.float32), shape[1])[:, None, None]
    return np.ascontiguousarray((pixels - mean) / std, dtype=np.float32)


def image_case(image: np.ndarray, spec: ModelSpec, *, name: str) -> Case:
    """A real image, pre-processed as ``predict`` does it; repeated where the batch is fixed.

    Args:
        image: uint8 RGB [H, W, 3].
    """
    tensor, _ = preprocess(image, spec)
    batch = 1 if "batch" in spec.input.dynamic else spec.input.batch
    return Case(name=name, images=np.repeat(tensor[None], batch, axis=0))


@cache
def photo() -> np.ndarray:
    """A real photo that ships with the package: a cat, CC0, uint8 RGB."""
    from PIL import Image

    with files("deploykit_exporters").joinpath("assets/cat.jpg").open("rb") as file:
        return np.asarray(Image.open(file).convert("RGB"))
