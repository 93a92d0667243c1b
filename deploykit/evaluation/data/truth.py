"""What is known about pictures, whichever file it comes from."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

__all__ = ["Dataset", "Objects", "Protocol", "Sample", "Truth"]

Protocol: TypeAlias = Literal["classify", "ultralytics", "coco"]


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects of one picture; coordinates are fractions of its width and height, 0..1.

    Attributes:
        class_ids: int64 [n], classes of the model.
        boxes: float32 [n, 4]; x1, y1, x2, y2.
        outlines: A polygon per object, float32 [k, 2]; empty if only boxes are known.
        keypoints: float32 [n, K, 3], x, y and visibility (0: not labelled); None if there are none.
        size: Height and width of the picture that was labelled, if the labels give them.
    """

    class_ids: np.ndarray
    boxes: np.ndarray
    outlines: tuple[np.ndarray, ...] = ()
    keypoints: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.class_ids)


Truth: TypeAlias = int | Objects
"""The class of a picture, or its objects."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture and what is known about it.

    Attributes:
        path: Its file.
        truth: See ``Truth``.
        number: Its ``id`` in COCO's JSON; otherwise its position.
    """

    path: Path
    truth: Truth
    number: int


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled pictures.

    Attributes:
        source: The file or folder that was given.
        kind: What kind of data it is, in words.
        protocol: Whose arithmetic measures it: ``classify``, ``ultralytics`` or ``coco``.
        samples: The pictures.
        sigmas: Sigmas of the keypoint similarity; empty: the default for the number of keypoints.
        names: The classes by the numbers of the model, if the labels name all of them.
        categories: COCO's category for each class of the model, if there is one.
        notes: What was assumed or left out, in sentences.
        content: Parsed JSON, for COCO's own evaluation.
    """

    source: Path
    kind: str
    protocol: Protocol
    samples: tuple[Sample, ...]
    sigmas: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    categories: dict[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    content: dict[str, Any] | None = None

    def limited(self, limit: int | None, seed: int) -> Dataset:
        """At most ``limit`` pictures, drawn with a seed, in their original order."""
        if limit is None or limit >= len(self.samples):
            return self
        chosen = sorted(random.Random(seed).sample(range(len(self.samples)), limit))  # noqa: S311
        return replace(self, samples=tuple(self.samples[place] for place in chosen))

    def digest(self) -> str:
        """A hash of the pictures' names, sizes and modification times, and of everything known about them."""
        state = hashlib.sha256(self.protocol.encode())
        for sample in self.samples:
            try:
                found = sample.path.stat()
                told = f"{sample.path}\0{found.st_size}\0{found.st_mtime_ns}"
            except OSError:  # named when it is read
                told = f"{sample.path}\0missing"
            state.update(f"{told}\0{sample.number}\0".encode(errors="surrogateescape"))
            for part in _parts(sample.truth):
                state.update(part)
        state.update(repr(self.sigmas).encode())
        return state.hexdigest()


def _parts(truth: Truth) -> Iterable[bytes]:
    if not isinstance(truth, Objects):
        yield str(truth).encode()
        return
    yield repr(truth.size).encode()
    yield truth.class_ids.tobytes()
    yield truth.boxes.tobytes()
    for outline in truth.outlines:
        yield outline.tobytes()
    if truth.keypoints is not None:
        yield truth.keypoints.tobytes()
