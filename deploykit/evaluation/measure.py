"""The core: pairs of picture and truth go through a model, and each becomes a record.

measure = Measure.of(deploykit.load("best.onnx"))
records = [r for r in measure.records(pairs) if not isinstance(r, InputError)]
measure.scores(records)  # {"top1": 0.973, ...}
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from deploykit_runtimes.answers.decode import decode, find, in_image
from deploykit_runtimes.answers.results import Classification
from deploykit_runtimes.answers.thresholds import Thresholds
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError, ModelError
from deploykit_runtimes.pixels.images import ImageSource
from deploykit_runtimes.prediction.predictor import Predictor, Prepared

from deploykit.evaluation.data.truth import Objects, Protocol, Truth
from deploykit.evaluation.scores.classification import (
    TOP,
    classification_record,
    classification_scores,
)
from deploykit.evaluation.scores.coco import coco_record
from deploykit.evaluation.scores.detection import detection_record, detection_scores
from deploykit.evaluation.scores.geometry import Plan, val_plan
from deploykit.evaluation.scores.records import Record

__all__ = ["CONF", "Measure", "Outcome", "scores_of", "thresholds_of"]

CONF = {"obb": 0.01}
"""Lowest score that counts, by task, as in Ultralytics' ``val``; 0.001 elsewhere."""

Outcome = Record | InputError


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a model's answers become records, and records numbers.

    Attributes:
        predictor: The model. Its engine is called from one thread; pictures are decoded in several.
        spec: Its contract, with class names that the caller may have given.
        protocol: See ``Dataset``.
        thresholds: The thresholds below which its answers do not count.
        sigmas: Sigmas of the keypoints; empty: the default for their number.
        plan: Where pixels go; None: as ``predict`` does it.
        imgsz: (height, width) for a dynamic model that is not a detector.
        batch: Pictures per call, if the batch is dynamic.
        workers: Threads that decode.
    """

    predictor: Predictor
    spec: ModelSpec
    protocol: Protocol
    thresholds: Thresholds
    sigmas: tuple[float, ...] = ()
    plan: Plan | None = None
    imgsz: tuple[int, int] | None = None
    batch: int = 8
    workers: int = 1
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, predictor: Predictor, **settings: Any) -> Measure:
        """The usual settings: those of Ultralytics' ``val``, and top-5 for a classifier."""
        spec = settings.pop("spec", predictor.spec)
        default: Protocol = "classify" if spec.task == "classify" else "ultralytics"
        thresholds, notes = thresholds_of(spec)
        given: dict[str, Any] = {
            "protocol": default,
            "thresholds": thresholds,
            "notes": notes,
            "plan": val_plan(spec),
        }
        return cls(predictor=predictor, spec=spec, **{**given, **settings})

    def records(
        self, pairs: Iterable[tuple[ImageSource, Truth]], plans: Iterable[Plan | None] | None = None
    ) -> Iterator[Outcome]:
        """A record of each picture, in order, or the error that says why the picture cannot be read.

        Args:
            pairs: Pictures and what is known about them, consumed lazily.
            plans: Where the pixels of each picture go, instead of ``plan``.

        Raises:
            DeploykitError: the engine fails, or the model's outputs contradict its contract.
        """
        waiting: deque[tuple[Prepared, Truth] | InputError] = deque()
        for outcome in self._prepared(pairs, plans):
            if waiting and not _together(waiting, outcome, self._limit()):
                yield from self._run(list(waiting))
                waiting.clear()
            waiting.append(outcome)
        if waiting:
            yield from self._run(list(waiting))

    def scores(self, records: Sequence[Record]) -> dict[str, Any]:
        """The numbers; see ``classification_scores`` and ``detection_scores``. COCO's own need its file."""
        return scores_of(self.spec, records)

    def _limit(self) -> int:
        image = self.spec.input
        allowed = image.dynamic.get("batch")
        return 1 if allowed is None else max(allowed.min, min(self.batch, allowed.max))

    def _prepared(
        self, pairs: Iterable[tuple[ImageSource, Truth]], plans: Iterable[Plan | None] | None
    ) -> Iterator[tuple[Prepared, Truth] | InputError]:
        """Decode pictures ahead: at most one for each thread, and one batch more."""
        todo = iter(pairs)
        ways = iter(plans) if plans is not None else None
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        running: deque[tuple[Future[Prepared], Truth]] = deque()

        def start(count: int) -> None:
            for source, truth in islice(todo, count):
                way = self.plan if ways is None else next(ways)
                running.append((pool.submit(self._prepare, source, truth, way), truth))

        try:
            start(self.workers + self._limit())
            while running:
                future, truth = running.popleft()
                start(1)
                try:
                    yield future.result(), truth
                except InputError as error:
                    yield error
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, source: ImageSource, truth: Truth, plan: Plan | None) -> Prepared:
        prepared = self._laid_out(source, plan)
        if isinstance(truth, Objects) and truth.size is not None:
            _check_size(source, prepared.geometry.image_size, truth.size)
        return prepared

    def _laid_out(self, source: ImageSource, plan: Plan | None) -> Prepared:
        if self.spec.task == "classify":
            return self.predictor.prepare(source, imgsz=self.imgsz)
        if not self.spec.output.runtime_thresholds:
            return self.predictor.prepare(source, plan=plan)
        asked = self.thresholds
        return self.predictor.prepare(source, plan=plan, conf=asked.conf, iou=asked.iou)

    def _run(self, job: list[tuple[Prepared, Truth] | InputError]) -> Iterator[Outcome]:
        """One engine call for the pictures between two errors."""
        ready = [each for each in job if not isinstance(each, InputError)]
        outputs = self.predictor.runner.infer(_joined([each for each, _ in ready])) if ready else {}
        _check_numbers(outputs)
        row = 0
        for each in job:
            if isinstance(each, InputError):
                yield each
            else:
                yield self._record(outputs, row, *each)
                row += 1

    def _record(
        self, outputs: Mapping[str, np.ndarray], row: int, prepared: Prepared, truth: Truth
    ) -> Record:
        spec = self.spec
        if not isinstance(truth, Objects):
            alone = {name: values[row : row + 1] for name, values in outputs.items()}
            answer = decode(alone, spec, [prepared.geometry], self.thresholds)[0]
            return classification_record(cast("Classification", answer), truth)
        found = find(
            outputs, spec, row, prepared.geometry, self.thresholds, every_class=spec.num_classes != 1
        )
        coco = self.protocol == "coco"
        only_boxes = coco and spec.task == "segment"
        record = detection_record(found, truth, spec, self.sigmas, boxes_only=only_boxes)
        return {**record, **coco_record(in_image(found, spec))} if coco else record


