"""DINOv2, CLIP and SigLIP folders of Hugging Face transformers, as ``save_pretrained`` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.pixels.preprocess import preprocess
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPForImageClassification,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    Dinov2Backbone,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    Dinov2WithRegistersModel,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipForImageClassification,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTImageProcessor,
)

LABELS = {0: "bee", 1: "ant", 2: "fly"}
VISION = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "image_size": 64,
    "patch_size": 16,
}
DINO = {key: value for key, value in VISION.items() if key != "intermediate_size"} | {"mlp_ratio": 2}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
SIZES = [(64, 64), (96, 32), (32, 80)]


def whole(config: Any, vision: dict[str, Any], settings: dict[str, Any]) -> Any:
    return config(vision_config={**VISION, **vision}, text_config=TEXT, **settings)


def tiny(kind: Any, config: Any, vision: dict[str, Any] | None = None, **settings: Any) -> Any:
    """A model with weights that all differ, after its class and the class of its configuration."""
    torch.manual_seed(0)
    own = vision or {}
    if config in (CLIPConfig, SiglipConfig):
        described = whole(config, own, settings)
    else:
        described = config(**{**(DINO if "Dino" in config.__name__ else VISION), **own, **settings})
    model = kind(described).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("vit", "transformers")
    return family.build(checkpoint, match, asked)


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def answers(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What transformers gives: logits, or tokens and the embedding of the image."""
    name = type(model).__name__
    options: dict[str, Any] = {} if name.startswith("Dinov2") else {"interpolate_pos_encoding": True}
    if name in ("CLIPModel", "SiglipModel"):
        tokens = model.vision_model(pixel_values=images, **options).last_hidden_state
        return tokens, model.get_image_features(pixel_values=images, **options).pooler_output
    found = model(pixel_values=images, **options)
    if "logits" in found:
        return (found.logits,)
    return found.last_hidden_state, found.get("image_embeds", found.get("pooler_output"))


def assert_answers(built: BuiltModel, model: Any) -> None:
    """Every form of the built model gives what transformers gives, at every size."""
    assert built.exportable is not None
    assert built.fixed is not None
    for height, width in SIZES:
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            expected = answers(model, images)
            for module in (built.module, built.exportable, built.fixed(height, width)):
                found = module(images)
                found = (found,) if isinstance(found, torch.Tensor) else found
                for one, other in zip(found, expected, strict=True):
                    assert_equal(one, other)


FEATURES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "dinov2": (Dinov2Model, Dinov2Config, {}),
    "dinov2 swiglu": (Dinov2Model, Dinov2Config, {"use_swiglu_ffn": True}),
    "dinov2 without qkv bias": (Dinov2Model, Dinov2Config, {"qkv_bias": False, "use_mask_token": False}),
    "dinov2 registers": (Dinov2WithRegistersModel, Dinov2WithRegistersConfig, {"num_register_tokens": 3}),
    "dinov2 registers swiglu": (
        Dinov2WithRegistersModel,
        Dinov2WithRegistersConfig,
        {"use_swiglu_ffn": True, "layer_norm_eps": 1e-2},
    ),
    "clip": (CLIPModel, CLIPConfig, {"projection_dim": 24}),
    "clip vision": (CLIPVisionModel, CLIPVisionConfig, {"hidden_act": "gelu"}),
    "clip projection": (CLIPVisionModelWithProjection, CLIPVisionConfig, {"projection_dim": 24}),
    "siglip": (SiglipModel, SiglipConfig, {}),
    "siglip vision": (SiglipVisionModel, SiglipVisionConfig, {"layer_norm_eps": 1e-2, "hidden_act": "gelu"}),
}
CLASSIFIERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "dinov2": (Dinov2ForImageClassification, Dinov2Config, {}),
    "dinov2 registers": (
        Dinov2WithRegistersForImageClassification,
        Dinov2WithRegistersConfig,
        {"use_swiglu_ffn": True},
    ),
    "clip": (CLIPForImageClassification, CLIPConfig, {}),
    "siglip": (SiglipForImageClassification, SiglipConfig, {}),
}


@pytest.mark.parametrize(("kind", "config", "settings"), FEATURES.values(), ids=list(FEATURES))
def test_a_saved_tower_gives_tokens_and_the_embedding_of_transformers(
    tmp_path: Path, kind: Any, config: Any, settings: dict[str, Any]
) -> None:
    model = tiny(kind, config, **settings)
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    assert built.spec.task == "features"
    assert_answers(built, model)
    assert {setting.treatment for setting in built.settings} <= {"honoured", "harmless"}
    assert ask_witness(built, built.spec).startswith("transformers 5")


