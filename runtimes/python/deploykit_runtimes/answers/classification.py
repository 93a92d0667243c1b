"""The best classes of an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deploykit_runtimes.answers.displayed import Displayed, canvas_pixels
from deploykit_runtimes.answers.draw import Canvas, class_color
from deploykit_runtimes.pixels.images import ImageSource
from deploykit_runtimes.pixels.picture import Picture

__all__ = ["ClassScore", "Classification"]


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class and its score in 0..1."""

    class_id: int
    name: str
    score: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Classification(Displayed):
    """The best classes of an image.

    Attributes:
        top: Best first.
        image_size: Height and width of the image.
        picture: The picture itself, for ``plot``, ``show`` and ``save``; None where it was not kept.
    """

    top: tuple[ClassScore, ...]
    image_size: tuple[int, int]
    picture: Picture | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.top)

    def __iter__(self) -> Iterator[ClassScore]:
        return iter(self.top)

    def __getitem__(self, index: int) -> ClassScore:
        return self.top[index]

    @property
    def label(self) -> str:
        """Name of the best class."""
        return self.top[0].name

    @property
    def score(self) -> float:
        """Score of the best class."""
        return self.top[0].score

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "task": "classify",
            "image_size": list(self.image_size),
            "top": [dataclasses.asdict(entry) for entry in self.top],
        }

    def columns(self) -> list[str]:
        """The keys of a row: ``image``, ``rank`` from 1, ``class_id``, ``name``, ``score``."""
        return ["image", "rank", "class_id", "name", "score"]

    def rows(self) -> list[dict[str, Any]]:
        """A flat row of plain values for each class."""
        return [
            {"image": self.source, "rank": rank, **dataclasses.asdict(entry)}
            for rank, entry in enumerate(self.top, start=1)
        ]

    def _told(self) -> Iterator[str]:
        return (f"{entry.name} {entry.score:.2f}" for entry in self.top)

    def plot(self, image: ImageSource | None = None) -> np.ndarray:
        """The image, uint8 RGB [H, W, 3], with the classes listed in its corner; see ``Displayed.plot``."""
        canvas = Canvas(canvas_pixels(self, image))
        canvas.panel(
            [f"{entry.name} {entry.score:.2f}" for entry in self.top],
            [class_color(entry.class_id) for entry in self.top],
        )
        return canvas.array()
