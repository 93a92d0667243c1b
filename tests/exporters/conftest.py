"""Checkpoints written by real training libraries, made when a test asks for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from torch import nn


class UltralyticsFile(Protocol):
    def __call__(
        self, config: str | dict[str, Any], *, imgsz: int = ..., edit: Callable[[Any], None] | None = ...
    ) -> tuple[Path, Any]: ...


@pytest.fixture(scope="session")
def ultralytics_file(
    tmp_path_factory: pytest.TempPathFactory, perturb: Callable[[nn.Module, int], nn.Module]
) -> UltralyticsFile:
    """Make a .pt file as Ultralytics' trainer writes it, from a yaml name (``yolo11n-seg``) or dictionary.

    The weights are random and perturbed, with three classes and scores that differ. Returns the file and
    the model itself, rounded to half precision like the file, with an end-to-end head end-to-end.
    ``edit`` changes the model before it is saved.
    """
    made: dict[str, tuple[Path, Any]] = {}
    folder = tmp_path_factory.mktemp("ultralytics")

    def make(
        config: str | dict[str, Any], *, imgsz: int = 160, edit: Callable[[Any], None] | None = None
    ) -> tuple[Path, Any]:
        key = str(config)
        if edit is None and key in made:
            return made[key]
        model = _model(config)
        perturb(model, 0)
        _calibrate(model)
        _spread_scores(model)
        if edit is not None:
            edit(model)
        model.half()
        path = folder / f"{len(list(folder.iterdir()))}.pt"
        torch.save(
            {
                "epoch": -1,
                "best_fitness": 0.5,
                "model": None,
                "ema": copy.deepcopy(model),
                "updates": 7,
                "optimizer": None,
                "train_args": {"task": model.task, "imgsz": imgsz, "data": "animals.yaml"},
                "date": "2026-01-01T00:00:00",
                "version": "8.4.190",
            },
            path,
        )
        model.float().eval()
        if hasattr(model.model[-1], "one2one_cv2"):
            model.end2end = True
        if edit is None:
            made[key] = path, model
        return path, model

    return make


def _model(config: str | dict[str, Any]) -> Any:
    from ultralytics.nn import tasks

    loaded = {} if isinstance(config, dict) else tasks.yaml_model_load(f"{config}.yaml")
    yaml = {**loaded, "nc": 3, **(config if isinstance(config, dict) else {})}
    task = tasks.guess_model_task(yaml)
    cls = {
        "detect": tasks.DetectionModel,
        "segment": tasks.SegmentationModel,
        "pose": tasks.PoseModel,
        "obb": tasks.OBBModel,
        "classify": tasks.ClassificationModel,
    }[task]
    torch.manual_seed(0)
    model = cls(yaml, ch=yaml.get("channels", 3), verbose=False)
    names = ("cat", "dog", "crème brûlée")
    model.names = dict(enumerate(names)) if yaml["nc"] == 3 else {n: f"thing {n}" for n in range(yaml["nc"])}
    model.task = task
    return model


def _calibrate(model: Any) -> None:
    """Take BatchNorm statistics from data, without which the features of a deep random network hardly
    depend on the image."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        shape = (4, model.yaml["channels"], 128, 128)
        model.train()(torch.rand(shape, generator=torch.Generator().manual_seed(1)))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
        assert norm.running_var is not None
        norm.running_var.mul_(1.5)  # a random network of gain 1 amplifies rounding like a chaotic system
    model.eval()


def _spread_scores(model: Any) -> None:
    """Random heads answer 1e-5 for everything; move the scores into the range of a trained one."""
    head = model.model[-1]
    with torch.no_grad():
        for name in ("cv3", "one2one_cv3"):
            for branch in getattr(head, name, None) or ():
                branch[-1].weight.mul_(4.0)
                branch[-1].bias.copy_(torch.linspace(-0.5, -1.5, len(branch[-1].bias)))