@pytest.mark.parametrize(("kind", "config", "settings"), CLASSIFIERS.values(), ids=list(CLASSIFIERS))
def test_a_saved_classifier_gives_the_logits_of_transformers(
    tmp_path: Path, kind: Any, config: Any, settings: dict[str, Any]
) -> None:
    model = tiny(kind, config, id2label=LABELS, label2id={"bee": 0, "ant": 1, "fly": 2}, **settings)
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    assert (built.spec.task, built.spec.classes) == ("classify", ("bee", "ant", "fly"))
    assert_answers(built, model)
    assert ask_witness(built, built.spec).startswith("transformers 5")


@pytest.mark.parametrize(("kind", "config", "settings"), CLASSIFIERS.values(), ids=list(CLASSIFIERS))
def test_features_of_a_classifier_are_those_of_its_tower(
    tmp_path: Path, kind: Any, config: Any, settings: dict[str, Any]
) -> None:
    model = tiny(kind, config, id2label=LABELS, label2id={}, **settings)
    model.save_pretrained(tmp_path)
    tower = getattr(model, "vision_model", None) or getattr(model, model.base_model_prefix)
    built = build(read_checkpoint(tmp_path), features=True)
    assert_answers(built, tower)
    assert ask_witness(built, built.spec).startswith("transformers 5")


@pytest.mark.parametrize("name", ["dinov2 registers swiglu", "clip", "clip vision", "siglip"])
def test_a_state_dict_alone_is_read_with_what_the_user_says(name: str) -> None:
    kind, config, settings = FEATURES[name]
    settings = {**settings, "layer_norm_eps": 1e-5} if "vision" in name else settings
    model = tiny(kind, config, **settings)
    tensors = model.state_dict()
    checkpoint = Checkpoint(path=Path("m.bin"), sha256="", container="torch", tensors=tensors)
    given = {"num_attention_heads": 3, "layer_norm_eps": 1e-2 if "swiglu" in name else 1e-5}
    given |= {"activation": "gelu"} if name == "clip vision" else {}
    given |= {"layer_norm_eps": 1e-6} if name == "siglip" else {}
    built = build(checkpoint, config=given)
    assert_answers(built, model)
    asked = ask_witness(built, built.spec)
    assert asked == "none: the file does not say which model of transformers it is (config.json)"


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2 registers swiglu"])
def test_a_state_dict_alone_takes_the_whole_configuration(name: str) -> None:
    kind, config, settings = FEATURES[name]
    model = tiny(kind, config, **settings)
    tensors = model.state_dict()
    checkpoint = Checkpoint(path=Path("m.bin"), sha256="", container="torch", tensors=tensors)
    given = {**json.loads(model.config.to_json_string()), "architectures": [kind.__name__]}
    built = build(checkpoint, config=given)
    assert_answers(built, model)
    assert ask_witness(built, built.spec).startswith("transformers 5")


def test_what_the_user_says_wins_over_the_file(tmp_path: Path) -> None:
    model = tiny(CLIPVisionModel, CLIPVisionConfig, hidden_act="gelu", num_attention_heads=6)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    wrong = {**json.loads(file.read_text()), "hidden_act": "relu", "num_attention_heads": 3}
    file.write_text(json.dumps(wrong))
    given = {"hidden_act": "gelu", "num_attention_heads": 6}
    built = build(read_checkpoint(tmp_path), config=given)
    assert_answers(built, model)
    assert ask_witness(built, built.spec).startswith("transformers 5")
    with pytest.raises(CheckpointError, match="num_atention_heads"):
        build(read_checkpoint(tmp_path), config={"num_atention_heads": 6})


def test_what_a_tower_alone_does_not_tell_is_assumed() -> None:
    tensors = tiny(CLIPVisionModel, CLIPVisionConfig).state_dict()
    checkpoint = Checkpoint(path=Path("m.bin"), sha256="", container="torch", tensors=tensors)
    heads, activation, positions, images = build(checkpoint).spec.assumed
    assert "attention heads" in heads
    assert "The activation is quick_gelu, the usual one of clip-vit" in activation
    assert "those of 64x64 images, assuming a square" in positions
    assert "short edge to 64 (bicubic), centre crop 64x64, mean 0.481455" in images


