"""Feature maps of a backbone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deploykit_runtimes.answers.displayed import Displayed, canvas_pixels, frozen
from deploykit_runtimes.answers.draw import Canvas, class_color
from deploykit_runtimes.pixels.images import ImageSource
from deploykit_runtimes.pixels.picture import Picture

__all__ = ["FeatureMap", "Features"]


class FeatureMap(NamedTuple):
    """One feature map: its name, and float32 [C, H, W], or [T, C] of tokens."""

    name: str
    values: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Features(Displayed):
    """Feature maps of a backbone.

    Attributes:
        maps: float32 [C, H, W], or [T, C] of tokens, in the order of the graph's outputs.
        names: Name of each.
        image_size: Height and width of the image.
        picture: The picture itself, for ``plot``, ``show`` and ``save``; None where it was not kept.
    """

    maps: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    image_size: tuple[int, int]
    picture: Picture | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", tuple(frozen(values) for values in self.maps))

    def __len__(self) -> int:
        return len(self.maps)

    def __iter__(self) -> Iterator[FeatureMap]:
        return map(FeatureMap, self.names, self.maps)

    def __getitem__(self, index: int) -> FeatureMap:
        return FeatureMap(self.names[index], self.maps[index])

    def columns(self) -> list[str]:
        """The keys of a row: ``image``, ``name``, ``shape``, ``mean``, ``std``, ``min``, ``max``."""
        return ["image", "name", "shape", "mean", "std", "min", "max"]

    def rows(self) -> list[dict[str, Any]]:
        """A flat row for each map: its shape and statistics."""
        entries = self.to_dict()["maps"]
        return [
            {"image": self.source, **entry, "shape": "x".join(map(str, entry["shape"]))} for entry in entries
        ]

    def _told(self) -> Iterator[str]:
        return (f"{name} {list(values.shape)}" for name, values in self)

    def to_dict(self) -> dict[str, Any]:
        """Shapes and statistics, ready for JSON; the values themselves are in ``maps``."""
        return {
            "task": "features",
            "image_size": list(self.image_size),
            "maps": [
                {
                    "name": name,
                    "shape": list(values.shape),
                    "mean": float(values.mean()),
                    "std": float(values.std()),
                    "min": float(values.min()),
                    "max": float(values.max()),
                }
                for name, values in zip(self.names, self.maps, strict=True)
            ],
        }

    def plot(self, image: ImageSource | None = None) -> np.ndarray:
        """The image, uint8 RGB [H, W, 3], under the channel mean of the last map; see ``Displayed.plot``."""
        canvas = Canvas(canvas_pixels(self, image))
        spatial = [values for values in self.maps if values.ndim == 3]
        if spatial:
            mean = spatial[-1].mean(0)
            canvas.heat((mean - mean.min()) / max(float(np.ptp(mean)), 1e-12))
        lines = [f"{name} {list(values.shape)}" for name, values in zip(self.names, self.maps, strict=True)]
        canvas.panel(lines, [class_color(index) for index in range(len(lines))])
        return canvas.array()
