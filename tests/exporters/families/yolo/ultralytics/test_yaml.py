"""Which yamls may reach Ultralytics' constructor, and which of the networks that come with it are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.yolo.ultralytics.yaml import check_yaml, construct, misfits, shapes_of
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError

ROW = [-1, 1, "Conv", [64, 3, 2]]


def yaml_of(**changes: Any) -> dict[str, Any]:
    return {"nc": 3, "backbone": [ROW], "head": [[-1, 1, "Classify", ["nc"]]], **changes}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"activation": "__import__('os').system('id')"}, "has the activation"),
        ({"activation": "nn.SiLU(inplace=print(1))"}, "has the activation"),
        ({"activation": "nn.functional.silu()"}, "has the activation"),
        ({"activation": "nn.init.zeros_()"}, "has the activation"),
        ({"activation": "nn.SiLU"}, "has the activation"),
        ({"activation": ["nn.SiLU()"]}, "has the activation"),
        ({"backbone": [[-1, 1, "torch_safe_load", ["x.pt"]]]}, "has a layer torch_safe_load"),
        ({"backbone": [[-1, 1, "nn.init.zeros_", []]]}, r"has a layer nn\.init\.zeros_"),
        ({"backbone": [[-1, 1, "torchvision.ops.nms", []]]}, r"has a layer torchvision\.ops\.nms"),
        ({"backbone": [[-1, 1, "os.system", ["id"]]]}, r"has a layer os\.system"),
        ({"backbone": [[-1, 10**9, "Conv", [64]]]}, "repeats a Conv 1000000000 times"),
        ({"backbone": [[-1, "1", "Conv", [64]]]}, "repeats a Conv '1' times"),
        ({"backbone": [ROW] * 1001}, "has 1002 layers"),
        ({"backbone": [["Conv"]]}, "has the layer"),
        ({"backbone": []}, "list of layers under `backbone`"),
        ({"head": None}, "list of layers under `head`"),
    ],
)
def test_what_is_not_a_network_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        check_yaml(yaml_of(**changes))


def test_shapes_cost_nothing_and_are_those_of_the_constructor() -> None:
    yaml = yaml_of(activation="nn.LeakyReLU(negative_slope=0.2)")
    check_yaml(yaml)
    state = torch.random.get_rng_state()
    model = construct(yaml, "classify", 3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not misfits(shapes_of(yaml, 3), model.state_dict())
    assert misfits(shapes_of(yaml, 1), model.state_dict()) == ["model.0.conv.weight"]
    assert "yaml_file" not in yaml
    with pytest.raises(CheckpointError, match="do not fit each other"):
        shapes_of(yaml_of(backbone=[[-1, 1, "Conv", []]]), 3)


def test_nothing_is_printed_or_downloaded(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("a download"))
    yaml = yaml_of(
        backbone=[[-1, 1, "TorchVision", [512, "resnet18", "DEFAULT", True, 2]]],
        head=[[-1, 1, "Classify", ["nc"]]],
    )
    check_yaml(yaml)
    construct(yaml, "classify", 3)
    assert capfd.readouterr() == ("", "")


READ = (
    *("yolov5n-p6", "yolov8n-ghost", "yolov8n-ghost-p2", "yolov8n-ghost-p6", "yolov8n-p2"),
    *("yolov8n-pose-p6", "yolov8n-seg-p6", "yolov8n-obb", "yolov9t"),
    *("yolo11n-obb", "yolo12n-cls", "yolo12n-seg", "yolo26n-p2", "yolo26n-p6", "yolo26n-seg", "yolo26n-pose"),
)


@pytest.mark.parametrize("name", READ)
def test_a_network_that_comes_with_ultralytics_is_read(
    name: str, ultralytics_file: Callable[..., Any]
) -> None:
    path, model = ultralytics_file(name)
    built = load_checkpoint(path, Hints()).built
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        want, have = model(images)[0], built.module(images)
    want, have = ((one,) if isinstance(one, torch.Tensor) else one for one in (want, have))
    for expected, found in zip(want, have, strict=True):
        assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()
    assert ask_witness(built, built.spec).startswith("ultralytics 8")
    assert not [one.path for one in built.settings if one.treatment == "unknown"]


NAMED = [
    ("yolo26n-sem", "SemanticSegmentationModel", "a semantic segmentation model"),
    ("yolo26n-depth", "DepthModel", "a depth estimator"),
    ("yolov8s-world", "WorldModel", r"an open-vocabulary detector \(YOLO-World\)"),
    ("yolov8s-worldv2", "WorldModel", r"an open-vocabulary detector \(YOLO-World\)"),
    ("yoloe-11s", "YOLOEModel", r"an open-vocabulary detector \(YOLOE\)"),
    ("yoloe-26n-seg", "YOLOESegModel", r"an open-vocabulary segmentation model \(YOLOE\)"),
    ("yolov8n-rtdetr", "RTDETRDetectionModel", "an RT-DETR"),
    ("rtdetr-l", "RTDETRDetectionModel", "an RT-DETR"),
]


@pytest.mark.parametrize(("name", "kind", "what"), NAMED)
def test_other_networks_are_refused_by_their_name(name: str, kind: str, what: str, tmp_path: Any) -> None:
    from ultralytics.nn import tasks

    model = getattr(tasks, kind)(f"{name}.yaml", verbose=False).half()
    torch.save({"model": model, "train_args": {"imgsz": 64}}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=f"This is {what}") as refused:
        load_checkpoint(tmp_path / "last.pt", Hints())
    assert "deploykit reads the detection, segmentation, pose" in refused.value.hint
