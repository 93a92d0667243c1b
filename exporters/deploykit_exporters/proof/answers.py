"""The proof end to end: answers of a self-contained file against the checkpoint's.

The checkpoint runs in torch with the host's pre- and post-processing, the file takes the image as it
is. What is compared are results: classes, scores, boxes. Where the file's resize differs from the host's
in the last bit of a pixel, or a score lies on a threshold, the two may differ by a little; the limits
below say by how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from deploykit_runtimes.answers.nms import box_iou
from deploykit_runtimes.answers.results import Classification, Detections, Features, Result
from deploykit_runtimes.contract.spec import ModelSpec, OutputSpec
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.pixels.pixel_format import RGB, PixelFormat
from deploykit_runtimes.prediction.predictor import Predictor

from deploykit_exporters.proof.pictures import picture

__all__ = [
    "FEWEST",
    "NOT_EQUAL",
    "SCORE_LIMIT",
    "AnswerDifference",
    "answer_photos",
    "compare_answers",
    "prove_answers",
]

_GROUP = 8
SCORE_LIMIT = 1e-3
"""Largest difference of a score."""

TIE = 1e-4
"""Scores this close are equal: either class may be the best."""

IOU_LIMIT = 0.99
"""Smallest overlap of a box with its counterpart; boxes of a few pixels may be off by ``PIXEL_LIMIT``."""

PIXEL_LIMIT = 0.5
DETECTORS = ("detect", "segment", "pose", "obb")
FEATURE_LIMIT = 1e-2
"""Largest difference of a feature map as a share of its largest value."""

FEWEST = 10
"""Detections that must be compared for a comparison of answers to say anything of a detector."""

NOT_EQUAL = (
    "The file does not give this checkpoint's answers: do not deploy it. Export without --preprocess and "
    "--postprocess, and please report the checkpoint's origin."
)


@dataclass(frozen=True, kw_only=True)
class AnswerDifference:
    """How far answers are apart.

    Attributes:
        images: Number of images compared.
        score: Largest difference of a score, or of a feature map as a share of its largest value.
        box: Largest difference of a coordinate, in pixels of the image.
        borderline: Detections that only one side has, with a score or an overlap at a threshold.
        detections, masks, keypoints: What both sides have and was compared: boxes with an area, masks with
            a pixel, points of a pose.
    """

    images: int = 0
    score: float = 0.0
    box: float = 0.0
    borderline: int = 0
    detections: int = 0
    masks: int = 0
    keypoints: int = 0

    def __or__(self, other: AnswerDifference) -> AnswerDifference:
        return AnswerDifference(
            images=self.images + other.images,
            score=max(self.score, other.score),
            box=max(self.box, other.box),
            borderline=self.borderline + other.borderline,
            detections=self.detections + other.detections,
            masks=self.masks + other.masks,
            keypoints=self.keypoints + other.keypoints,
        )

    def is_telling(self, spec: ModelSpec) -> bool:
        """Whether enough was compared; of a detector ``FEWEST`` detections or all it may give."""
        return spec.task not in DETECTORS or self.detections >= min(FEWEST, self.images * spec.output.max_det)


def answer_photos(wanted: PixelFormat = RGB) -> dict[str, np.ndarray]:
    """Images of the proof, uint8 [H, W, C] as a model takes them: a photo, its mirror image (the two share a
    batch), a portrait, and a scrap."""
    cat = picture(wanted)
    return {
        "photo": cat,
        "mirrored photo": np.ascontiguousarray(cat[:, ::-1]),
        "portrait": np.ascontiguousarray(cat[:, 40:250].repeat(2, 0).repeat(2, 1)),
        "scrap": np.ascontiguousarray(cat[100:133, 100:197]),
    }


def prove_answers(
    reference: Predictor,
    candidate: Predictor,
    images: dict[str, np.ndarray],
    output: OutputSpec,
    *,
    limit: float = SCORE_LIMIT,
    count: Callable[[int, int], None] = lambda _done, _total: None,
) -> AnswerDifference:
    """Compare two predictors on images.

    Args:
        reference: The checkpoint with the host's processing, its thresholds those of the candidate.
        candidate: The self-contained file.
        images: uint8 [H, W, C] by name.
        output: The candidate's, for its thresholds.
        limit: Largest difference allowed of a score.
        count: Called with the number of images that are done, and of all.

    Raises:
        ParityError: an answer is off by more than the limits; the message names the image.
    """
    worst = AnswerDifference()
    for name, expected, found in _both(reference, candidate, images, count):
        try:
            worst |= compare_answers(expected, found, output, limit=limit)
        except ParityError as error:
            size = "x".join(map(str, expected.image_size))
            raise ParityError(f"On {name} ({size}) {error.problem}", hint=NOT_EQUAL) from error
    return worst


def _both(
    reference: Predictor,
    candidate: Predictor,
    images: dict[str, np.ndarray],
    count: Callable[[int, int], None],
) -> Iterator[tuple[str, Result, Result]]:
    """The answers of both sides for each image; each predictor is given a group of images at a time."""
    names = list(images)
    for start in range(0, len(names), _GROUP):
        count(start, len(names))
        group = names[start : start + _GROUP]
        pixels = [images[name] for name in group]
        yield from zip(group, reference.predict(pixels), candidate.predict(pixels), strict=True)


def compare_answers(
    expected: Result, found: Result, output: OutputSpec, *, limit: float = SCORE_LIMIT
) -> AnswerDifference:
    """Compare the answers for one image.

    Raises:
        ParityError: they differ by more than the limits.
    """
    if isinstance(expected, Classification) and isinstance(found, Classification):
        return _compare_classes(expected, found, limit)
    if isinstance(expected, Features) and isinstance(found, Features):
        return _compare_maps(expected.maps, found.maps)
    if isinstance(expected, Detections) and type(expected) is type(found):
        return _compare_detections(expected, found, output, limit)
    raise ParityError(f"the checkpoint gives {type(expected).__name__}, the file {type(found).__name__}.")


def _compare_classes(expected: Classification, found: Classification, limit: float) -> AnswerDifference:
    count = min(len(expected.top), len(found.top))
    want = {entry.class_id: entry.score for entry in expected.top[:count]}
    have = {entry.class_id: entry.score for entry in found.top[:count]}
    # A class that only one side names is at most as good as the last one of the other.
    last = expected.top[count - 1].score
    gaps = [abs(want.get(index, last) - score) for index, score in have.items()]
    gaps += [abs(score - have.get(index, found.top[count - 1].score)) for index, score in want.items()]
    _check("a score", max(gaps), limit)
    if expected.score - want.get(found.top[0].class_id, last) > TIE:
        raise ParityError(f"the best class is {found.label}, the checkpoint says {expected.label}.")
    return AnswerDifference(images=1, score=max(gaps))


def _compare_maps(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> AnswerDifference:
    worst = 0.0
    for want, have in zip(expected, found, strict=True):
        if want.shape != have.shape:
            raise ParityError(f"a feature map has the shape {have.shape}, the checkpoint's has {want.shape}.")
        worst = max(worst, float(np.abs(want - have).max() / max(np.abs(want).max(), 1e-6)))
    _check("a feature map", worst, FEATURE_LIMIT)
    return AnswerDifference(images=1, score=worst)


def _compare_detections(
    expected: Detections, found: Detections, output: OutputSpec, limit: float
) -> AnswerDifference:
    rows, columns = _match(expected, found)
    worst = AnswerDifference(images=1)
    if len(rows):
        score = float(np.abs(expected.scores[rows] - found.scores[columns]).max())
        box, masks, keypoints = 0.0, 0, 0
        for field in fields(expected):
            name = field.name
            if name in ("boxes", "rotated", "corners", "keypoints"):
                want, have = getattr(expected, name)[rows], getattr(found, name)[columns]
                box = max(box, float(np.abs(want - have).max(initial=0.0)))
                keypoints += want.shape[1] * len(rows) if name == "keypoints" else 0
            elif name == "masks":
                masks += _check_masks(getattr(expected, name)[rows], getattr(found, name)[columns])
        _check("a score", score, limit)
        has_area = (expected.boxes[rows, 2:] > expected.boxes[rows, :2]).all(1)
        worst |= AnswerDifference(
            score=score, box=box, detections=int(has_area.sum()), masks=masks, keypoints=keypoints
        )
    alone = 0
    for one, other, matched in ((expected, found, rows), (found, expected, columns)):
        for index in np.setdiff1d(np.arange(len(one)), matched):
            if not _is_borderline(one, int(index), other, output):
                who = "the file lacks" if one is expected else "the file adds"
                raise ParityError(
                    f"{who} a detection: {one.names[index]} {one.scores[index]:.4f} "
                    f"at {one.boxes[index].round(1).tolist()}."
                )
            alone += 1
    return worst | AnswerDifference(borderline=alone)


def _match(expected: Detections, found: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of the same class whose boxes are the same, each used once, the nearest first."""
    if not (len(expected) and len(found)):
        return np.empty(0, int), np.empty(0, int)
    overlap = box_iou(expected.boxes, found.boxes)
    gap = np.abs(expected.boxes[:, None] - found.boxes[None]).max(2)
    same = expected.class_ids[:, None] == found.class_ids[None]
    near = same & ((overlap > IOU_LIMIT) | (gap <= PIXEL_LIMIT))
    cost = np.where(near, gap + np.abs(expected.scores[:, None] - found.scores[None]), np.inf)
    rows, columns = [], []
    for flat in np.argsort(cost, axis=None):
        row, column = np.unravel_index(flat, cost.shape)
        if not np.isfinite(cost[row, column]):
            break
        if row not in rows and column not in columns:
            rows.append(int(row))
            columns.append(int(column))
    return np.array(rows, int), np.array(columns, int)