def test_the_text_tower_is_accounted_for(tmp_path: Path) -> None:
    tiny(CLIPModel, CLIPConfig, projection_dim=24).save_pretrained(tmp_path)
    settings = {setting.path: setting for setting in build(read_checkpoint(tmp_path)).settings}
    text = settings["weights:text_model.*"]
    assert (text.value, text.treatment, text.why) == ("20 tensors", "harmless", "text tower")
    assert settings["weights:logit_scale"].treatment == "harmless"
    assert settings["config.json:vision_config:hidden_act"].treatment == "honoured"


def test_siglip_without_its_head_averages_and_says_so(tmp_path: Path) -> None:
    model = tiny(SiglipVisionModel, SiglipVisionConfig, vision_use_head=False)
    model.save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        tokens, pooled = built.module(images)
        assert_equal(tokens, model(images).last_hidden_state)
        assert_equal(pooled, model(images).last_hidden_state.mean(1))
    assert "the mean of the patches" in built.spec.assumed[0]
    assert ask_witness(built, built.spec).startswith("transformers ")


def test_a_pickled_clip_tells_the_configuration_of_its_tower(tmp_path: Path) -> None:
    model = tiny(CLIPForImageClassification, CLIPConfig)
    torch.save(model, tmp_path / "whole.pt")
    built = build(read_checkpoint(tmp_path / "whole.pt"))
    assert ask_witness(built, built.spec).startswith("transformers ")


PROCESSORS: list[tuple[Any, dict[str, Any]]] = [
    (CLIPImageProcessor, {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}),
    (CLIPImageProcessor, {"size": {"shortest_edge": 80}, "crop_size": 64, "resample": 2}),
    (BitImageProcessor, {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
    (SiglipImageProcessor, {"size": {"height": 64, "width": 64}}),
    (SiglipImageProcessor, {"size": {"height": 64, "width": 64}, "do_normalize": False}),
    (ViTImageProcessor, {"size": {"height": 64, "width": 64}, "image_mean": [0.1, 0.2, 0.3]}),
]


@pytest.mark.parametrize(("processor", "settings"), PROCESSORS)
@pytest.mark.parametrize("name", ["dinov2", "clip vision", "siglip vision"])
def test_images_are_prepared_by_the_processor_of_the_file(
    tmp_path: Path, photos: dict[str, np.ndarray], name: str, processor: Any, settings: dict[str, Any]
) -> None:
    kind, config, own = FEATURES[name]
    tiny(kind, config, **own).save_pretrained(tmp_path)
    processor(**settings).save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    expected = processor(**settings)(photos["cat"], return_tensors="np")["pixel_values"][0]
    found, _ = preprocess(photos["cat"], built.spec)
    # torchvision's antialiased resize and Pillow's round differently by at most one level.
    step = 1.01 / 255 / min(built.spec.preprocess.std)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= step
    assert built.spec.assumed == ()
    assert "of the pixels equal" in ask_witness(built, built.spec)


def test_the_form_of_openais_folder_with_plain_numbers_keeps_the_aspect_ratio(tmp_path: Path) -> None:
    tiny(CLIPModel, CLIPConfig, projection_dim=24).save_pretrained(tmp_path)
    described = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 64, "crop_size": 64, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(described))
    how = build(read_checkpoint(tmp_path)).spec.preprocess
    assert (how.resize, how.resize_to, how.crop, how.interpolation) == ("short", (64,), (64, 64), "bicubic")


def test_the_processor_of_transformers_5_lies_in_that_of_the_whole_model(tmp_path: Path) -> None:
    tiny(CLIPModel, CLIPConfig, projection_dim=24).save_pretrained(tmp_path)
    tokens = CLIPTokenizer(vocab={"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}, merges=[])
    images = CLIPImageProcessor(size={"shortest_edge": 80}, crop_size=64, image_mean=[0.1, 0.2, 0.3])
    CLIPProcessor(images, tokens).save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    built = build(read_checkpoint(tmp_path))
    how = built.spec.preprocess
    assert (how.resize_to, how.crop, how.mean) == ((80,), (64, 64), (0.1, 0.2, 0.3))
    assert built.spec.recognised[-1] == "Pre-processing is from processor_config.json."
    assert "of the pixels equal" in ask_witness(built, built.spec)


@pytest.mark.parametrize("name", ["clip vision", "siglip vision"])
def test_a_folder_of_older_releases(tmp_path: Path, name: str) -> None:
    """Towers had the prefix of the whole model, buffers were saved, and so was every setting there is."""
    kind, config, settings = FEATURES[name]
    model = tiny(kind, config, **settings)
    model.save_pretrained(tmp_path)
    tensors = {f"vision_model.{key}": tensor for key, tensor in model.state_dict().items()}
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17).unsqueeze(0)
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **OLDER}))
    built = build(read_checkpoint(tmp_path))
    assert_answers(built, model)
    assert ask_witness(built, built.spec).startswith("transformers 5")


