"""State dicts of Ultralytics networks, with and without the yaml that says what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.families.base import BuiltModel
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions, hints_of
from deploykit_runtimes.errors import CheckpointError, OptionError


def bare(folder: Path, model: Any, *, prefix: str = "", **beside: Any) -> Path:
    """``torch.save(model.state_dict())``, or a dictionary around it."""
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    path = folder / "weights.pt"
    torch.save({"state_dict": state, **beside} if beside else state, path)
    return path


def build(path: Path, config: Any = None, **hints: Any) -> BuiltModel:
    return load_checkpoint(path, hints_of(ExportOptions(config=config, **hints))).built


def assert_answers(built: BuiltModel, model: Any) -> None:
    images = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        want, have = model(images)[0], built.module(images)
    want, have = ((one,) if isinstance(one, torch.Tensor) else one for one in (want, have))
    for expected, found in zip(want, have, strict=True):
        assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n-cls", "yolo26n", "yolov10n"])
def test_without_a_yaml_the_architecture_is_asked_for(
    name: str, ultralytics_file: Callable[..., Any], tmp_path: Path
) -> None:
    path = bare(tmp_path, ultralytics_file(name)[1])
    with pytest.raises(CheckpointError, match="without its architecture") as refused:
        build(path)
    assert "whole .pt file" in refused.value.hint
    assert "--config yolo11n.yaml" in refused.value.hint


@pytest.mark.parametrize(
    "name", ["yolov5n", "yolov8n-p6", "yolo11n-seg", "yolo11n-cls", "yolo12n-obb", "yolo26n-pose", "yolov10n"]
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_an_installed_yaml_by_its_name(
    name: str, prefix: str, ultralytics_file: Callable[..., Any], tmp_path: Path
) -> None:
    _, model = ultralytics_file(name)
    built = build(bare(tmp_path, model, prefix=prefix), f"{name}.yaml")
    assert_answers(built, model)
    assert built.spec.variant == (f"{name}u" if name.startswith("yolov5") else name)
    assert built.spec.num_classes == 3
    assert built.spec.classes == ()
    said = " ".join(built.spec.assumed)
    assert "image size" in said
    assert "no class names" in said


@pytest.mark.parametrize("scale", ["n", "s", "m"])
def test_the_scale_is_read_from_the_shapes(
    scale: str, ultralytics_file: Callable[..., Any], tmp_path: Path
) -> None:
    """A yaml file of one's own does not say it by its name."""
    from ultralytics.nn.tasks import yaml_model_load

    _, model = ultralytics_file(f"yolo11{scale}-cls")
    yaml = yaml_model_load("yolo11-cls.yaml")
    own = tmp_path / "mine.yaml"
    own.write_text(json.dumps({key: yaml[key] for key in ("nc", "scales", "backbone", "head")}))
    assert_answers(build(bare(tmp_path, model), own), model)


def test_names_and_the_yaml_beside_the_weights(ultralytics_file: Callable[..., Any], tmp_path: Path) -> None:
    _, model = ultralytics_file("yolov8n")
    path = bare(tmp_path, model, names=["a", "b", "c"], yaml=model.yaml, train_args={"imgsz": 96})
    spec = build(path).spec
    assert spec.classes == ("a", "b", "c")
    assert spec.input.height == 96
    assert not spec.assumed


def test_settings_that_no_shape_tells_are_taken_from_the_config(
    ultralytics_file: Callable[..., Any], tmp_path: Path
) -> None:
    from ultralytics.nn.tasks import yaml_model_load

    for changes in ({"activation": "nn.ReLU()"}, {"kpt_shape": [3, 2]}):
        yaml = {**yaml_model_load("yolov8n-pose.yaml"), **changes}
        _, model = ultralytics_file(yaml)
        config = json.dumps({"yaml": "yolov8n-pose.yaml", **changes})
        assert_answers(build(bare(tmp_path, model), config), model)


@pytest.mark.parametrize(
    ("config", "error", "problem"),
    [
        ("yolov8s.yaml", CheckpointError, "are not those of the yaml: .* differ, the first is model"),
        ("yolov77n.yaml", OptionError, "neither a file here nor one that comes with"),
        ('{"yaml": "/etc/passwd"}', OptionError, "wants the name of a file"),
        ('{"yaml": "yolov8n.yaml", "activaton": "nn.ReLU()"}', CheckpointError, "activaton"),
        ('{"nc": 3}', CheckpointError, "list of layers under `backbone`"),
        ("yolov8-rtdetr.yaml", CheckpointError, "RT-DETR"),
        ("yolov8s-world.yaml", CheckpointError, "YOLO-World"),
        ("yolo26n-depth.yaml", CheckpointError, "depth"),
    ],
)
def test_a_yaml_of_another_network_is_refused(
    config: str,
    error: type[Exception],
    problem: str,
    ultralytics_file: Callable[..., Any],
    tmp_path: Path,
) -> None:
    path = bare(tmp_path, ultralytics_file("yolov8n")[1])
    with pytest.raises(error, match=problem):
        build(path, config)


def test_missing_weights_are_named(ultralytics_file: Callable[..., Any], tmp_path: Path) -> None:
    state = dict(ultralytics_file("yolov8n")[1].state_dict())
    del state["model.4.cv1.bn.running_mean"]
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"1 differ, the first is model\.4\.cv1\.bn\.running_mean"):
        build(tmp_path / "weights.pt", "yolov8n.yaml")


def test_other_numbered_layers_are_not_claimed(tmp_path: Path) -> None:
    from deploykit_exporters.containers.read import read_checkpoint
    from deploykit_exporters.families.yolo.ultralytics import dialect as yolo_ultralytics
    from torch import nn

    torch.save(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict(), tmp_path / "a.pt")
    assert yolo_ultralytics.match(read_checkpoint(tmp_path / "a.pt")) is None
