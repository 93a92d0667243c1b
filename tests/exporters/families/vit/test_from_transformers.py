"""ViT and DeiT folders of Hugging Face transformers, as ``save_pretrained`` writes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.vit.family import FAMILY
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, ParityError
from deploykit_runtimes.pixels.preprocess import preprocess
from torch import nn
from transformers import (
    AutoImageProcessor,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    DeiTImageProcessor,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 16,
    "layer_norm_eps": 1e-3,
    "id2label": {0: "bee", 1: "ant", 2: "fly", 3: "wasp"},
    "label2id": {"bee": 0, "ant": 1, "fly": 2, "wasp": 3},
}


def tiny(kind: Any, config: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config(**{**TINY, **settings})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = FAMILY.match(checkpoint)
    assert match is not None
    assert match.origin == "transformers"
    return FAMILY.build(checkpoint, match, Hints(**hints))


def assert_computes(built: BuiltModel, model: Any, output: str = "logits") -> None:
    assert built.exportable is not None
    for batch, height, width in ((2, 64, 64), (1, 96, 32), (3, 32, 80)):
        images = torch.randn(batch, 3, height, width)
        with torch.inference_mode():
            expected = model(images, interpolate_pos_encoding=True)[output]
            for module in (built.module, built.exportable):
                found = module(images)
                assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


KINDS = [
    (ViTForImageClassification, ViTConfig),
    (DeiTForImageClassification, DeiTConfig),
    (DeiTForImageClassificationWithTeacher, DeiTConfig),
]


@pytest.mark.parametrize(("kind", "config"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_a_saved_folder_computes_what_transformers_computes(tmp_path: Path, kind: Any, config: Any) -> None:
    model = tiny(kind, config)
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    assert_computes(built, model)
    assert built.spec.classes == ("bee", "ant", "fly", "wasp")
    assert not any("heads" in sentence for sentence in built.spec.assumed)


@pytest.mark.parametrize("activation", ["gelu_new", "quick_gelu", "relu"])
def test_the_activation_comes_from_the_config(tmp_path: Path, activation: str) -> None:
    model = tiny(ViTForImageClassification, ViTConfig, hidden_act=activation, qkv_bias=False)
    model.save_pretrained(tmp_path)
    assert_computes(build(read_checkpoint(tmp_path)), model)


def test_both_key_styles() -> None:
    model = tiny(ViTForImageClassification, ViTConfig)
    new = model.state_dict()
    assert "vit.layers.0.attention.q_proj.weight" in new
    old = {_old_name(key): tensor for key, tensor in new.items()}
    assert "vit.encoder.layer.0.attention.attention.query.weight" in old
    for tensors in (new, old):
        checkpoint = Checkpoint(
            path=Path("m.bin"),
            sha256="",
            container="huggingface",
            tensors=tensors,
            meta={"config": model.config.to_dict()},
        )
        assert_computes(build(checkpoint), model)


def _old_name(key: str) -> str:
    for new, old in (
        ("vit.layers.", "vit.encoder.layer."),
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ):
        key = key.replace(new, old)
    return key


@pytest.mark.parametrize("pooling", [True, False])
def test_a_bare_model_gives_tokens_and_the_pooled_vector(tmp_path: Path, pooling: bool) -> None:
    model = tiny(lambda config: ViTModel(config, add_pooling_layer=pooling), ViTConfig)
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    assert built.spec.task == "features"
    assert built.exportable is not None
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        expected = model(images, interpolate_pos_encoding=True)
        pooled = expected.pooler_output if pooling else expected.last_hidden_state[:, 0]
        for module in (built.module, built.exportable):
            tokens, vector = module(images)
            torch.testing.assert_close(tokens, expected.last_hidden_state, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(vector, pooled, rtol=1e-5, atol=1e-5)


def test_dinov2_gives_features(tmp_path: Path) -> None:
    model = tiny(Dinov2Model, Dinov2Config, mlp_ratio=2)
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        expected = model(images)
        tokens, pooled = built.module(images)
    torch.testing.assert_close(tokens, expected.last_hidden_state, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pooled, expected.pooler_output, rtol=1e-5, atol=1e-5)


PROCESSORS = [
    (ViTImageProcessor, {"size": {"height": 64, "width": 64}}),
    (ViTImageProcessor, {"size": {"height": 64, "width": 64}, "resample": 3, "image_mean": [0.1, 0.2, 0.3]}),
    (ViTImageProcessor, {"size": {"height": 64, "width": 64}, "do_normalize": False}),
    (DeiTImageProcessor, {"size": {"height": 72, "width": 72}, "crop_size": {"height": 64, "width": 64}}),
]


@pytest.mark.parametrize(("processor", "settings"), PROCESSORS)
def test_preprocessing_is_the_processors(
    tmp_path: Path, photos: dict[str, np.ndarray], processor: Any, settings: dict[str, Any]
) -> None:
    tiny(ViTForImageClassification, ViTConfig).save_pretrained(tmp_path)
    processor(**settings).save_pretrained(tmp_path)
    spec = build(read_checkpoint(tmp_path)).spec
    assert spec.assumed == ()
    expected = processor(**settings)(photos["cat"], return_tensors="np")["pixel_values"][0]
    found, _ = preprocess(photos["cat"], spec)
    # torchvision's antialiased resize and Pillow's round differently by at most one level.
    step = 1.01 / 255 / min(spec.preprocess.std)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= step


@pytest.mark.parametrize("square", ["absent", True, False, None], ids=str)
@pytest.mark.parametrize(
    "size", [64, {"height": 64, "width": 64}, {"shortest_edge": 64}, [64, 64], {"longest_edge": 64}], ids=str
)
@pytest.mark.parametrize("kind", ["ViTImageProcessor", "DeiTImageProcessor", "CLIPImageProcessor"])
@pytest.mark.parametrize("crop", [True, False])
def test_one_number_is_a_square_or_the_short_edge_as_transformers_takes_it(
    tmp_path: Path, photos: dict[str, np.ndarray], kind: str, size: Any, square: Any, crop: bool
) -> None:
    """``default_to_square`` matters to one number alone; transformers' own answer decides."""
    tiny(ViTForImageClassification, ViTConfig).save_pretrained(tmp_path)
    told = {"image_processor_type": kind, "size": size, "do_center_crop": crop, "crop_size": 64}
    told |= {} if square == "absent" else {"default_to_square": square}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    try:
        own = AutoImageProcessor.from_pretrained(tmp_path)
        expected = own(photos["cat"], return_tensors="np")["pixel_values"][0]
    except (ValueError, AttributeError):
        expected = np.zeros((3, 0, 0))
    if expected.shape != (3, 64, 64):  # of a size that varies, or of none
        with pytest.raises(CheckpointError, match="size"):
            build(read_checkpoint(tmp_path))
        return
    spec = build(read_checkpoint(tmp_path)).spec
    found, _ = preprocess(photos["cat"], spec)
    assert (
        np.abs(found - expected).max() <= 2.01 / 255 / min(spec.preprocess.std) * spec.preprocess.scale * 255
    )


