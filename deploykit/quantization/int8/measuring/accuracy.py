"""The metric of candidates, measured on the same pictures against float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.answers.results import Classification, Detections, OrientedDetections
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.prediction.predictor import Predictor

from deploykit.evaluation.data.truth import Objects, Truth
from deploykit.evaluation.measure import Measure, scores_of
from deploykit.evaluation.scores.bootstrap import map_interval
from deploykit.evaluation.scores.geometry import val_plan
from deploykit.evaluation.scores.records import Record
from deploykit.quantization.int8.measuring.pictures import FEWEST, Pictures
from deploykit.quantization.int8.options import Metric

__all__ = ["Accuracy", "Measured"]

_CHUNK = 64
"""Pictures after which a candidate that has lost already is given up."""
_SURE = 2.58
"""Standard errors: 99 % of a normal distribution lie within."""
_RESAMPLES = 200
_SHOWN = 0.25
"""Detections of float32 above this score are what another precision has to agree with."""
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The metric of one file.

    Attributes:
        value: The metric of this file.
        reference: The metric of float32, on the same pictures.
        images: How many pictures were measured.
        stopped: Stopped before the last picture, because it had lost more than allowed.
        part: For a detector, the part that lost most: ``boxes``, ``masks`` or ``keypoints``.
    """

    value: float
    reference: float
    images: int
    stopped: bool = False
    part: str = ""

    @property
    def loss(self) -> float:
        return self.reference - self.value

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "loss": self.loss}


