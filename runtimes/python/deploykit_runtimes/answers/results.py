"""What a model found in one image. Frozen, arrays included; coordinates are pixels of the image.

Iterating a result gives its answers, best first; ``Displayed`` has what all of them can do besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from deploykit_runtimes.answers.classification import Classification, ClassScore
from deploykit_runtimes.answers.detection import Detection
from deploykit_runtimes.answers.displayed import Displayed, canvas_pixels, frozen
from deploykit_runtimes.answers.draw import Canvas, class_color
from deploykit_runtimes.answers.features import FeatureMap, Features
from deploykit_runtimes.answers.masks import encode_rle
from deploykit_runtimes.errors import DependencyError, InputError
from deploykit_runtimes.pixels.images import ImageSource
from deploykit_runtimes.pixels.picture import Picture

__all__ = [
    "ClassScore",
    "Classification",
    "Detection",
    "Detections",
    "FeatureMap",
    "Features",
    "OrientedDetections",
    "Poses",
    "Result",
    "Segmentation",
]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Detections(Displayed):
    """Boxes, best first.

    Attributes:
        boxes: x1, y1, x2, y2, float32 [n, 4], clipped to the image.
        scores: float32 [n].
        class_ids: int64 [n].
        names: Class name of each box.
        image_size: Height and width of the image.
        picture: The picture itself, for ``plot``, ``show`` and ``save``; None where it was not kept.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    names: tuple[str, ...]
    image_size: tuple[int, int]
    picture: Picture | None = None

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if isinstance(value, np.ndarray):
                if len(value) != len(self.names):
                    raise InputError(f"{len(self.names)} detections cannot have {len(value)} {each.name}.")
                object.__setattr__(self, each.name, frozen(value))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Detection:
        x1, y1, x2, y2 = self.boxes[index].tolist()
        return Detection(
            name=self.names[index],
            class_id=int(self.class_ids[index]),
            score=float(self.scores[index]),
            box=(x1, y1, x2, y2),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "task": "detect",
            "image_size": list(self.image_size),
            "detections": [self._entry(index) for index in range(len(self))],
        }

    def columns(self) -> list[str]:
        """The keys of a row: ``image``, ``class_id``, ``name``, ``score``, ``x1``, ``y1``, ``x2``, ``y2``.

        A segmentation adds ``mask_pixels``; poses add ``keypoint0_x``, ``keypoint0_y``,
        ``keypoint0_visibility``, ...; oriented boxes ``center_x``, ``center_y``, ``width``, ``height`` and
        ``angle`` (radians).
        """
        return ["image", "class_id", "name", "score", "x1", "y1", "x2", "y2", *self._more_columns()]

    def rows(self) -> list[dict[str, Any]]:
        """A flat row of plain values for each detection."""
        columns = self.columns()
        return [
            dict(
                zip(
                    columns,
                    (self.source, each.class_id, each.name, each.score, *each.box, *self._more_values(each)),
                    strict=True,
                )
            )
            for each in self
        ]

    def _more_columns(self) -> list[str]:
        return []

    def _more_values(self, each: Detection) -> list[Any]:  # noqa: ARG002 - plain boxes have no more
        return []

    def _told(self) -> Iterator[str]:
        return map(str, self)

    def plot(self, image: ImageSource | None = None) -> np.ndarray:
        """The image, uint8 RGB [H, W, 3], with every detection drawn in the colour of its class; see
        ``Displayed.plot``."""
        canvas = Canvas(canvas_pixels(self, image))
        colors = [class_color(int(class_id)) for class_id in self.class_ids]
        for index in reversed(range(len(self))):
            self._draw(canvas, index, colors[index])
        for index in reversed(range(len(self))):
            text = f"{self.names[index]} {self.scores[index]:.2f}"
            canvas.label(text, self._label_corner(index), colors[index])
        return canvas.array()

    def to_supervision(self) -> Any:
        """As ``supervision.Detections``, the class names in ``data["class_name"]``.

        Raises:
            DependencyError: supervision is not installed.
        """
        try:
            supervision = import_module("supervision")
        except ImportError as error:
            raise DependencyError(
                f"to_supervision() needs the package supervision, which cannot be imported: {error}.",
                hint="Install it with: pip install supervision",
            ) from error
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.class_ids.copy(),
            data={"class_name": np.array(self.names, dtype=str), **self._supervision_data()},
            **self._supervision_fields(),
        )

    def _entry(self, index: int) -> dict[str, Any]:
        return {
            "class_id": int(self.class_ids[index]),
            "name": self.names[index],
            "score": float(self.scores[index]),
            "box": self.boxes[index].tolist(),
        }

    def _draw(self, canvas: Canvas, index: int, color: tuple[int, int, int]) -> None:
        canvas.box(self.boxes[index].tolist(), color)

    def _label_corner(self, index: int) -> tuple[float, float]:
        return float(self.boxes[index, 0]), float(self.boxes[index, 1])

    def _supervision_fields(self) -> dict[str, Any]:
        return {}

    def _supervision_data(self) -> dict[str, np.ndarray]:
        return {}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Segmentation(Detections):
    """Boxes with a mask each.

    Attributes:
        masks: bool [n, H, W] at the size of the image, so n * H * W bytes.
    """

    masks: np.ndarray

    def __getitem__(self, index: int) -> Detection:
        return dataclasses.replace(super().__getitem__(index), mask=self.masks[index])

    def _more_columns(self) -> list[str]:
        return ["mask_pixels"]

    def _more_values(self, each: Detection) -> list[Any]:
        return [] if each.mask is None else [int(np.count_nonzero(each.mask))]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; each mask as COCO's uncompressed run lengths (column order)."""
        return {**super().to_dict(), "task": "segment"}

    def _entry(self, index: int) -> dict[str, Any]:
        return {**super()._entry(index), "mask": encode_rle(self.masks[index])}

    def _draw(self, canvas: Canvas, index: int, color: tuple[int, int, int]) -> None:
        canvas.mask(self.masks[index], color)
        super()._draw(canvas, index, color)

    def _supervision_fields(self) -> dict[str, Any]:
        return {"mask": self.masks.copy()}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Poses(Detections):
    """Boxes with keypoints each.

    Attributes:
        keypoints: float32 [n, K, 2] (x, y) or [n, K, 3] (x, y, visibility in 0..1).
    """

    keypoints: np.ndarray

    def __getitem__(self, index: int) -> Detection:
        return dataclasses.replace(super().__getitem__(index), keypoints=self.keypoints[index])

    def _more_columns(self) -> list[str]:
        axes = ("x", "y", "visibility")[: self.keypoints.shape[2]]
        return [f"keypoint{point}_{axis}" for point in range(self.keypoints.shape[1]) for axis in axes]

    def _more_values(self, each: Detection) -> list[Any]:
        return [] if each.keypoints is None else list(each.keypoints.ravel().tolist())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**super().to_dict(), "task": "pose"}

    def _entry(self, index: int) -> dict[str, Any]:
        return {**super()._entry(index), "keypoints": self.keypoints[index].tolist()}

    def _draw(self, canvas: Canvas, index: int, color: tuple[int, int, int]) -> None:
        super()._draw(canvas, index, color)
        points = self.keypoints[index]
        visible = points[:, 2] >= 0.5 if points.shape[1] == 3 else np.ones(len(points), bool)
        canvas.dots(points[visible, :2], color)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OrientedDetections(Detections):
    """Rotated boxes; ``boxes`` are the upright boxes around them, not clipped.

    Attributes:
        rotated: Centre x, centre y, width, height, angle in radians (clockwise, as y points down),
            float32 [n, 5]. Not clipped.
        corners: The four corners in order, float32 [n, 4, 2].
    """

    rotated: np.ndarray
    corners: np.ndarray

    def __getitem__(self, index: int) -> Detection:
        shape = {"rotated": self.rotated[index], "corners": self.corners[index]}
        return dataclasses.replace(super().__getitem__(index), **shape)

    def _more_columns(self) -> list[str]:
        return ["center_x", "center_y", "width", "height", "angle"]

    def _more_values(self, each: Detection) -> list[Any]:
        return [] if each.rotated is None else list(each.rotated.tolist())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**super().to_dict(), "task": "obb"}

    def _entry(self, index: int) -> dict[str, Any]:
        shape = {"rotated": self.rotated[index].tolist(), "corners": self.corners[index].tolist()}
        return {**super()._entry(index), **shape}

    def _draw(self, canvas: Canvas, index: int, color: tuple[int, int, int]) -> None:
        canvas.polygon(self.corners[index], color)

    def _label_corner(self, index: int) -> tuple[float, float]:
        x, y = self.corners[index][self.corners[index, :, 1].argmin()]
        return float(x), float(y)

    def _supervision_data(self) -> dict[str, np.ndarray]:
        return {"xyxyxyxy": self.corners.copy()}


Result: TypeAlias = Classification | Detections | Features