def test_without_a_processor_the_default_is_said(tmp_path: Path) -> None:
    tiny(ViTForImageClassification, ViTConfig).save_pretrained(tmp_path)
    spec = build(read_checkpoint(tmp_path)).spec
    assert spec.preprocess.resize == "stretch"
    assert "Pre-processing is the usual one of transformers: resize to 64x64" in spec.assumed[-1]


def test_placeholder_labels_are_no_names(tmp_path: Path) -> None:
    labels = {index: f"LABEL_{index}" for index in range(4)}
    tiny(ViTForImageClassification, ViTConfig, id2label=labels, label2id={}).save_pretrained(tmp_path)
    assert build(read_checkpoint(tmp_path)).spec.classes == ()


def test_a_config_alone_can_be_given() -> None:
    model = tiny(ViTForImageClassification, ViTConfig)
    checkpoint = Checkpoint(path=Path("m.bin"), sha256="", container="torch", tensors=model.state_dict())
    built = build(checkpoint, config={"num_attention_heads": 3, "layer_norm_eps": 1e-3})
    assert_computes(built, model)


@pytest.mark.parametrize(
    ("problem", "activation"),
    [
        (None, "softmax"),
        ("single_label_classification", "softmax"),
        ("multi_label_classification", "sigmoid"),
        ("regression", "none"),
    ],
)
def test_the_kind_of_problem_decides_on_the_scores(
    tmp_path: Path, problem: str | None, activation: str
) -> None:
    tiny(ViTForImageClassification, ViTConfig, problem_type=problem).save_pretrained(tmp_path)
    assert build(read_checkpoint(tmp_path)).spec.output.activation == activation


