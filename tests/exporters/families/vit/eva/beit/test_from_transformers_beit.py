"""BEiT and data2vec folders of Hugging Face transformers, as ``save_pretrained`` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess
from torch import nn
from transformers import BeitImageProcessor

SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "image_size": 64,
    "vocab_size": 20,
}
RELATIVE = {"use_relative_position_bias": True}
KINDS: dict[str, dict[str, Any]] = {
    "fine-tuned": RELATIVE,
    "pre-trained": {"use_shared_relative_position_bias": True, "use_mask_token": True},
    "class token": {**RELATIVE, "use_mean_pooling": False, "layer_norm_eps": 1e-2},
    "absolute": {"use_absolute_position_embeddings": True},
    "all": {**RELATIVE, "use_shared_relative_position_bias": True, "use_absolute_position_embeddings": True},
    "no layer scale": {**RELATIVE, "layer_scale_init_value": 0.0, "hidden_act": "quick_gelu"},
    "no positions": {"patch_size": 8, "image_size": 32},
    "wide": {**RELATIVE, "image_size": [32, 80]},
    "wide with positions": {**RELATIVE, "use_absolute_position_embeddings": True, "image_size": [32, 128]},
}
MODELS = ("BeitModel", "BeitForImageClassification", "Data2VecVisionForImageClassification")
SIZES = [(64, 64), (96, 48), (32, 80)]


def tiny(name: str = "BeitModel", *, pooler: bool = True, **settings: Any) -> Any:
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    labels = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    config = kind.config_class(**{**SMALL, **(labels if "Class" in name else {}), **settings})
    model = (kind(config) if pooler else kind(config, add_pooling_layer=False)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("vit", "transformers")
    return family.build(checkpoint, match, asked)


def answers(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        found = model(pixel_values=images)
    if "logits" in found:
        return (found.logits,)
    return found.last_hidden_state, found.pooler_output


def assert_equal(module: nn.Module, images: torch.Tensor, expected: tuple[torch.Tensor, ...]) -> None:
    with torch.inference_mode():
        found = module(images)
    for one, other in zip((found,) if isinstance(found, torch.Tensor) else found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 2e-5 * other.abs().max()


@pytest.mark.parametrize("state_dict", [False, True])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_form_is_that_of_transformers_at_every_size(
    tmp_path: Path, kind: str, name: str, state_dict: bool
) -> None:
    model = tiny(name, **KINDS[kind])
    model.save_pretrained(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    if state_dict:  # which names the layers otherwise than the file
        checkpoint = Checkpoint(
            path=Path("x.pt"),
            sha256="",
            container="torch",
            tensors=model.state_dict(),
            meta=checkpoint.meta,
        )
    own = build(checkpoint).spec.input
    assert [own.height, own.width] == [*np.broadcast_to(model.config.image_size, 2)]
    for height, width in dict.fromkeys([(own.height, own.width), *SIZES]):
        built = build(checkpoint, imgsz=(height, width))
        assert built.fixed is not None
        images = torch.randn(2, 3, height, width)
        expected = answers(model, images)
        assert_equal(built.module, images, expected)
        assert_equal(built.fixed(height, width), images, expected)
    assert ask_witness(built, built.spec).startswith("transformers")


@pytest.mark.parametrize("kind", ["fine-tuned", "class token"])
def test_features_of_a_classifier(tmp_path: Path, kind: str) -> None:
    model = tiny("BeitForImageClassification", **KINDS[kind])
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path), features=True)
    images = torch.randn(2, 3, 64, 64)
    assert_equal(built.module, images, answers(model.beit, images))
    assert ask_witness(built, built.spec).startswith("transformers")


def test_the_exported_classifier_has_the_processor_the_names_and_the_witness(
    tmp_path: Path, photos: dict[str, np.ndarray]
) -> None:
    model = tiny("BeitForImageClassification", **RELATIVE)
    model.save_pretrained(tmp_path / "model")
    process = BeitImageProcessor(
        size={"height": 72, "width": 72}, crop_size=64, do_center_crop=True, do_reduce_labels=True
    )
    process.save_pretrained(tmp_path / "model")
    result = export(tmp_path / "model", ExportOptions(output=tmp_path / "m.onnx"))
    spec = result.spec
    assert spec.classes == ("a", "b", "c")
    assert spec.assumed == ()
    assert spec.parity is not None
    assert "transformers" in spec.parity.witness
    found, _ = preprocess(photos["cat"], spec)
    pixels = process(photos["cat"].copy(), return_tensors="np")["pixel_values"]
    assert np.abs(found - pixels[0]).max() <= 1.01 / 255 / 0.5
    session = onnxruntime.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"images": pixels.astype(np.float32)})[0]
    expected = answers(model, torch.from_numpy(pixels))[0]
    assert np.abs(logits - expected.numpy()).max() <= 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("name", ["BeitForMaskedImageModeling", "BeitModel"])
def test_without_a_pooler_pooled_is_the_class_token(tmp_path: Path, name: str, mean: bool) -> None:
    model = tiny(name, pooler="Masked" in name, use_mean_pooling=mean, **KINDS["pre-trained"])
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    assert built.spec.task == "features"
    assert any("no pooler" in line for line in built.spec.assumed) is mean
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        tokens = getattr(model, "beit", model)(pixel_values=images).last_hidden_state
    assert_equal(built.module, images, (tokens, tokens[:, 0]))
    if mean or name == "BeitModel":  # transformers 5 mixes up the two norms of the other when it loads them
        assert ask_witness(built, built.spec).startswith("transformers")


@pytest.mark.parametrize("kind", ["fine-tuned", "class token", "absolute"])
def test_without_config_what_is_assumed_is_said(kind: str) -> None:
    settings = {**KINDS[kind], "hidden_size": 128, "num_attention_heads": 2, "layer_norm_eps": 1e-12}
    model = tiny("BeitForImageClassification", **settings)
    alone = Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=model.state_dict(), meta={})
    built = build(alone)
    assert any("eps 1e-12" in line for line in built.spec.assumed)
    assert any("attention heads" in line for line in built.spec.assumed) is (kind == "absolute")
    images = torch.randn(1, 3, 64, 64)
    assert_equal(built.module, images, answers(model, images))


def test_a_classifier_of_ones_own_beside_the_network() -> None:
    model, head = tiny(**RELATIVE), nn.Linear(48, 4)
    tensors = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"head.{key}": value.detach() for key, value in head.state_dict().items()}
    meta = {"config": model.config.to_dict() | {"architectures": ["BeitModel"]}}
    built = build(Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=tensors, meta=meta))
    assert built.spec.num_classes == 4
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_equal(built.module, images, (head(model(pixel_values=images).pooler_output),))


@pytest.mark.parametrize("kind", ["all", "class token"])
@pytest.mark.parametrize("config", [False, True])
def test_every_lost_weight_is_named(kind: str, config: bool) -> None:
    model = tiny("BeitForImageClassification", **KINDS[kind])
    meta = {"config": model.config.to_dict() | {"architectures": ["BeitForImageClassification"]}}
    # Nothing tells these: without a classifier, or without positions of a kind, it is another model.
    unstated = {"beit.embeddings.patch_embeddings.projection.weight"}
    unstated |= set() if config else {"beit.embeddings.position_embeddings"}
    unstated |= set() if config else {"beit.shared_position_bias.relative_position_bias_table"}
    for lost in model.state_dict().keys() - unstated:
        tensors = {key: tensor for key, tensor in model.state_dict().items() if key != lost}
        checkpoint = Checkpoint(
            path=Path("x.pt"),
            sha256="",
            container="torch",
            tensors=tensors,
            meta=meta if config else {},
        )
        with pytest.raises(CheckpointError) as error:
            build(checkpoint)
        told = str(error.value)
        layer = lost.removeprefix("beit.").removeprefix("embeddings.")
        assert layer in told or layer.rpartition(".")[0] in told or "use_" in told, f"{lost}: {told}"


@pytest.mark.parametrize("name", ["BeitForSemanticSegmentation", "BeitBackbone"])
def test_other_models_of_beit_are_refused_by_their_class(tmp_path: Path, name: str) -> None:
    segments = "Segmentation" in name
    tiny(
        name, out_indices=list(range(4)) if segments else [1], num_hidden_layers=4, **RELATIVE
    ).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="architectures"):
        build(read_checkpoint(tmp_path))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"image_size": 96}, "image_size"),
        ({"use_mean_pooling": False}, "use_mean_pooling"),
        ({"layer_scale_init_value": 0.0}, "layer_scale_init_value"),
        ({"use_relative_position_bias": False}, "use_relative_position_bias"),
        ({"num_attention_heads": 6}, "num_attention_heads"),
        ({"head_dim": 8}, "head_dim"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    tiny("BeitForImageClassification", **RELATIVE).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(CheckpointError, match=named):
        build(read_checkpoint(tmp_path))


def test_sizes_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    tiny(**KINDS["absolute"], image_size=[32, 48]).save_pretrained(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="square images only"):
        build(checkpoint)
    with pytest.raises(OptionError, match="multiples of the patch"):
        build(checkpoint, imgsz=(60, 60))


def test_a_weight_that_is_there_twice_is_refused() -> None:
    tensors = dict(tiny("BeitForImageClassification", **RELATIVE).state_dict())
    tensors["embeddings.cls_token"] = tensors["beit.embeddings.cls_token"] + 1
    twice = Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=tensors, meta={})
    with pytest.raises(CheckpointError, match=r"embeddings\.cls_token and beit"):
        build(twice)


def test_the_process_can_train_after_the_witness_was_asked(tmp_path: Path) -> None:
    model = tiny(**RELATIVE, image_size=112)  # a size of its own: transformers keeps tensors by size
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    assert ask_witness(built, built.spec).startswith("transformers")
    model(pixel_values=torch.randn(1, 3, 112, 112)).pooler_output.sum().backward()


@pytest.mark.parametrize("config", [False, True])
def test_weights_of_another_rank_are_refused(config: bool) -> None:
    model = tiny("BeitForImageClassification", **KINDS["all"])
    meta = {"config": model.config.to_dict() | {"architectures": ["BeitForImageClassification"]}}
    for key, tensor in model.state_dict().items():
        rows = tensor[: len(tensor) // 2] if tensor.ndim > 1 and len(tensor) > 5 else tensor
        for other in (tensor[None], tensor.flatten(), tensor.new_ones(()), rows):
            # Half of the classes are classes, too.
            if other.shape == tensor.shape or (key.startswith("classifier.") and other is rows):
                continue
            checkpoint = Checkpoint(
                path=Path("x.pt"),
                sha256="",
                container="torch",
                tensors={**model.state_dict(), key: other},
                meta=meta if config else {},
            )
            with pytest.raises(CheckpointError):
                build(checkpoint)


def test_parts_of_one_layer_that_add_up_are_refused() -> None:
    model = tiny("BeitModel", **RELATIVE)
    tensors = dict(model.state_dict())
    key = "layers.0.attention.k_proj.weight"
    tensors[key] = torch.cat([tensors[key], torch.zeros(8, 48)])
    tensors["layers.0.attention.v_proj.weight"] = tensors["layers.0.attention.v_proj.weight"][8:]
    with pytest.raises(CheckpointError, match="different shapes"):
        build(Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=tensors, meta={}))