OLDER: dict[str, Any] = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "bad_words_ids": None,
    "num_beams": 1,
    "prefix": None,
    "chunk_size_feed_forward": 0,
    "do_sample": False,
    "early_stopping": False,
    "is_decoder": False,
    "length_penalty": 1.0,
    "max_length": 20,
    "no_repeat_ngram_size": 0,
    "output_attentions": False,
    "pruned_heads": {},
    "repetition_penalty": 1.0,
    "return_dict": True,
    "temperature": 1.0,
    "top_k": 50,
    "torch_dtype": "float32",
    "torchscript": False,
    "tie_word_embeddings": True,
    "use_bfloat16": False,
    "dropout": 0.0,
    "initializer_factor": 1.0,
    "transformers_version": "4.16.0",
    "problem_type": None,
}


def test_dinov2_has_the_images_of_its_processor_and_not_of_its_positions(tmp_path: Path) -> None:
    tiny(Dinov2Model, Dinov2Config, image_size=126, patch_size=14).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 80}, crop_size={"height": 70, "width": 70}).save_pretrained(
        tmp_path
    )
    spec = build(read_checkpoint(tmp_path)).spec
    assert (spec.input.height, spec.input.width) == (70, 70)
    assert (spec.preprocess.resize_to, spec.preprocess.crop) == ((80,), (70, 70))


@pytest.mark.parametrize("name", ["siglip vision", "clip projection", "dinov2"])
def test_images_that_are_not_a_whole_number_of_patches_keep_their_size(tmp_path: Path, name: str) -> None:
    """As google/siglip-so400m-patch14-384: 27 patches of 14 are 378 of its 384 pixels."""
    kind, config, settings = FEATURES[name]
    model = tiny(kind, config, **settings, image_size=70)
    model.save_pretrained(tmp_path / "folder")
    built = build(read_checkpoint(tmp_path / "folder"))
    assert (built.spec.input.height, built.spec.input.width) == (70, 70)
    assert built.axes["height"].step == 1
    result = export(tmp_path / "folder", ExportOptions(dynamic=("all",), output=tmp_path / "m.onnx"))
    assert result.spec.parity is not None
    assert result.spec.parity.witness.startswith("transformers 5")
    for side in (70, 64, 90):
        images = torch.randn(1, 3, side, side)
        with torch.inference_mode(), open_ort(result.path) as runner:
            expected = answers(model, images)
            found = runner.infer({"images": images.numpy()})
            for one, other in zip(found.values(), expected, strict=True):
                assert np.abs(one - other.numpy()).max() <= 2e-5 * np.abs(other.numpy()).max()


WRONG: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"hedgehogs": 3}, {}, "config.json has settings .* hedgehogs = 3"),
    ({}, {"hedgehogs": 3}, "preprocessor_config.json has settings .* hedgehogs = 3"),
    ({"hidden_size": 96}, {}, "hidden_size = 96"),
    ({"num_hidden_layers": 3}, {}, "num_hidden_layers = 3"),
    ({"intermediate_size": 81}, {}, "intermediate_size = 81"),
    ({"patch_size": 8}, {}, "patch_size = 8"),
    ({"hidden_act": "hedgehog"}, {}, "'hedgehog' is not known"),
    ({"architectures": ["HedgehogModel"]}, {}, "HedgehogModel"),
    ({"problem_type": "hedgehogs"}, {}, "problem_type = 'hedgehogs'"),
    ({"num_attention_heads": 5}, {}, "cannot be divided among 5"),
    ({}, {"image_processor_type": "HedgehogImageProcessor"}, "HedgehogImageProcessor"),
    ({}, {"do_pad": True}, "do_pad = True"),
    ({}, {"resample": 9}, "resample = 9"),
    ({}, {"do_center_crop": False, "size": {"shortest_edge": 64}}, "their size varies"),
]


