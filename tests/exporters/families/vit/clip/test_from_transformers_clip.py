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
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.ort.runner import open_ort
from transformers import (
    CLIPConfig,
    CLIPForImageClassification,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Backbone,
    Dinov2Config,
    Dinov2Model,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipForImageClassification,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers_towers import (
    CLASSIFIERS,
    FEATURES,
    LABELS,
    SIZES,
    VISION,
    answers,
    assert_answers,
    assert_equal,
    build,
    tiny,
)


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
    heads, activation, positions, unstated, images = build(checkpoint).spec.assumed
    assert "attention heads" in heads
    assert "The activation is quick_gelu, the usual one of clip-vit" in activation
    assert "those of 64x64 images, assuming a square" in positions
    assert "assumed: norms with eps 1e-05" in unstated
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
