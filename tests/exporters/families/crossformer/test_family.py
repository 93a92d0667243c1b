"""CrossFormer checkpoints of the official code, against what the official code answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.crossformer.family import FAMILY
from deploykit_exporters.families.crossformer.network import CrossFormerConfig
from deploykit_exporters.families.shared.class_names import ASSUMED_IMAGENET
from deploykit_exporters.graph.onnx_export import export_graph
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import CheckpointError, OptionError

CLASSIFIERS = ["crossformer", "crossformer_pp"]
SIZES = ["224x224", "320x416", "480x288"]
# Which rows and columns of each map the golden file keeps.
STEPS = {"stage0": 4, "stage1": 4, "stage2": 2, "stage3": 1}


@pytest.fixture(scope="module")
def vectors(golden: Path) -> Path:
    return golden / "crossformer"


@pytest.fixture(scope="module")
def plain(vectors: Path) -> Checkpoint:
    return read_checkpoint(vectors / "crossformer.pth")


@pytest.fixture(scope="module")
def backbone(vectors: Path) -> Checkpoint:
    return read_checkpoint(vectors / "crossformer_backbone.pth")


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = FAMILY.match(checkpoint)
    assert match is not None
    assert (match.family, match.origin) == ("crossformer", "official")
    return FAMILY.build(checkpoint, match, Hints(**hints))


def answers(module: torch.nn.Module, images: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        found = module(torch.from_numpy(images))
    return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def with_tensors(checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], **changes: Any) -> Checkpoint:
    return dataclasses.replace(checkpoint, tensors=dict(tensors), **changes)


def run_dynamic(built: BuiltModel) -> onnxruntime.InferenceSession:
    """A session over the dynamic form, traced at the model's own size."""
    spec = dataclasses.replace(built.spec, input=dataclasses.replace(built.spec.input, dynamic=built.axes))
    assert built.exportable is not None
    graph = export_graph(built.exportable, spec, exporter=built.exporter, opset=built.min_opset)
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_are_those_of_the_official_code(vectors: Path, name: str) -> None:
    images = np.load(vectors / "input_224.npz")["images"]
    expected = np.load(vectors / f"{name}.npz")["logits"]
    built = build(read_checkpoint(vectors / f"{name}.pth"))
    assert_close(answers(built.module, images)[0], expected)
    assert built.fixed is not None
    assert_close(answers(built.fixed(224, 224), images)[0], expected)
    assert_close(run_dynamic(built).run(None, {"images": images})[0], expected)


def test_feature_maps_are_those_of_the_official_code_at_every_size(
    vectors: Path, backbone: Checkpoint
) -> None:
    built = build(backbone)
    assert built.fixed is not None
    runner = run_dynamic(built)
    expected = np.load(vectors / "crossformer_backbone.npz")
    for size in SIZES:
        images = expected[f"images_{size}"].astype(np.float32)
        height, width = images.shape[2:]
        for maps in (
            answers(built.module, images),
            answers(built.fixed(height, width), images),
            runner.run(None, {"images": images}),
        ):
            for name, found in zip(built.spec.output.names, maps, strict=True):
                step = STEPS[name]
                assert_close(found[..., ::step, ::step], expected[f"{name}_{size}"])


def test_a_small_image_does_not_change_later_answers(vectors: Path, backbone: Checkpoint) -> None:
    """The official backbone turns its long distance attention off for good at the first small map."""
    module = build(backbone).module
    images = np.load(vectors / "crossformer_backbone.npz")["images_320x416"].astype(np.float32)
    before = answers(module, images)
    answers(module, images[..., :64, :64])
    for first, second in zip(before, answers(module, images), strict=True):
        assert np.array_equal(first, second)


def test_a_classifier_describes_itself(plain: Checkpoint) -> None:
    spec = build(plain).spec
    assert (spec.task, spec.family, spec.variant) == ("classify", "crossformer", "crossformer_d16_1-2-2-2")
    assert (spec.input.height, spec.input.width, spec.num_classes, spec.classes) == (224, 224, 5, ())
    assert (spec.output.names, spec.output.layout, spec.output.activation) == (
        ("logits",),
        "logits",
        "softmax",
    )
    process = spec.preprocess
    assert (process.resize, process.resize_to, process.crop) == ("short", (256,), (224, 224))
    assert (process.interpolation, process.resampler) == ("bicubic", "pillow")
    assert process.mean == (0.485, 0.456, 0.406)
    assert any("groups 7-7-7-7, intervals 8-4-2-1, from the checkpoint" in line for line in spec.recognised)
    assert not any("groups" in line for line in spec.assumed)