@dataclass
class Accuracy:
    """The data with which every candidate is measured.

    Attributes:
        spec: The contract of the model.
        metric: What is measured.
        pairs: The readable pictures, and what is known about them.
        reference: The answers of float32.
        unread: Pictures that cannot be read, and why.
    """

    spec: ModelSpec
    metric: Metric
    pairs: list[tuple[Path, Truth]]
    reference: list[Record]
    unread: list[str] = field(default_factory=list)
    _settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        float32: Path,
        pictures: Pictures,
        runtime: str,
        engine: EngineOptions,
        *,
        count: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Accuracy:
        """Measure float32.

        Raises:
            InputError: fewer than half of ``FEWEST`` of the pictures can be read.
        """
        from deploykit_runtimes import load

        settings: dict[str, Any] = {"runtime": runtime, "options": engine}
        with load(float32, **settings) as predictor:
            found = cls(
                spec=predictor.spec, metric=pictures.metric, pairs=[], reference=[], _settings=settings
            )
            for sample in pictures.measured:
                try:
                    truth = found._truth(predictor, sample.path, sample.truth)
                except InputError as error:
                    found.unread.append(f"{sample.path}: {error.problem}")
                else:
                    found.pairs.append((sample.path, truth))
                count(len(found.pairs), len(pictures.measured))
            if len(found.pairs) < FEWEST // 2:
                named = "; ".join(found.unread[:_NAMED])
                raise InputError(
                    f"Only {len(found.pairs)} of {len(pictures.measured)} pictures can be read: {named}",
                    hint="Give the folder of the pictures that the model is used on.",
                )
            found.reference = list(found._records(predictor, found.pairs))
        return found

    def measure(
        self,
        path: Path,
        *,
        budget: float,
        count: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Measured:
        """Measure a candidate, stopping as soon as it has certainly lost more than the budget.

        Args:
            path: The file of the candidate.
            budget: The largest loss allowed.
            count: Called as pictures are done, with their number and the total.
        """
        from deploykit_runtimes import load

        records: list[Record] = []
        with load(path, **self._settings) as predictor:
            for start in range(0, len(self.pairs), _CHUNK):
                records += self._records(predictor, self.pairs[start : start + _CHUNK])
                count(len(records), len(self.pairs))
                left = len(self.pairs) - len(records)
                if left > _CHUNK and self._has_lost(records, budget):
                    return self._compared(records, stopped=True)
        return self._compared(records)

    def _records(self, predictor: Predictor, pairs: Sequence[tuple[Path, Truth]]) -> list[Record]:
        if self.spec.task == "features":
            return [{"features": _features(predictor, path)} for path, _ in pairs]
        plan = val_plan(self.spec) if self.spec.task != "classify" else None
        settings: dict[str, Any] = {"spec": self.spec, "plan": plan}
        if self.metric == "agreement" and self.spec.task == "segment":
            settings["protocol"] = "coco"  # boxes alone
        found = []
        for record in Measure.of(predictor, **settings).records(pairs):
            if isinstance(record, InputError):
                raise record  # it could be read before
            found.append(record)
        return found

    def _truth(self, predictor: Predictor, path: Path, truth: Truth) -> Truth:
        """What is known about a picture; to measure agreement, the answer of float32."""
        if self.metric != "agreement":
            predictor.prepare(path)
            return truth
        if self.spec.task == "features":
            predictor.prepare(path)
            return 0
        if self.spec.task == "classify":
            answer = predictor.predict(path.read_bytes())
        else:
            answer = predictor.predict(path.read_bytes(), conf=max(_SHOWN, _lowest(self.spec)))
        if isinstance(answer, Classification):
            return answer.top[0].class_id
        return _objects(answer) if isinstance(answer, Detections) else 0

    def _has_lost(self, records: Sequence[Record], budget: float) -> bool:
        if self.spec.task == "features":
            return False
        before = self.reference[: len(records)]
        if self.spec.task == "classify":
            lost = _right(before).astype(float) - _right(records)
            error = lost.std(ddof=1) / math.sqrt(len(lost))
            return bool(lost.mean() - _SURE * error > budget)
        for part in self._parts(before):
            interval = map_interval(before, records, part, resamples=_RESAMPLES)
            if -interval["high"] > budget:
                return True
        return False

    def _compared(self, records: Sequence[Record], *, stopped: bool = False) -> Measured:
        before = self.reference[: len(records)]
        values, wanted = self._values(records), self._values(before)
        part = max(wanted, key=lambda name: wanted[name] - values[name])
        return Measured(
            value=values[part],
            reference=wanted[part],
            images=len(records),
            stopped=stopped,
            part=part if len(wanted) > 1 else "",
        )

    def _values(self, records: Sequence[Record]) -> dict[str, float]:
        if self.spec.task == "features":
            pairs = zip(self.reference, records, strict=False)
            return {"": float(np.mean([_cosine(a["features"], b["features"]) for a, b in pairs]))}
        if self.spec.task == "classify":
            return {"": float(_right(records).mean())}
        scores = scores_of(self.spec, records)
        key = "map50" if self.metric == "agreement" else "map"
        return {part: float(scores[part][key]) for part in self._parts(records)}

    def _parts(self, records: Sequence[Record]) -> list[str]:
        names = ("boxes",) if self.metric == "agreement" else ("boxes", "masks", "keypoints")
        return [name for name in names if name in records[0]]


def _lowest(spec: ModelSpec) -> float:
    """The lowest score that a model with its post-processing inside returns."""
    fixed = spec.output.layout == "detections" and not spec.output.runtime_thresholds
    return spec.output.conf if fixed else 0.0


def _right(records: Sequence[Record]) -> np.ndarray:
    return np.array([record["top"][0, 0] == record["truth"][0] for record in records])


def _objects(answer: Detections) -> Objects:
    height, width = answer.image_size
    scale = np.array([width, height], np.float32)
    outlines: tuple[np.ndarray, ...] = ()
    if isinstance(answer, OrientedDetections):
        outlines = tuple(corners / scale for corners in answer.corners)
    return Objects(
        class_ids=answer.class_ids.astype(np.int64),
        boxes=(answer.boxes.reshape(-1, 2, 2) / scale).reshape(-1, 4).astype(np.float32),
        outlines=outlines,
    )


def _features(predictor: Predictor, path: Path) -> np.ndarray:
    outputs = predictor.runner.infer(predictor.prepare(path).feeds)
    return np.concatenate([value[:1].reshape(1, -1).astype(np.float32) for value in outputs.values()], axis=1)


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    product = float((first * second).sum())
    return product / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12)