@pytest.mark.parametrize(("config", "images", "named"), WRONG, ids=[named for _, _, named in WRONG])
def test_what_cannot_be_honoured_is_refused_by_name(
    tmp_path: Path, config: dict[str, Any], images: dict[str, Any], named: str
) -> None:
    tiny(CLIPVisionModel, CLIPVisionConfig).save_pretrained(tmp_path)
    CLIPImageProcessor().save_pretrained(tmp_path)
    for name, change in (("config.json", config), ("preprocessor_config.json", images)):
        file = tmp_path / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CheckpointError, match=named):
        build(read_checkpoint(tmp_path))


def test_a_backbone_of_several_maps_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    tiny(Dinov2Backbone, Dinov2Config, out_features=["stage1", "stage2"]).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="Dinov2Backbone") as error:
        build(read_checkpoint(tmp_path))
    assert "--ignore config.json:architectures" in error.value.hint
    built = build(read_checkpoint(tmp_path), ignore=("config.json:architectures",))
    assert built.spec.output.names == ("features", "pooled")


def test_several_labels_get_a_sigmoid(tmp_path: Path) -> None:
    model = tiny(
        SiglipForImageClassification,
        SiglipConfig,
        id2label=LABELS,
        label2id={},
        problem_type="multi_label_classification",
    )
    model.save_pretrained(tmp_path)
    assert build(read_checkpoint(tmp_path)).spec.output.activation == "sigmoid"


@pytest.mark.parametrize("name", ["dinov2 registers", "clip", "siglip"])
def test_an_exported_file_gives_tokens_and_embedding_of_transformers(tmp_path: Path, name: str) -> None:
    kind, config, settings = FEATURES[name]
    model = tiny(kind, config, **settings)
    model.save_pretrained(tmp_path / "folder")
    options = ExportOptions(dynamic=("all",), output=tmp_path / "m.onnx", preprocess=False)
    result = export(tmp_path / "folder", options)
    assert result.spec.parity is not None
    assert result.spec.parity.witness.startswith("transformers 5")
    with open_ort(result.path) as runner, torch.inference_mode():
        for height, width in SIZES:
            images = torch.randn(2, 3, height, width)
            found = runner.infer({"images": images.numpy()})
            for one, other in zip(found.values(), answers(model, images), strict=True):
                assert np.abs(one - other.numpy()).max() <= 2e-5 * np.abs(other.numpy()).max()


@pytest.mark.parametrize("name", ["dinov2", "clip", "siglip"])
def test_pre_processing_inside_the_graph(tmp_path: Path, name: str) -> None:
    kind, config, settings = CLASSIFIERS[name]
    tiny(kind, config, id2label=LABELS, label2id={}, **settings).save_pretrained(tmp_path / "folder")
    options = ExportOptions(output=tmp_path / "m.onnx", preprocess=True, postprocess=True)
    spec = export(tmp_path / "folder", options).spec
    assert spec.preprocess.included
    assert spec.parity is not None
    assert spec.parity.answers > 0
    assert spec.parity.exact_pixels > 0.999


def test_the_naflex_form_of_siglip2_is_not_taken_for_a_siglip() -> None:
    torch.manual_seed(0)
    settings = {key: value for key, value in VISION.items() if key != "image_size"}
    model = Siglip2VisionModel(Siglip2VisionConfig(**settings, num_patches=16))
    checkpoint = Checkpoint(
        path=Path("m.bin"), sha256="", container="torch", tensors=model.state_dict(), meta={}
    )
    with pytest.raises(CheckpointError):
        build(checkpoint)


@pytest.mark.parametrize(
    ("kind", "config", "settings"),
    [(CLIPVisionModel, CLIPVisionConfig, {}), (Dinov2Model, Dinov2Config, {})],
)
def test_what_the_user_says_in_our_words_is_said_to_the_witness_too(
    tmp_path: Path, kind: Any, config: Any, settings: dict[str, Any]
) -> None:
    tiny(kind, config, **settings).save_pretrained(tmp_path)
    asked = {"eps": 0.01, "activation": "gelu_tanh"}
    built = build(read_checkpoint(tmp_path), config=asked)
    assert "network within" in ask_witness(built, built.spec)
