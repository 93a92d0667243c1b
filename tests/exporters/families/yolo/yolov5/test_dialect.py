"""Checkpoints of the YOLOv5 repository, against what its own code computed when the fixtures were
written (tests/fixtures/make_yolov5.py)."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import children, inert_class, walk
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.yolo.yolov5 import dialect as yolov5
from deploykit_exporters.families.yolo.yolov5.blocks import Focus
from deploykit_exporters.graph.onnx_export import export_graph, simplify
from deploykit_exporters.proof.tensors import compare
from deploykit_runtimes.errors import CheckpointError, OptionError

NAMES = ("detect", "segment", "classify", "focus")
CLASSES = ("cat", "rocket", "coffee cup")
TOLERANCE = 1e-5


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read(fixtures: Path, name: str) -> Checkpoint:
    return read_checkpoint(fixtures / f"yolov5_{name}.pt")


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = yolov5.match(checkpoint)
    assert match is not None
    return yolov5.build(checkpoint, match, Hints(**hints))


def run(module: torch.nn.Module, images: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        outputs = module(torch.from_numpy(images))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def assert_agree(built: BuiltModel, expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    names = built.spec.output.names
    assert len(names) == len(expected) == len(found)
    for group in built.groups:
        output = names.index(group.output)
        difference = compare(expected[output], found[output], group)
        assert difference.max_rel <= TOLERANCE, group
        assert difference.top1 == 1.0


@pytest.mark.parametrize("form", ["module", "exportable"])
def test_equals_the_repository_at_two_sizes(fixtures: Path, name: str, form: str) -> None:
    built = build(read(fixtures, name))
    module = getattr(built, form)
    assert not module.training
    with np.load(fixtures / f"yolov5_{name}.npz") as recorded:
        for size in (0, 1):
            images = recorded[f"images{size}"].astype(np.float32) / 255
            outputs = [f"output{index}_{size}" for index in range(len(built.spec.output.names))]
            expected = [recorded[output] for output in outputs]
            assert_agree(built, expected, run(module, images))


@pytest.mark.parametrize("simplified", [False, True])
def test_onnx_follows_batch_and_size(fixtures: Path, name: str, simplified: bool) -> None:
    built = build(read(fixtures, name))
    spec = dataclasses.replace(built.spec, input=dataclasses.replace(built.spec.input, dynamic=built.axes))
    assert built.exportable is not None
    graph = export_graph(built.exportable, spec, exporter=built.exporter, opset=18)
    if simplified:
        graph = simplify(graph)
    assert graph is not None
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    for shape in ((1, 3, 32, 32), (3, 3, 96, 64), (2, 3, 64, 160)):
        images = generator.random(shape, dtype=np.float32)
        assert_agree(built, run(built.module, images), session.run(None, {"images": images}))


def test_spec_of_a_detector(fixtures: Path) -> None:
    spec = build(read(fixtures, "detect")).spec
    assert (spec.family, spec.origin, spec.task, spec.variant) == ("yolo", "yolov5", "detect", "yolov5-w8-d1")
    assert spec.classes == CLASSES
    assert (spec.input.height, spec.input.width) == (320, 320)  # trained with --imgsz 300, rounded up
    assert (spec.output.layout, spec.output.names) == ("yolov5", ("predictions",))
    letterbox = spec.preprocess
    assert (letterbox.resize, letterbox.resize_to, letterbox.pad_value) == ("letterbox", (320, 320), 114)
    assert (letterbox.color, letterbox.anchor, letterbox.rounding) == ("rgb", "center", "round")
    assert letterbox.stride == 32
    assert not spec.assumed


def test_spec_of_a_segmenter(fixtures: Path) -> None:
    built = build(read(fixtures, "segment"))
    assert (built.spec.task, built.spec.variant) == ("segment", "yolov5-w8-d1-seg")
    assert built.spec.output.names == ("predictions", "protos")
    assert built.spec.output.mask_channels == 32


def test_spec_of_a_classifier_of_the_pip_package(fixtures: Path) -> None:
    spec = build(read(fixtures, "classify")).spec
    assert (spec.task, spec.output.layout, spec.output.activation) == ("classify", "logits", "softmax")
    assert (spec.preprocess.pre_crop, spec.preprocess.resize_to) == (1.0, (128, 128))


@pytest.mark.parametrize("side", [32, 33, 57])
def test_a_classifier_takes_any_size_of_its_range(fixtures: Path, side: int) -> None:
    built = build(read(fixtures, "classify"))
    assert side in built.axes["height"]
    assert 31 not in built.axes["height"]
    assert run(built.module, np.zeros((2, 3, side, 32), np.float32))[0].shape == (2, 3)


def test_an_old_release_says_what_it_assumed(fixtures: Path) -> None:
    built = build(read(fixtures, "focus"))
    assert (built.spec.input.height, built.spec.input.width) == (640, 640)
    assert any("image size 640" in fact for fact in built.spec.assumed)
    assert isinstance(built.module.get_submodule("model.0"), Focus)
    assert not any(isinstance(layer, Focus) for layer in built.exportable.modules())


def test_hints_override(fixtures: Path) -> None:
    built = build(read(fixtures, "detect"), imgsz=(64, 4128), labels=("a", "b", "c"), variant="mine")
    assert (built.spec.input.height, built.spec.input.width) == (64, 4128)
    assert built.spec.preprocess.resize_to == (64, 4128)
    assert built.spec.classes == ("a", "b", "c")
    assert built.spec.variant == "mine"
    assert 4128 in built.axes["width"]


def test_hints_that_do_not_fit(fixtures: Path) -> None:
    checkpoint = read(fixtures, "detect")
    with pytest.raises(OptionError, match="100,64 is not a multiple of the model's stride 32"):
        build(checkpoint, imgsz=(100, 64))
    with pytest.raises(OptionError, match="gives 1 names, the model has 3 classes"):
        build(checkpoint, labels=("a",))


@pytest.mark.parametrize(
    ("channels", "depth", "expected"),
    [(16, 1, "yolov5n"), (32, 1, "yolov5s"), (48, 2, "yolov5m"), (64, 3, "yolov5l"), (80, 4, "yolov5x")],
)
def test_sizes_by_width_and_depth(fixtures: Path, channels: int, depth: int, expected: str) -> None:
    root = read(fixtures, "detect").module
    layers = children(root.model)
    layers["0"].conv._parameters["weight"] = torch.empty(channels, 3, 6, 6)
    blocks = layers["2"].m
    blocks._modules = {str(i): blocks._modules["0"] for i in range(depth)}
    assert yolov5.variant_of(root, p6=False, suffix="") == expected
    assert yolov5.variant_of(root, p6=True, suffix="-seg") == f"{expected}6-seg"


def test_a_custom_size_is_called_after_its_yaml(fixtures: Path) -> None:
    root = read(fixtures, "detect").module
    root.yaml_file = "yolov3-spp.yaml"
    assert yolov5.variant_of(root, p6=False, suffix="") == "yolov3-spp"


def test_other_modules_are_not_claimed(fixtures: Path) -> None:
    checkpoint = read(fixtures, "detect")
    for path in ("ultralytics.nn.tasks.DetectionModel", "models.yolo.Detect", "mine.Model"):
        module = renamed(checkpoint.module, path)
        assert yolov5.match(dataclasses.replace(checkpoint, module=module)) is None
    assert yolov5.match(dataclasses.replace(checkpoint, module=None, tensors={})) is None


def test_bare_weights_are_told_what_they_lack(fixtures: Path) -> None:
    checkpoint = dataclasses.replace(read(fixtures, "detect"), module=None)
    with pytest.raises(CheckpointError, match="without its module") as raised:
        build(checkpoint)
    assert "torch.save({'model': model}" in raised.value.hint


def test_endless_nesting_is_refused(fixtures: Path) -> None:
    checkpoint = read(fixtures, "detect")
    layers = checkpoint.module.model._modules
    for _ in range(5000):
        outer = object.__new__(inert_class("torch.nn.modules.container.Sequential"))
        outer.__dict__.update(_modules={"0": layers["2"]}, _parameters={}, _buffers={}, f=-1)
        layers["2"] = outer
    with pytest.raises(CheckpointError, match="nested deeper"):
        build(checkpoint)


def renamed(node: Any, path: str) -> Any:
    """The node with another class, all else kept."""
    other = object.__new__(inert_class(path))
    other.__dict__.update(node.__dict__)
    return other


def replace_part(root: Any, where: str, path: str) -> None:
    parent, _, name = where.rpartition(".")
    owner = dict(walk(root))[parent]
    owner._modules[name] = renamed(owner._modules[name], path)


def test_an_unknown_module_is_named(fixtures: Path) -> None:
    checkpoint = read(fixtures, "detect")
    replace_part(checkpoint.module, "model.4.m.0", "models.common.RepConv")
    with pytest.raises(CheckpointError, match=r"model\.4\.m\.0 is a models\.common\.RepConv"):
        build(checkpoint)


def test_a_fork_with_other_parts_is_refused(fixtures: Path) -> None:
    checkpoint = read(fixtures, "detect")
    block = checkpoint.module.model._modules["2"]
    block._modules["attention"] = block._modules["cv1"]
    with pytest.raises(CheckpointError, match=r"model\.2 .* found cv1, cv2, cv3, m, attention"):
        build(checkpoint)


def test_a_missing_weight_is_named(fixtures: Path) -> None:
    checkpoint = read(fixtures, "detect")
    tensors = dict(checkpoint.tensors)
    del tensors["model.3.bn.running_var"]
    with pytest.raises(CheckpointError, match=r"missing: model\.3\.bn\.running_var"):
        build(dataclasses.replace(checkpoint, tensors=tensors))


@pytest.mark.parametrize(
    ("where", "attribute", "value", "message"),
    [
        ("model.1.conv", "stride", "two", r"model\.1\.conv .* stride is 'two'"),
        ("model.1.conv", "padding_mode", "reflect", r"model\.1\.conv pads with 'reflect'"),
        ("model.1.conv", "groups", 7, r"model\.1\.conv splits 8 channels into 7 groups"),
        ("model.1.bn", "eps", None, r"model\.1\.bn .* eps is None"),
        ("model.2.m.0", "add", "yes", r"model\.2\.m\.0 .* add is 'yes'"),
        ("model.9.m", "kernel_size", 4, r"model\.9\.m pools 4 x 4"),
        ("model.11", "mode", "bicubic", r"model\.11 upsamples by 'bicubic'"),
        ("model.12", "f", [-1, 99], r"model\.12 reads from 99"),
        ("model.24", "nc", 4, r"model\.24 has \[24, 24, 24\] output channels"),
        ("model.24", "stride", torch.ones(2), r"model\.24 has 3 output maps"),
        ("model.24", "stride", torch.tensor([8, 16, float("nan")]), r"model\.24 has the strides .*nan"),
    ],
)
def test_attributes_that_make_no_sense(
    fixtures: Path, where: str, attribute: str, value: Any, message: str
) -> None:
    checkpoint = read(fixtures, "detect")
    setattr(dict(walk(checkpoint.module))[where], attribute, value)
    with pytest.raises(CheckpointError, match=message):
        build(checkpoint)


def test_attributes_of_a_part_are_followed(fixtures: Path) -> None:
    """Stride, eps, slope and shortcuts are the checkpoint's, not those of the class."""
    checkpoint = read(fixtures, "detect")
    parts = dict(walk(checkpoint.module))
    parts["model.3.bn"].eps = 0.5
    parts["model.2.m.0"].add = False
    replace_part(checkpoint.module, "model.3.act", "torch.nn.modules.activation.LeakyReLU")
    parts["model.3"].act.negative_slope = 0.3
    net = build(checkpoint).module
    assert net.get_submodule("model.3.bn").eps == 0.5
    assert net.get_submodule("model.3.act").negative_slope == 0.3
    assert net.get_submodule("model.2.m.0").add is False