def scores_of(spec: ModelSpec, records: Sequence[Record]) -> dict[str, Any]:
    """The numbers of a model; see ``Measure.scores``."""
    if spec.task == "classify":
        return classification_scores(records, spec)
    return detection_scores(records, spec)


def _check_numbers(outputs: Mapping[str, np.ndarray]) -> None:
    """Refuse NaN, which is below every threshold: a detector that overflows would seem to find nothing."""
    for name, values in outputs.items():
        if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
            raise ModelError(
                f"The model's output {name} holds NaN.",
                hint="Run `deploykit selftest` on it; half precision can overflow.",
            )


def _check_size(source: ImageSource, found: tuple[int, int], labelled: tuple[int, int]) -> None:
    if tuple(found) == tuple(labelled):
        return
    name = f"Image {source}" if isinstance(source, str | Path) else "An image"
    raise InputError(
        f"{name} is {found[0]}x{found[1]} (height x width), its labels are of {labelled[0]}x{labelled[1]}.",
        hint="Where an EXIF orientation turns a picture, its labels have to be those of the upright picture."
        if tuple(found) == tuple(labelled[::-1])
        else "",
    )


def _together(
    waiting: Sequence[tuple[Prepared, Truth] | InputError],
    outcome: tuple[Prepared, Truth] | InputError,
    limit: int,
) -> bool:
    """Whether a picture fits into the call with those that wait."""
    if isinstance(outcome, InputError):
        return len(waiting) < 2 * limit
    ready = [each[0] for each in waiting if not isinstance(each, InputError)]
    if len(ready) >= limit or not ready:
        return not ready
    shapes = [[value.shape[1:] for value in each.feeds.values()] for each in (ready[0], outcome[0])]
    return shapes[0] == shapes[1]


def _joined(prepared: Sequence[Prepared]) -> Mapping[str, np.ndarray]:
    """The tensors of several pictures as one; thresholds, being scalars, are those of the first."""
    first = prepared[0].feeds
    if len(prepared) == 1:
        return first
    return {
        name: value if value.ndim == 0 else np.concatenate([each.feeds[name] for each in prepared])
        for name, value in first.items()
    }


def thresholds_of(
    spec: ModelSpec, *, conf: float | None = None, iou: float = 0.7, max_det: int = 300
) -> tuple[Thresholds, tuple[str, ...]]:
    """The thresholds for a model's answers, and in sentences those that the model does not follow.

    A graph with its post-processing inside has thresholds of its own, below which it returns nothing.

    Args:
        spec: The model.
        conf: Lowest score; None: the usual one.
        iou, max_det: See ``EvalOptions``.
    """
    if spec.task == "classify":
        most = spec.output.top_k if spec.output.layout == "top_k" else TOP
        return Thresholds(top_k=min(TOP, most or TOP)), ()
    wanted = Thresholds(conf=CONF.get(spec.task, 0.001) if conf is None else conf, iou=iou, max_det=max_det)
    own = spec.output
    if own.layout != "detections":
        return wanted, ()
    fixed = not own.runtime_thresholds
    lowest = max(own.conf, wanted.conf) if fixed else wanted.conf
    overlap = own.iou if fixed else wanted.iou
    kept = Thresholds(conf=lowest, iou=overlap, max_det=min(own.max_det, max_det))
    notes = ["the graph answers one class a box, evaluations count every class above the confidence"]
    if fixed and (own.conf, own.iou) != (wanted.conf, wanted.iou):
        notes.append(
            f"the graph keeps what scores above {own.conf:g} at an overlap of {own.iou:g}, which lowers mAP: "
            f"export with --conf {wanted.conf:g} --iou {wanted.iou:g}, or without --postprocess"
        )
    return kept, tuple(notes)
