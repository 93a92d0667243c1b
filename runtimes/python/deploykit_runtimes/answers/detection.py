"""One detection of a picture, as iterating ``Detections`` gives it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Detection"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Detection:
    """One box and what belongs to it. What another kind of detection has is None.

    Attributes:
        name, class_id, score: The class, its index, and its score in 0..1.
        box: x1, y1, x2, y2 in pixels of the image.
        mask: bool [H, W] at the size of the image; of a segmentation.
        keypoints: float32 [K, 2] (x, y) or [K, 3] (x, y, visibility in 0..1); of poses.
        rotated: Centre x, centre y, width, height, angle in radians, float32 [5]; of oriented boxes.
        corners: Their four corners, float32 [4, 2].
    """

    name: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]
    mask: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    rotated: np.ndarray | None = None
    corners: np.ndarray | None = None

    def __repr__(self) -> str:
        more = {"mask": "", "keypoints": "", "rotated": ""}
        if self.mask is not None:
            more["mask"] = f", mask of {int(np.count_nonzero(self.mask)):,} pixels"
        if self.keypoints is not None:
            more["keypoints"] = f", {len(self.keypoints)} keypoints"
        if self.rotated is not None:
            more["rotated"] = f", turned by {np.degrees(self.rotated[4]):.0f} degrees"
        return f"Detection({self}{''.join(more.values())})"

    def __str__(self) -> str:
        corners = ", ".join(f"{value:.0f}" for value in self.box)
        return f"{self.name} {self.score:.2f} [{corners}]"
