"""What a model is measured on: its golden cases, the proof's photo, noise, and pictures of the user."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import DeploykitError, InputError
from deploykit_runtimes.pixels.listing import SUFFIXES, list_images, natural_order
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.selftest.cases import cases_from_keys
from deploykit_runtimes.selftest.inputs import feeds_of

from deploykit_exporters.precision.convert import Feed
from deploykit_exporters.proof.pictures import of_allowed_size, picture

__all__ = ["FEWEST", "Calibration", "calibration", "folder_pictures"]

FEWEST = 16
"""Pictures from which on activations of a deployment are well covered."""
_MOST = 64
"""Pictures that are taken of a folder."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a model is measured on.

    Attributes:
        feeds: The inputs.
        said: What they are, in words.
        sha256: Hash of the user's pictures; empty: there were none.
        images: How many judged images there are.
        notes: What should be known about them.
    """

    feeds: tuple[Feed, ...]
    said: str
    sha256: str = ""
    images: int = 0
    notes: tuple[str, ...] = field(default=())


def calibration(predictor: Predictor, pictures: Sequence[Path] = (), *, name: str = "") -> Calibration:
    """The inputs to measure a model on.

    Args:
        predictor: The float32 model, which pre-processes the pictures.
        pictures: The user's; none: the golden cases and the photo of the proof.
        name: What the user calls them.

    Raises:
        InputError: none of the pictures can be read.
    """
    own = [*_own_feeds(predictor)]
    if not pictures:
        return Calibration(
            feeds=tuple(own), said="the golden cases, a photo and noise", images=_judged(own, predictor.spec)
        )
    taken = [pictures[index * len(pictures) // _MOST] for index in range(_MOST)]
    taken = list(pictures) if len(pictures) <= _MOST else taken
    digest, feeds, notes = hashlib.sha256(), [], []
    problems: list[DeploykitError] = []
    for path in taken:
        try:
            feeds.append(Feed(path.name, dict(predictor.prepare(path).feeds)))
            digest.update(path.read_bytes())
        except DeploykitError as error:
            problems.append(error)
    if not feeds:
        raise InputError(
            f"None of the {len(taken)} calibration pictures can be read: {problems[0].problem}",
            hint="Give a folder of pictures like those that the model is going to see.",
        )
    if problems:
        notes.append(
            f"{len(problems)} of {len(taken)} calibration pictures cannot be read: {problems[0].problem}"
        )
    if len(feeds) < FEWEST:
        notes.append(
            f"{len(feeds)} calibration picture{'s are' if len(feeds) > 1 else ' is'} few: with {FEWEST} or "
            "more, activations that overflow are seen sooner."
        )
    said = (
        f"{len(feeds)} of {len(pictures)} pictures of {name}"
        if len(feeds) < len(pictures)
        else (f"{len(feeds)} picture{'s' if len(feeds) > 1 else ''} of {name}")
    )
    every = (*feeds, *own)
    return Calibration(
        feeds=every,
        said=said,
        sha256=digest.hexdigest(),
        images=_judged(every, predictor.spec),
        notes=tuple(notes),
    )


def _own_feeds(predictor: Predictor) -> Iterator[Feed]:
    spec = predictor.spec
    photo = of_allowed_size(picture(PixelFormat.of(spec)), spec)
    noise = np.random.default_rng(0).integers(0, 256, photo.shape, dtype=np.uint8)
    yield Feed("the photo", dict(predictor.prepare(photo).feeds))
    yield Feed("the mirrored photo", dict(predictor.prepare(np.ascontiguousarray(photo[:, ::-1])).feeds))
    for case in cases_from_keys(spec.golden):
        yield Feed(case.title, feeds_of(case, spec), judged=case.picture is not None)
    yield Feed("noise", dict(predictor.prepare(noise).feeds), judged=False)


def _judged(feeds: Sequence[Feed], spec: ModelSpec) -> int:
    return sum(len(feed.arrays[spec.input.name]) for feed in feeds if feed.judged)


def folder_pictures(path: Path) -> list[Path]:
    """The picture files of a folder, in natural order.

    Args:
        path: A folder, whose sub-folders are searched where it holds no pictures itself, such as folders of
            classes; a picture; or a glob pattern.

    Raises:
        InputError: there are none.
    """
    if path.is_dir() and not any(_is_picture(item) for item in path.iterdir()):
        found = [item for item in path.rglob("*") if _is_picture(item)]
        if found:
            return sorted(found, key=natural_order)
    try:
        return list_images(path)
    except InputError as error:
        raise InputError(
            f"--calib: {error.problem}",
            hint="Give a folder of pictures like those that the model is going to see.",
        ) from error


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()