def test_a_backbone_gives_feature_maps_and_says_what_it_assumed(backbone: Checkpoint) -> None:
    built = build(backbone)
    spec = built.spec
    assert (spec.task, spec.num_classes) == ("features", 0)
    assert spec.output.names == ("stage0", "stage1", "stage2", "stage3")
    assert (spec.output.layout, spec.output.strides) == ("features", (4, 8, 16, 32))
    assert spec.preprocess.crop is None
    assert [group.output for group in built.groups] == list(spec.output.names)
    assert any("groups 7-7-7-7, intervals 8-4-2-1" in line for line in spec.assumed)
    assert (built.axes["height"].min, built.axes["height"].step) == (32, 1)


def test_features_of_a_classifier_leave_its_head_out(vectors: Path, plain: Checkpoint) -> None:
    images = np.load(vectors / "input_224.npz")["images"]
    features, classifier = build(plain, features=True), build(plain).module
    assert features.spec.task == "features"
    last = torch.from_numpy(answers(features.module, images)[-1])
    with torch.inference_mode():
        pooled = classifier.get_submodule("norm")(last.permute(0, 2, 3, 1)).mean((1, 2))
        logits = classifier.get_submodule("head")(pooled).numpy()
    assert_close(logits, answers(classifier, images)[0])


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "model.backbone."])
def test_any_usual_prefix_is_recognised(vectors: Path, plain: Checkpoint, prefix: str) -> None:
    renamed = with_tensors(plain, {prefix + key: tensor for key, tensor in plain.tensors.items()})
    expected = np.load(vectors / "crossformer.npz")["logits"]
    images = np.load(vectors / "input_224.npz")["images"]
    assert_close(answers(build(renamed).module, images)[0], expected)


def test_a_whole_detector_gives_its_backbone(backbone: Checkpoint) -> None:
    more = {"neck.lateral_convs.0.conv.weight": torch.zeros(8, 16, 1, 1), "bbox_head.fc.bias": torch.zeros(3)}
    assert build(with_tensors(backbone, {**backbone.tensors, **more})).spec.task == "features"


@pytest.mark.parametrize(
    "keys",
    [
        ("conv1.weight", "layer1.0.conv1.weight", "fc.weight"),
        ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
        ("patch_embed.projs.0.weight", "layers.0.blocks.0.attn.qkv.weight"),
    ],
)
def test_other_architectures_are_not_claimed(plain: Checkpoint, keys: tuple[str, ...]) -> None:
    assert FAMILY.match(with_tensors(plain, {key: torch.zeros(4, 4) for key in keys})) is None


def first_version(checkpoint: Checkpoint, image_size: int = 224) -> Checkpoint:
    """The same weights as the first version of the official code saves them."""
    tables = {}
    for key in checkpoint.tensors:
        if key.endswith("attn.qkv.weight"):
            tables[key.replace("qkv.weight", "biases")] = torch.zeros(169, 2)
            tables[key.replace("qkv.weight", "relative_position_index")] = torch.zeros(
                49, 49, dtype=torch.long
            )
    config = {"MODEL": {"CROS": {"GROUP_SIZE": [7, 7, 7, 7]}}, "DATA": {"IMG_SIZE": image_size}}
    return with_tensors(checkpoint, {**checkpoint.tensors, **tables}, meta={"config": config})


def test_the_first_version_of_the_code_is_read(vectors: Path, plain: Checkpoint) -> None:
    images = np.load(vectors / "input_224.npz")["images"]
    expected = np.load(vectors / "crossformer.npz")["logits"]
    assert_close(answers(build(first_version(plain)).module, images)[0], expected)


def test_the_first_version_spans_the_map_with_its_groups(plain: Checkpoint) -> None:
    config = build(first_version(plain, image_size=448)).module.config
    assert isinstance(config, CrossFormerConfig)
    assert config.intervals == (16, 8, 4, 2)


def without(checkpoint: Checkpoint, key: str) -> Checkpoint:
    return with_tensors(checkpoint, {k: t for k, t in checkpoint.tensors.items() if k != key})