def test_an_unknown_kind_of_problem_is_refused(tmp_path: Path) -> None:
    model = tiny(ViTForImageClassification, ViTConfig)
    checkpoint = Checkpoint(
        path=Path("m.bin"),
        sha256="",
        container="huggingface",
        tensors=model.state_dict(),
        meta={"config": {**model.config.to_dict(), "problem_type": "ranking"}},
    )
    with pytest.raises(CheckpointError, match="problem_type = 'ranking'"):
        build(checkpoint)


def test_the_processor_that_is_named_decides_not_the_weights(
    tmp_path: Path, photos: dict[str, np.ndarray]
) -> None:
    tiny(DeiTForImageClassification, DeiTConfig).save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    size = {"height": 64, "width": 64}
    file.write_text(json.dumps({"image_processor_type": "ViTImageProcessor", "size": size}))
    spec = build(read_checkpoint(tmp_path)).spec
    assert (spec.preprocess.resize, spec.preprocess.crop) == ("stretch", None)
    expected = ViTImageProcessor(size=size)(photos["cat"], return_tensors="np")["pixel_values"][0]
    found, _ = preprocess(photos["cat"], spec)
    assert np.abs(found - expected).max() <= 1.01 / 255 / 0.5
    file.write_text(json.dumps({"image_processor_type": "HedgehogImageProcessor", "size": size}))
    with pytest.raises(CheckpointError, match="HedgehogImageProcessor"):
        build(read_checkpoint(tmp_path))


def test_transformers_itself_is_a_witness(tmp_path: Path) -> None:
    model = tiny(ViTForImageClassification, ViTConfig)
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    assert ask_witness(built, built.spec).startswith("transformers ")
    wrong = replace(built, module=build(read_checkpoint(tmp_path), config={"num_heads": 6}).module)
    with pytest.raises(ParityError, match="read this checkpoint differently"):
        ask_witness(wrong, built.spec)


@pytest.mark.parametrize(
    ("kind", "config", "options"),
    [
        (ViTForImageClassification, ViTConfig, {}),
        (DeiTForImageClassification, DeiTConfig, {}),
        (DeiTForImageClassificationWithTeacher, DeiTConfig, {}),
        (ViTModel, ViTConfig, {"add_pooling_layer": False}),
    ],
)
def test_towers_without_a_pooler_have_a_witness_too(
    kind: Any, config: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    tiny(lambda settings: kind(settings, **options), config).save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path), features=True)
    assert built.spec.output.names == ("features", "pooled")
    assert ask_witness(built, built.spec).startswith("transformers ")


@pytest.mark.parametrize(("kind", "config"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_a_pickled_module_tells_its_configuration(tmp_path: Path, kind: Any, config: Any) -> None:
    model = tiny(kind, config, hidden_act="relu", num_attention_heads=2)
    torch.save(model, tmp_path / "whole.pt")
    built = build(read_checkpoint(tmp_path / "whole.pt"))
    assert_computes(built, model)
    assert built.spec.classes == ("bee", "ant", "fly", "wasp")
    assert ask_witness(built, built.spec).startswith("transformers ")


class OwnHead(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = nn.Linear(48, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(images).last_hidden_state[:, 0])  # type: ignore[no-any-return]


def test_so_does_one_inside_of_a_module_of_ones_own(tmp_path: Path) -> None:
    model = OwnHead(tiny(ViTModel, ViTConfig, hidden_act="relu", num_attention_heads=2)).eval()
    torch.save(model, tmp_path / "whole.pt")
    built = build(read_checkpoint(tmp_path / "whole.pt"))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert (built.module(images) - model(images)).abs().max() <= 1e-5
    assert ask_witness(built, built.spec) == "none: the classifier is not transformers's own"


def test_images_that_are_not_square_have_a_witness_at_their_own_size(tmp_path: Path) -> None:
    model = tiny(ViTForImageClassification, ViTConfig, image_size=(32, 64))
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    assert ask_witness(built, built.spec).startswith("transformers ")
    other = build(read_checkpoint(tmp_path), imgsz=(64, 64))
    assert "square images only" in ask_witness(other, other.spec)


def test_a_processor_that_does_not_resize_is_proven_on_images_of_the_models_size(tmp_path: Path) -> None:
    tiny(ViTForImageClassification, ViTConfig).save_pretrained(tmp_path / "model")
    ViTImageProcessor(do_resize=False).save_pretrained(tmp_path / "model")
    spec = export(tmp_path / "model", ExportOptions(output=tmp_path / "m.onnx")).spec
    assert spec.preprocess.resize == "none"
    asked = ask_witness(build(read_checkpoint(tmp_path / "model")), spec)
    assert "of the pixels equal on a photo" in asked
