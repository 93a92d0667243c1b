"""YOLO: one front for the dialects, each of which knows one training code."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from deploykit_exporters.families.base import BuiltModel, Hints, Match

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["FAMILY", "YoloFamily"]

# Origin -> the module of its dialect, which has match(checkpoint) and build(checkpoint, match, hints).
_DIALECTS = {
    "ultralytics": "deploykit_exporters.dialects.yolo_ultralytics",
    "yolov5": "deploykit_exporters.dialects.yolov5",
    "yolox": "deploykit_exporters.dialects.yolox",
}


class YoloFamily:
    """YOLOv3u to YOLO26 of Ultralytics, the original YOLOv5, and YOLOX."""

    name = "yolo"

    def match(self, checkpoint: Checkpoint) -> Match | None:
        """The strongest claim of a dialect, or None."""
        claims = [claim for name in _DIALECTS if (claim := _dialect(name).match(checkpoint)) is not None]
        return max(claims, key=lambda claim: claim.score, default=None)

    def build(self, checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
        """Build with the dialect that made the claim.

        Raises:
            CheckpointError: weights do not fit, named key by key.
            DependencyError: the library that defines the architecture is not installed.
        """
        model: BuiltModel = _dialect(match.origin).build(checkpoint, match, hints)
        return model


def _dialect(origin: str) -> ModuleType:
    return import_module(_DIALECTS[origin])


FAMILY = YoloFamily()