def _is_borderline(one: Detections, index: int, other: Detections, output: OutputSpec) -> bool:
    """Whether a threshold decides about the detection: of score, of places, of overlap, or of its mask.

    A box that lies in the padding alone has no area in the image, and its overlap with others is not told. A
    mask of so few pixels that all of them may differ decides whether Ultralytics keeps the detection.
    """
    score = one.scores[index]
    if not (one.boxes[index, 2:] > one.boxes[index, :2]).all():
        return True
    if score - output.conf <= SCORE_LIMIT:
        return True
    masks = getattr(one, "masks", None)
    if masks is not None and _edge(pixels := int(np.count_nonzero(masks[index]))) >= pixels:
        return True
    if len(other) >= output.max_det and score - other.scores[-1] <= SCORE_LIMIT:
        return True
    rivals = np.concatenate([other.boxes, np.delete(one.boxes, index, axis=0)])
    overlaps = box_iou(one.boxes[index : index + 1], rivals)
    return bool((np.abs(overlaps - output.iou) < 1 - IOU_LIMIT).any())


def _check_masks(expected: np.ndarray, found: np.ndarray) -> int:
    """The number of masks compared that have a pixel."""
    told = 0
    for want, have in zip(expected, found, strict=True):
        shared, union = int(np.count_nonzero(want & have)), int(np.count_nonzero(want | have))
        if union - shared > _edge(union):
            raise ParityError(f"a mask differs in {union - shared} of its {union} pixels.")
        told += union > 0
    return told


def _edge(pixels: int) -> float:
    """How many pixels of a mask may differ: some along its edge."""
    return 4 * math.sqrt(max(pixels, 1))


def _check(what: str, difference: float, limit: float) -> None:
    if not difference <= limit:
        raise ParityError(f"{what} is off by {difference:.2e}; allowed is {limit:.0e}.")
