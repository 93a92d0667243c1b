"""YOLOX checkpoints, against what YOLOX's own code computed when the fixtures were written
(tests/fixtures/make_yolox.py)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.shared.coco import COCO_NAMES
from deploykit_exporters.families.yolo.yolox import dialect as yolox
from deploykit_exporters.families.yolo.yolox.blocks import Focus
from deploykit_exporters.families.yolo.yolox.shapes import Architecture, read_architecture
from deploykit_exporters.graph.onnx_export import export_graph, simplify
from deploykit_exporters.proof.tensors import compare
from deploykit_runtimes.errors import CheckpointError, OptionError
from torch import nn

NAMES = ("plain", "depthwise")
TOLERANCE = 1e-5

EXPERIMENT = """
from yolox.exp import Exp as MyExp

raise SystemExit("an experiment is read, never run")

class Exp(MyExp):
    def __init__(self):
        super().__init__()
        self.num_classes = 3
        self.act = "relu"
        self.test_size = (320, 480)
        self.exp_name = os.path.split(os.path.realpath(__file__))[1].split(".")[0]
"""


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read(fixtures: Path, name: str) -> Checkpoint:
    return read_checkpoint(fixtures / f"yolox_{name}.pth")


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = yolox.match(checkpoint)
    assert match is not None
    return yolox.build(checkpoint, match, Hints(**hints))


def run(module: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        output: np.ndarray = module(torch.from_numpy(images)).numpy()
    return output


def assert_agree(built: BuiltModel, expected: np.ndarray, found: np.ndarray) -> None:
    for group in built.groups:
        assert compare(expected, found, group).max_rel <= TOLERANCE, group


@pytest.mark.parametrize("form", ["module", "exportable"])
def test_equals_yolox_at_two_sizes(fixtures: Path, name: str, form: str) -> None:
    built = build(read(fixtures, name))
    module = getattr(built, form)
    assert not module.training
    with np.load(fixtures / f"yolox_{name}.npz") as recorded:
        for size in (0, 1):
            found = run(module, recorded[f"images{size}"].astype(np.float32))
            assert_agree(built, recorded[f"output0_{size}"], found)


@pytest.mark.parametrize("simplified", [False, True])
def test_onnx_follows_batch_and_size(fixtures: Path, name: str, simplified: bool) -> None:
    built = build(read(fixtures, name), imgsz=(64, 96))
    spec = dataclasses.replace(built.spec, input=dataclasses.replace(built.spec.input, dynamic=built.axes))
    assert built.exportable is not None
    graph = export_graph(built.exportable, spec, exporter=built.exporter, opset=18)
    if simplified:
        graph = simplify(graph)
    assert graph is not None
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    for shape in ((1, 3, 32, 32), (3, 3, 96, 64), (2, 3, 64, 160)):
        images = 255 * generator.random(shape, dtype=np.float32)
        assert_agree(built, run(built.module, images), session.run(None, {"images": images})[0])


def test_the_export_form_has_no_focus_and_leaves_the_reference_alone(fixtures: Path, name: str) -> None:
    built = build(read(fixtures, name))
    assert built.exportable is not None
    assert not any(isinstance(layer, Focus) for layer in built.exportable.modules())
    assert any(isinstance(layer, Focus) for layer in built.module.modules())
    shared = {id(parameter) for parameter in built.module.parameters()}
    copied = [p for p in built.exportable.parameters() if id(p) not in shared]
    assert len(copied) == 1  # the folded kernel


def test_spec(fixtures: Path) -> None:
    spec = build(read(fixtures, "plain")).spec
    assert (spec.family, spec.origin, spec.task, spec.variant) == ("yolo", "yolox", "detect", "yolox_w4_d1")
    assert (spec.output.names, spec.output.layout) == (("predictions",), "yolov5")
    letterbox = spec.preprocess
    assert (letterbox.color, letterbox.scale, letterbox.anchor) == ("bgr", 1.0, "top_left")
    assert (letterbox.resize, letterbox.resize_to, letterbox.rounding) == ("letterbox", (640, 640), "floor")
    assert letterbox.stride == 0  # YOLOX pads to the whole size, never to a rectangle
    assert (spec.classes, spec.num_classes) == ((), 3)
    assert any("older releases normalised" in fact for fact in spec.assumed)


def test_eighty_classes_are_taken_for_coco(fixtures: Path) -> None:
    spec = build(read(fixtures, "depthwise")).spec
    assert spec.classes == COCO_NAMES
    assert "class names of COCO" in spec.assumed


def test_hints_override(fixtures: Path) -> None:
    spec = build(read(fixtures, "plain"), labels=("a", "b", "c"), imgsz=(32, 64), variant="mine").spec
    assert (spec.classes, spec.variant) == (("a", "b", "c"), "mine")
    assert (spec.input.height, spec.input.width) == (32, 64)
    assert not any("class names" in fact or "image size" in fact for fact in spec.assumed)


def test_an_experiment_is_read(fixtures: Path) -> None:
    built = build(read(fixtures, "plain"), config={"text": EXPERIMENT})
    assert (built.spec.input.height, built.spec.input.width) == (320, 480)
    kinds = {type(layer) for layer in built.module.modules()}
    assert nn.ReLU in kinds
    assert nn.SiLU not in kinds
    assert "act relu, from the experiment" in built.spec.recognised
    assert not any("activation" in fact for fact in built.spec.assumed)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"act": "gelu"}, "act is 'gelu', wanted one of silu, relu, lrelu"),
        ({"test_size": 640}, r"test_size is 640, wanted \(height, width\)"),
        ({"test_size": [600, 600]}, "600,600 is not a multiple of the model's stride 32"),
        ({"text": "class Exp(:"}, "not a Python file"),
    ],
)
def test_experiments_that_make_no_sense(fixtures: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(read(fixtures, "plain"), config=config)


@pytest.mark.parametrize(
    ("base", "depth", "depthwise", "variant"),
    [
        (16, 1, True, "yolox_nano"),
        (24, 1, False, "yolox_tiny"),
        (32, 1, False, "yolox_s"),
        (48, 2, False, "yolox_m"),
        (64, 3, False, "yolox_l"),
        (80, 4, False, "yolox_x"),
        (None, 0, False, "yolox_darknet53"),
        (32, 1, True, "yolox_w32_d1_depthwise"),
    ],
)
def test_every_size_is_read_back_from_its_shapes(
    base: int | None, depth: int, depthwise: bool, variant: str
) -> None:
    hidden = 4 * (base or 64)
    built = Architecture(
        base=base, depth=depth, neck_depth=depth, depthwise=depthwise, hidden=hidden, num_classes=7
    )
    with torch.device("meta"):
        weights = built.build(nn.SiLU).state_dict()
    assert read_architecture(weights) == built
    assert built.variant == variant


def test_the_small_models_are_tested_at_416(fixtures: Path) -> None:
    assert build(read(fixtures, "plain"), variant="yolox_tiny").spec.input.height == 416


def test_wrapped_keys_are_claimed_with_their_prefix(fixtures: Path) -> None:
    checkpoint = read(fixtures, "plain")
    wrapped = {f"model.{key}": tensor for key, tensor in checkpoint.tensors.items()}
    wrapped["criterion.weight"] = torch.ones(1)
    found = dataclasses.replace(checkpoint, tensors=wrapped)
    match = yolox.match(found)
    assert match is not None
    assert match.prefix == "model."
    assert yolox.build(found, match, Hints()).spec.num_classes == 3


def test_other_weights_are_not_claimed(fixtures: Path) -> None:
    checkpoint = read(fixtures, "plain")
    tensors = {key: t for key, t in checkpoint.tensors.items() if "obj_preds" not in key}
    assert yolox.match(dataclasses.replace(checkpoint, tensors=tensors)) is None


def test_a_missing_layer_is_named(fixtures: Path) -> None:
    checkpoint = read(fixtures, "plain")
    tensors = dict(checkpoint.tensors)
    del tensors["head.reg_preds.2.bias"]
    with pytest.raises(CheckpointError, match=r"missing: head\.reg_preds\.2\.bias"):
        build(dataclasses.replace(checkpoint, tensors=tensors))


def test_a_lone_wide_stem_asks_for_no_memory(fixtures: Path) -> None:
    checkpoint = read(fixtures, "plain")
    stem = torch.empty(10_000, 12, 3, 3)
    tensors = {**checkpoint.tensors, "backbone.backbone.stem.conv.conv.weight": stem}
    with pytest.raises(CheckpointError, match=r"has \d+ weights, found \d+"):
        build(dataclasses.replace(checkpoint, tensors=tensors))
