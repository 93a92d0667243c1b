"""Pictures for calibration, and others for measurement."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError, OptionError
from deploykit_runtimes.pixels.listing import SUFFIXES, list_images
from deploykit_runtimes.prediction.predictor import Predictor

from deploykit.evaluation.data.classes import Matching
from deploykit.evaluation.data.read import read_dataset
from deploykit.evaluation.data.truth import Dataset, Protocol, Sample
from deploykit.quantization.int8.options import Metric

__all__ = ["FEWEST", "Pictures", "feeds_of", "read_pictures"]

FEWEST = 16
"""Pictures without which nothing is calibrated and measured."""
FEW = 64
"""Fewer are used, and said to be few."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures of a run.

    Attributes:
        calibration: Files from which ranges are taken.
        measured: The pictures on which the metric is measured, with what is known about them; for
            unlabelled pictures the truth is the answer of float32, which is not stored here.
        dataset: The data set as read, with all its pictures.
        metric: What is measured.
        notes: Notes for the reader, in sentences.
    """

    calibration: tuple[Path, ...]
    measured: tuple[Sample, ...]
    dataset: Dataset
    metric: Metric
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """``20 pictures of digits``."""
        return f"{len(self.calibration)} pictures of {self.dataset.source.name or self.dataset.source}"

    @cached_property
    def sha256(self) -> str:
        """A hash of the calibration pictures' contents."""
        state = hashlib.sha256()
        for path in self.calibration:
            state.update(hashlib.sha256(path.read_bytes()).digest())
        return state.hexdigest()


def read_pictures(
    path: Path,
    spec: ModelSpec,
    *,
    metric: Metric | None,
    split: str = "val",
    matching: Matching = "exact",
    calibrate: int = 128,
    limit: int | None = None,
    seed: int = 0,
) -> Pictures:
    """Find the pictures of a folder or data set, and divide them.

    Args:
        path: A folder of pictures; or labelled pictures, see ``read_dataset``.
        spec: The model.
        metric: What to measure; None: top-1 or mAP if there are labels, otherwise agreement with float32.
        split: The split to measure on; ``train``, if there is one, is for calibration.
        matching: See ``Matching``.
        calibrate: The largest number of pictures to calibrate with.
        limit: The largest number to measure on.
        seed: Seed of the random choice.

    Raises:
        InputError: it cannot be read, or holds fewer than ``FEWEST`` pictures.
        OptionError: the labels contradict the model's classes, or are missing for the metric.
    """
    if not path.exists():
        raise InputError(
            f"{path} does not exist.", hint="--calib wants a folder of pictures, or a data.yaml."
        )
    labelled = spec.task != "features" and not _has_loose_pictures(path)
    if labelled:
        dataset = read_dataset(path, spec, split=split, matching=matching)
        other = _train(path, spec, dataset, matching) if split != "train" else ()
    else:
        dataset, other = _unlabelled(path, spec), ()
    chosen = _metric(metric, spec, path, labelled=labelled)
    return _parted(dataset, other, chosen, calibrate=calibrate, limit=limit, seed=seed)


def _parted(
    dataset: Dataset, other: Sequence[Path], metric: Metric, *, calibrate: int, limit: int | None, seed: int
) -> Pictures:
    count = len(dataset.samples) + len(other)
    if count < FEWEST:
        raise InputError(
            f"{dataset.source} holds {count} pictures, wanted at least {FEWEST}: "
            "some calibrate, and the metric is measured on others.",
            hint="A few hundred pictures like those of production are best; labels are not needed.",
        )
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    measured = list(range(len(dataset.samples)))
    if len(other) >= FEWEST // 2:
        pool = list(other)
        draw.shuffle(pool)
        calibration = pool[:calibrate]
    else:
        draw.shuffle(measured)
        held = min(calibrate, len(measured) // 2)
        calibration = [dataset.samples[place].path for place in measured[:held]]
        measured = measured[held:]
    notes = list(dataset.notes)
    if limit is not None and limit < len(measured):
        measured = draw.sample(measured, limit)
    if len(measured) < FEW:
        notes.append(
            f"{len(measured)} pictures are few to measure on: a difference of one is {1 / len(measured):.1%}"
        )
    return Pictures(
        calibration=tuple(sorted(calibration)),
        measured=tuple(dataset.samples[place] for place in sorted(measured)),
        dataset=dataset,
        metric=metric,
        notes=tuple(notes),
    )


def _has_loose_pictures(path: Path) -> bool:
    """Whether a folder has pictures directly inside, not in class folders."""
    if not path.is_dir() or (path / "data.yaml").is_file() or (path / "data.yml").is_file():
        return False
    entries = list(path.iterdir())
    return not any(entry.is_dir() for entry in entries) or any(
        entry.suffix.lower() in SUFFIXES for entry in entries
    )


def _unlabelled(path: Path, spec: ModelSpec) -> Dataset:
    samples = tuple(
        Sample(path=file, truth=0, number=number) for number, file in enumerate(list_images(path))
    )
    protocol: Protocol = "classify" if spec.task in ("classify", "features") else "ultralytics"
    return Dataset(source=path, kind="pictures without labels", protocol=protocol, samples=samples)


def _train(path: Path, spec: ModelSpec, measured: Dataset, matching: Matching) -> tuple[Path, ...]:
    """The training pictures of a data set that has them, for calibration."""
    try:
        found = read_dataset(path, spec, split="train", matching=matching)
    except (InputError, OptionError):
        return ()  # there is no such split, which measures nothing
    same = {sample.path for sample in measured.samples}
    return tuple(sample.path for sample in found.samples if sample.path not in same)


def _metric(metric: Metric | None, spec: ModelSpec, path: Path, *, labelled: bool) -> Metric:
    own: Metric = "top1" if spec.task == "classify" else "map"
    if metric is None:
        return own if labelled else "agreement"
    if metric == "agreement":
        return metric
    if metric != own or spec.task == "features":
        fits = "agreement" if spec.task == "features" else f"{own} and agreement"
        raise OptionError(f"--metric {metric} does not fit a model of the task {spec.task}: {fits} do.")
    if not labelled:
        raise OptionError(
            f"--metric {metric} wants labels, and {path} holds only pictures.",
            hint="Give class folders or a data.yaml, or --metric agreement.",
        )
    return metric


def feeds_of(predictor: Predictor, files: Sequence[Path]) -> Iterator[Mapping[str, np.ndarray] | InputError]:
    """The graph's inputs for each picture, or why the picture cannot be read."""
    for path in files:
        try:
            yield predictor.prepare(path).feeds
        except InputError as error:
            yield error
