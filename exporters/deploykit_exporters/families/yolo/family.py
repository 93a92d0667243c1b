"""YOLO: one front end for the dialects, each of which knows one training code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from deploykit_exporters.families.base import BuiltModel, Hints, Match

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["FAMILY", "YoloFamily"]


class YoloDialect(Protocol):
    """One training code, which saves whole modules rather than weights: a module with these members."""

    def match(self, checkpoint: Checkpoint, /) -> Match | None:
        """Claim the checkpoint, or None."""
        ...

    def build(self, checkpoint: Checkpoint, match: Match, hints: Hints, /) -> BuiltModel:
        """Build the network with its weights; see ``Family.build``."""
        ...


class YoloFamily:
    """YOLOv3u to YOLO26 of Ultralytics, the original YOLOv5, and YOLOX."""

    name = "yolo"

    def match(self, checkpoint: Checkpoint) -> Match | None:
        """The strongest claim of a dialect, or None."""
        claims = [
            claim for dialect in _dialects().values() if (claim := dialect.match(checkpoint)) is not None
        ]
        return max(claims, key=lambda claim: claim.score, default=None)

    def build(self, checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
        """Build with the dialect that made the claim.

        Raises:
            CheckpointError: weights do not fit, named key by key.
            DependencyError: the library that defines the architecture is not installed.
        """
        return _dialects()[match.origin].build(checkpoint, match, hints)


def _dialects() -> Mapping[str, YoloDialect]:
    """The dialects by origin."""
    from deploykit_exporters.families.yolo.ultralytics import dialect as yolo_ultralytics
    from deploykit_exporters.families.yolo.yolov5 import dialect as yolov5
    from deploykit_exporters.families.yolo.yolox import dialect as yolox

    return {"ultralytics": yolo_ultralytics, "yolov5": yolov5, "yolox": yolox}


FAMILY = YoloFamily()
