"""What a model found in one image. Frozen, arrays included; coordinates are pixels of the image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from deploykit_runtimes.draw import Canvas, class_color
from deploykit_runtimes.errors import DependencyError, InputError
from deploykit_runtimes.images import ImageSource, drawable
from deploykit_runtimes.masks import encode_rle

__all__ = [
    "ClassScore",
    "Classification",
    "Detections",
    "Features",
    "OrientedDetections",
    "Poses",
    "Result",
    "Segmentation",
]


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class and its score in 0..1."""

    class_id: int
    name: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The best classes of an image.

    Attributes:
        top: Best first.
        image_size: Height and width of the image.
    """

    top: tuple[ClassScore, ...]
    image_size: tuple[int, int]

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

    def plot(self, image: ImageSource) -> np.ndarray:
        """The image, uint8 RGB [H, W, 3], with the classes listed in its corner."""
        canvas = Canvas(_same_size(image, self.image_size))
        canvas.panel(
            [f"{entry.name} {entry.score:.2f}" for entry in self.top],
            [class_color(entry.class_id) for entry in self.top],
        )
        return canvas.array()


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """Boxes, best first.

    Attributes:
        boxes: x1, y1, x2, y2, float32 [n, 4], clipped to the image.
        scores: float32 [n].
        class_ids: int64 [n].
        names: Class name of each box.
        image_size: Height and width of the image.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    names: tuple[str, ...]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                if len(value) != len(self.names):
                    raise InputError(f"{len(self.names)} detections cannot have {len(value)} {field.name}.")
                object.__setattr__(self, field.name, _frozen(value))

    def __len__(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "task": "detect",
            "image_size": list(self.image_size),
            "detections": [self._entry(index) for index in range(len(self))],
        }

    def plot(self, image: ImageSource) -> np.ndarray:
        """The image, uint8 RGB [H, W, 3], with every detection drawn in the colour of its class."""
        canvas = Canvas(_same_size(image, self.image_size))
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation(Detections):
    """Boxes with a mask each.

    Attributes:
        masks: bool [n, H, W] at the size of the image, so n * H * W bytes.
    """

    masks: np.ndarray

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses(Detections):
    """Boxes with keypoints each.

    Attributes:
        keypoints: float32 [n, K, 2] (x, y) or [n, K, 3] (x, y, visibility in 0..1).
    """

    keypoints: np.ndarray

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


@dataclass(frozen=True, kw_only=True, eq=False)
class OrientedDetections(Detections):
    """Rotated boxes; ``boxes`` are the upright boxes around them, not clipped.

    Attributes:
        rotated: Centre x, centre y, width, height, angle in radians (clockwise, as y points down),
            float32 [n, 5]. Not clipped.
        corners: The four corners in order, float32 [n, 4, 2].
    """

    rotated: np.ndarray
    corners: np.ndarray

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Feature maps of a backbone.

    Attributes:
        maps: float32 [C, H, W], or [T, C] of tokens, in the order of the graph's outputs.
        names: Name of each.
        image_size: Height and width of the image.
    """

    maps: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", tuple(_frozen(values) for values in self.maps))

    def __len__(self) -> int:
        return len(self.maps)

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

    def plot(self, image: ImageSource) -> np.ndarray:
        """The image, uint8 RGB [H, W, 3], under the channel mean of the last map."""
        canvas = Canvas(_same_size(image, self.image_size))
        spatial = [values for values in self.maps if values.ndim == 3]
        if spatial:
            mean = spatial[-1].mean(0)
            canvas.heat((mean - mean.min()) / max(float(np.ptp(mean)), 1e-12))
        lines = [f"{name} {list(values.shape)}" for name, values in zip(self.names, self.maps, strict=True)]
        canvas.panel(lines, [class_color(index) for index in range(len(lines))])
        return canvas.array()


Result: TypeAlias = Classification | Detections | Features


def _frozen(array: np.ndarray) -> np.ndarray:
    """A read-only array; a copy unless it is one already."""
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array


def _same_size(image: ImageSource, size: tuple[int, int]) -> np.ndarray:
    pixels = drawable(image)
    if pixels.shape[:2] != size:
        raise InputError(
            f"The result is of a {size[0]}x{size[1]} image, found {pixels.shape[0]}x{pixels.shape[1]}.",
            hint="Plot into the image that was given to predict().",
        )
    return pixels