@pytest.mark.parametrize(
    "key",
    [
        "layers.2.blocks.1.mlp.fc1.bias",
        "layers.0.blocks.0.attn.proj.weight",
        "layers.1.downsample.norm.weight",
        "patch_embed.projs.3.bias",
        "norm.bias",
        "layers.3.blocks.1.attn.pos.pos2.0.weight",
    ],
)
def test_a_missing_tensor_is_named(plain: Checkpoint, key: str) -> None:
    with pytest.raises(CheckpointError, match=key):
        build(without(plain, key))


@pytest.mark.parametrize(
    ("key", "tensor", "named"),
    [
        ("layers.0.blocks.0.attn.gate.weight", torch.zeros(3), "layers.0.blocks.0.attn.gate.weight"),
        ("absolute_pos_embed", torch.zeros(1, 3136, 16), "absolute_pos_embed"),
        ("layers.1.blocks.0.norm1.weight", torch.zeros(31), "32, found 31"),
        ("layers.1.blocks.0.attn.proj.weight", torch.zeros(48, 48), "double their width"),
        ("layers.1.blocks.0.attn.pos.pos3.2.weight", torch.zeros(5, 2), "5-4-8 heads"),
        ("layers.1.blocks.0.mlp.fc1.weight", torch.tensor(1.0), "shape of a scalar"),
        ("layers.1.blocks.0.mlp.fc1.weight", torch.zeros(0, 32), "is empty"),
        (
            "layers.0.downsample.reductions.0.weight",
            torch.zeros(16, 16, 1, 1),
            "layers.0.downsample.reductions",
        ),
        ("patch_embed.projs.1.weight", torch.zeros(4, 3, 2, 2), "patch_embed.projs"),
        ("layers.0.blocks.999999999.norm1.weight", torch.zeros(16), "Blocks are missing"),
        ("layers.9.blocks.0.norm1.weight", torch.zeros(16), "Stages are missing"),
        ("layers.0.blocks.1.norm1.weight", torch.zeros(16), "missing"),
    ],
)
def test_what_does_not_fit_is_named(plain: Checkpoint, key: str, tensor: torch.Tensor, named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        build(with_tensors(plain, {**plain.tensors, key: tensor}))


def test_half_precision_weights_are_computed_in_single(plain: Checkpoint) -> None:
    halved = with_tensors(plain, {key: tensor.half() for key, tensor in plain.tensors.items()})
    module = build(halved).module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert not module.training


def bare(checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(checkpoint, meta={})


def plan_of(built: BuiltModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    config = built.module.config
    assert isinstance(config, CrossFormerConfig)
    return config.groups, config.intervals


def test_without_a_config_the_defaults_of_the_variant_are_assumed(vectors: Path, plain: Checkpoint) -> None:
    built = build(bare(plain))
    assert plan_of(built) == ((7, 7, 7, 7), (8, 4, 2, 1))
    plus = build(bare(read_checkpoint(vectors / "crossformer_pp.pth")))
    assert plan_of(plus) == ((4, 4, 14, 7), (4, 2, 1, 1))
    for spec in (built.spec, plus.spec):
        assert any("repository's default" in line for line in spec.assumed)
        assert any("image size 224x224" in line for line in spec.assumed)


YAML = {"MODEL": {"CROS": {"GROUP_SIZE": [5, 5, 5, 5], "EMBED_DIM": 16}}}
PYTHON = """
_base_ = ['../mask_rcnn.py']
model = dict(backbone=dict(type='CrossFormer_S', group_size=[5, 5, 5, 5], crs_interval=[4, 3, 2, 1],
                           adaptive_interval=False))
"""


def test_a_given_config_wins_over_the_one_in_the_file(plain: Checkpoint) -> None:
    assert plan_of(build(plain, config=YAML)) == ((5, 5, 5, 5), (8, 4, 2, 1))
    assert plan_of(build(plain, config={"text": PYTHON})) == ((5, 5, 5, 5), (4, 3, 2, 1))
    adaptive = {"MODEL": {"CROS": {"GROUP_SIZE": [4, 4, 4, 4], "ADAPT_INTER": True}}}
    built = build(plain, config=adaptive)
    assert plan_of(built) == ((4, 4, 4, 4), (0, 0, 0, 0))
    assert any("intervals that follow the map, from --config" in line for line in built.spec.recognised)


def test_the_config_text_of_a_detector_is_read(backbone: Checkpoint) -> None:
    built = build(dataclasses.replace(backbone, meta={"meta": {"config": PYTHON, "epoch": 12}}))
    assert plan_of(built) == ((5, 5, 5, 5), (4, 3, 2, 1))
    assert any("from the checkpoint's config" in line for line in built.spec.recognised)


def test_a_config_of_something_else_is_refused(plain: Checkpoint) -> None:
    with pytest.raises(OptionError, match="SWIN, TRAIN"):
        build(plain, config={"SWIN": {}, "TRAIN": {}})


@pytest.mark.parametrize(
    ("section", "settings", "named"),
    [
        ("CROS", {"GROUP_SIZE": [7, 7, 7]}, "GROUP_SIZE wants one number for each of the 4 stages"),
        ("CROS", {"GROUP_SIZE": [7, 7, 7, 0]}, "GROUP_SIZE"),
        ("CROS", {"GROUP_SIZE": "7777"}, "GROUP_SIZE"),
        ("CROS", {"INTERVAL": [8, 4.5, 2, 1]}, "INTERVAL"),
        ("CROS", {"INTERVAL": [8, 4]}, "INTERVAL wants one number for each of the 4 stages"),
        ("CROS", {"GROUP_TYPE": "linear"}, "GROUP_TYPE is 'linear'"),
        ("CROS", {"USE_CPE": True}, "USE_CPE"),
        ("DATA", {"IMG_SIZE": 16}, "IMG_SIZE"),
        ("DATA", {"IMG_SIZE": "large"}, "IMG_SIZE"),
        ("DATA", {"INTERPOLATION": "hamming"}, "hamming"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    plain: Checkpoint, section: str, settings: dict[str, Any], named: str
) -> None:
    cros: dict[str, Any] = {"GROUP_SIZE": [7, 7, 7, 7], "INTERVAL": [8, 4, 2, 1]}
    data: dict[str, Any] = {}
    (cros if section == "CROS" else data).update(settings)
    config = {"MODEL": {"CROS": cros}, "DATA": data}
    with pytest.raises(CheckpointError, match=named):
        build(dataclasses.replace(plain, meta={"config": config}))


def test_the_evaluation_of_the_training_is_followed(plain: Checkpoint) -> None:
    def process(data: dict[str, Any], test: dict[str, Any], **hints: Any) -> ModelSpec:
        config = {"MODEL": {"CROS": {"GROUP_SIZE": [7] * 4}}, "DATA": data, "TEST": test}
        return build(dataclasses.replace(plain, meta={"config": config}), **hints).spec

    larger = process({"IMG_SIZE": 384, "INTERPOLATION": "random"}, {}).preprocess
    assert (larger.resize_to, larger.crop, larger.interpolation) == ((438,), (384, 384), "bilinear")
    whole = process({"IMG_SIZE": 384}, {"CROP": False}).preprocess
    assert (whole.resize, whole.resize_to, whole.crop) == ("stretch", (384, 384), None)
    chosen = process({"IMG_SIZE": 384}, {}, imgsz=(160, 320))
    assert (chosen.input.height, chosen.input.width) == (160, 320)
    assert (chosen.preprocess.resize_to, chosen.preprocess.crop) == ((365,), (160, 320))


def test_images_below_one_token_in_the_last_stage_are_refused(plain: Checkpoint) -> None:
    with pytest.raises(OptionError, match="32 pixels"):
        build(plain, imgsz=(31, 224))


def test_class_names_come_from_the_user_or_imagenet(plain: Checkpoint) -> None:
    names = ("a", "b", "c", "d", "e")
    assert build(plain, labels=names).spec.classes == names
    with pytest.raises(OptionError, match="gives 4 names, the model has 5 classes"):
        build(plain, labels=names[:4])
    head = {"head.weight": torch.zeros(1000, 128), "head.bias": torch.zeros(1000)}
    thousand = with_tensors(plain, {**plain.tensors, **head})
    spec = build(thousand).spec
    assert spec.class_name(281).startswith("tabby")
    assert ASSUMED_IMAGENET in spec.assumed
    # What the file itself says comes before what is assumed.
    own = [f"class {n}" for n in range(1000)]
    told = build(dataclasses.replace(thousand, meta={"hyper_parameters": {"class_names": own}})).spec
    assert told.classes == tuple(own)
    assert ASSUMED_IMAGENET not in told.assumed


@pytest.mark.parametrize("given", ["crossformer_small", "crossformer_mini"])
def test_a_variant_that_contradicts_the_weights_is_refused(plain: Checkpoint, given: str) -> None:
    with pytest.raises((CheckpointError, OptionError), match="the weights are crossformer_d16_1-2-2-2"):
        build(plain, variant=given)