def test_a_backbone_without_head_is_refused(fixtures: Path) -> None:
    checkpoint = read(fixtures, "detect")
    del checkpoint.module.model._modules["24"]
    tensors = {k: v for k, v in checkpoint.tensors.items() if not k.startswith("model.24.")}
    with pytest.raises(CheckpointError, match="ends with C3, wanted a Detect, Segment or Classify head"):
        build(dataclasses.replace(checkpoint, tensors=tensors))


@pytest.mark.parametrize("name", ["detect", "focus", "classify"])
@pytest.mark.parametrize("channels", [1, 2])
def test_images_of_other_channels(fixtures: Path, name: str, channels: int) -> None:
    """With the first convolution of a training on such images."""
    checkpoint = read(fixtures, name)
    (key,) = (key for key in checkpoint.tensors if re.fullmatch(r"model\.0\.(conv\.)+weight", key))
    wide = checkpoint.tensors[key]
    times = wide.shape[1] // 3
    weight = wide[:, : times * channels].clone()
    node = dict(walk(checkpoint.module))[key.removesuffix(".weight")]
    node._parameters["weight"] = weight
    built = build(dataclasses.replace(checkpoint, tensors={**checkpoint.tensors, key: weight}))
    assert built.spec.input.channels == channels
    assert len(run(built.module, np.zeros((1, channels, 64, 64), np.float32))) == len(built.spec.output.names)
