"""The front of the YOLO family asks its dialects; the dialects have tests of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints, Match
from deploykit_exporters.families.registry import families, recognise
from deploykit_exporters.families.yolo.family import FAMILY


def checkpoint_of(tensors: dict[str, torch.Tensor]) -> Checkpoint:
    return Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=tensors)


def test_registered() -> None:
    assert families()["yolo"] is FAMILY
    assert FAMILY.name == "yolo"


def test_an_ultralytics_file_is_recognised_and_built(ultralytics_file: Callable[..., Any]) -> None:
    checkpoint = read_checkpoint(ultralytics_file("yolov8n")[0])
    family, match = recognise(checkpoint, Hints())
    assert (family, match.origin) == (FAMILY, "ultralytics")
    assert family.build(checkpoint, match, Hints()).spec.variant == "yolov8n"


def test_other_weights_are_not_claimed() -> None:
    for keys in (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], ["cls_token", "pos_embed"], []):
        assert FAMILY.match(checkpoint_of({key: torch.zeros(1) for key in keys})) is None


def test_matching_needs_no_training_library(
    ultralytics_file: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_checkpoint(ultralytics_file("yolov8n")[0])
    for name in list(sys.modules):
        if name.partition(".")[0] in ("ultralytics", "timm"):
            monkeypatch.setitem(sys.modules, name, None)
    assert FAMILY.match(checkpoint) is not None


def test_the_strongest_claim_wins_and_its_dialect_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    from deploykit_exporters.families.yolo.ultralytics import dialect as yolo_ultralytics
    from deploykit_exporters.families.yolo.yolov5 import dialect as yolov5
    from deploykit_exporters.families.yolo.yolox import dialect as yolox

    def claim(origin: str, score: float) -> Callable[[Checkpoint], Match]:
        return lambda _: Match(family="yolo", origin=origin, score=score)

    monkeypatch.setattr(yolov5, "match", claim("yolov5", 0.4))
    monkeypatch.setattr(yolox, "match", claim("yolox", 0.7))
    monkeypatch.setattr(yolo_ultralytics, "match", lambda _: None)
    monkeypatch.setattr(yolox, "build", lambda *_: "built by yolox")
    checkpoint = checkpoint_of({})
    match = FAMILY.match(checkpoint)
    assert match is not None
    assert match.origin == "yolox"
    assert FAMILY.build(checkpoint, match, Hints()) == "built by yolox"  # type: ignore[comparison-overlap]
