"""Every setting of the constructors of transformers' ViTs, CLIPs and SigLIPs, changed one at a time: the
answers are those of the origin's own model with that setting, or the checkpoint is refused."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.registry import recognise
from deploykit_runtimes.errors import CheckpointError, InputError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess
from torch import nn

VISION = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "image_size": 64,
    "patch_size": 16,
}
BEIT = VISION | {"use_relative_position_bias": True, "use_mask_token": True, "vocab_size": 20}
DINO = {key: value for key, value in VISION.items() if key != "intermediate_size"} | {"mlp_ratio": 2}
MODELS: dict[str, dict[str, Any]] = {
    "Dinov2Model": DINO,
    "Dinov2ForImageClassification": DINO,
    "Dinov2WithRegistersModel": DINO,
    "Dinov2WithRegistersForImageClassification": DINO,
    "DINOv3ViTModel": VISION,
    "BeitModel": BEIT,
    "BeitForImageClassification": BEIT,
    "Data2VecVisionModel": BEIT,
    "Data2VecVisionForImageClassification": BEIT,
    "CLIPVisionModel": VISION,
    "CLIPVisionModelWithProjection": VISION | {"projection_dim": 24},
    "SiglipVisionModel": VISION,
    "CLIPForImageClassification": VISION,
    "SiglipForImageClassification": VISION,
    "ViTModel": VISION,
    "ViTForImageClassification": VISION,
    "DeiTModel": VISION,
    "DeiTForImageClassification": VISION,
    "DeiTForImageClassificationWithTeacher": VISION,
}
WHOLE = {"CLIPForImageClassification", "SiglipForImageClassification"}
OF_TOWERS = {"num_channels", "hidden_act", "layer_norm_eps", "attention_dropout", "vision_use_head"}
SKIPPED = {"transformers_version", "label2id", "model_type", "text_config", "vision_config"}
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
WORDS = {
    "hidden_act": ["relu", "gelu", "quick_gelu", "gelu_new", "silu"],
    "problem_type": ["multi_label_classification", "regression"],
    "num_attention_heads": [6, 1],
    "image_size": [96, [64, 64]],
    "patch_size": [8, [16, 16]],
    "id2label": [{0: "a", 1: "b", 2: "c"}],
    "architectures": [["HedgehogModel"]],
    "dtype": ["float16"],
    "num_channels": [1, 4],
    "_out_features": [["stage1"]],
    "_out_indices": [[1]],
    "layer_scale_init_value": [0.0, 0.5],
}


def disturbed(model: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter + 0.3 * torch.randn_like(parameter))
    return model.float().eval()


def others(name: str, value: Any) -> list[Any]:
    """Values that differ from a default."""
    if name in WORDS:
        return WORDS[name]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value * 2]
    if isinstance(value, float):
        return [0.25, value * 10 + 1e-3]
    return ["hedgehog"]


def answers(model: Any, images: torch.Tensor) -> list[torch.Tensor]:
    found = model(pixel_values=images, return_dict=True)
    if "logits" in found:
        return [found.logits]
    pooled = found.get("image_embeds", found.get("pooler_output"))
    return [found.last_hidden_state, *([] if pooled is None else [pooled])]


def outcome(checkpoint: Checkpoint, model: Any, activation: str | None) -> str:
    """``equal``, ``refused`` or ``DIFFERENT``."""
    try:
        family, match = recognise(checkpoint, Hints())
        built = family.build(checkpoint, match, Hints())
    except (CheckpointError, OptionError):
        return "refused"
    image = built.spec.input
    images = torch.randn(1, image.channels, image.height, image.width)
    with torch.inference_mode():
        expected, found = answers(model, images), built.module(images)
    found = [found] if isinstance(found, torch.Tensor) else list(found)
    same = all(
        one.shape == other.shape and float((one - other).abs().max()) <= 1e-4 * float(other.abs().max())
        for one, other in zip(found, expected, strict=False)
    )
    scores = {"multi_label_classification": "sigmoid", "regression": "none"}.get(activation or "", "softmax")
    if built.spec.task == "classify" and built.spec.output.activation != scores:
        return "DIFFERENT"
    return "equal" if same else "DIFFERENT"


def configured(kind: Any, name: str, settings: dict[str, Any]) -> Any:
    """A configuration with settings over the small ones; of a whole model, those of its image tower."""
    labels = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {}} if "Image" in name else {}
    if name not in WHOLE:
        return kind.config_class(**{**MODELS[name], **labels, **settings})
    tower = {key: value for key, value in settings.items() if key in VISION or key in OF_TOWERS}
    rest = {key: value for key, value in settings.items() if key not in tower}
    return kind.config_class(**{**labels, "vision_config": {**VISION, **tower}, "text_config": TEXT, **rest})


def fields(kind: Any, name: str) -> dict[str, Any]:
    """The settings of a constructor with their defaults, those of an image tower among them."""
    config = kind.config_class
    classes = [config, type(config().vision_config)] if name in WHOLE else [config]
    found = {}
    for one in classes:
        made = one()
        for field in dataclasses.fields(one):
            if field.init and field.name not in SKIPPED:
                found[field.name] = MODELS[name].get(field.name, getattr(made, field.name, None))
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_another_setting_is_equal_or_refused(tmp_path: Path, name: str) -> None:
    kind = getattr(transformers, name)
    told: Counter[str] = Counter()
    different = []
    for key, default in fields(kind, name).items():
        for value in others(key, default):
            torch.manual_seed(0)
            try:
                model = disturbed(kind(configured(kind, name, {key: value})))
                model.save_pretrained(tmp_path)
                with torch.inference_mode():
                    answers(model, torch.randn(1, model.config.to_dict().get("num_channels", 3), 64, 64))
            except Exception:  # noqa: BLE001 - the origin itself has no such model
                told["impossible"] += 1
                continue
            found = outcome(read_checkpoint(tmp_path), model, model.config.problem_type)
            told[found] += 1
            if found == "DIFFERENT":
                different.append(f"{key} = {value!r}")
    assert different == []
    assert told["equal"] > 10, told


@pytest.mark.parametrize("name", [name for name in MODELS if name not in WHOLE])
def test_a_configuration_that_was_changed_afterwards_is_equal_or_refused(tmp_path: Path, name: str) -> None:
    """The weights stay, and the origin builds its model from the changed file, or cannot."""
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    model = disturbed(kind(configured(kind, name, {})))
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    own = json.loads(file.read_text())
    different = []
    for key, default in own.items():
        if key in SKIPPED:
            continue
        for value in others(key, default):
            file.write_text(json.dumps({**own, key: value}))
            try:
                changed = kind(kind.config_class.from_dict({**own, key: value})).float().eval()
                changed.load_state_dict(model.state_dict())
                with torch.inference_mode():
                    answers(changed, torch.randn(1, 3, 64, 64))
            except Exception:  # noqa: BLE001 - the weights do not fit, or there is no such model
                changed = None
            told = outcome(read_checkpoint(tmp_path), changed or model, own.get("problem_type"))
            agrees = key in HARMLESS or isinstance(value, list)
            if told == "DIFFERENT" or (changed is None and told == "equal" and not agrees):
                different.append(f"{key} = {value!r}")
    assert different == []


# What the origin checks and no answer depends on.
HARMLESS = {
    "dtype",
    "return_dict",
    "out_features",
    "out_indices",
    "stage_names",
    "mlp_ratio",
    "use_mask_token",
    "qkv_bias",
    *("pos_embed_shift", "pos_embed_jitter"),
    *("add_fpn", "pool_scales"),
}

PROCESSORS = {
    "CLIPImageProcessor": {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    "BitImageProcessor": {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    "SiglipImageProcessor": {"size": {"height": 64, "width": 64}},
    "ViTImageProcessor": {"size": {"height": 64, "width": 64}},
    "BeitImageProcessor": {"size": {"height": 64, "width": 64}},
    "DeiTImageProcessor": {"size": {"height": 72, "width": 72}, "crop_size": {"height": 64, "width": 64}},
}
IMAGES: dict[str, list[Any]] = {
    "do_resize": [False],
    "size": [{"shortest_edge": 64}, {"height": 64, "width": 64}, {"height": 80, "width": 72}, 80],
    "resample": [0, 1, 2, 3, 4, 5],
    "do_center_crop": [True, False],
    "crop_size": [64, {"height": 48, "width": 64}],
    "do_rescale": [False],
    "rescale_factor": [1 / 127.5],
    "do_normalize": [False],
    "image_mean": [[0.1, 0.2, 0.3], 0.5],
    "image_std": [[0.1, 0.2, 0.3], 0.5],
    "do_convert_rgb": [False],
    "do_pad": [True],
    "do_reduce_labels": [True],
    "hedgehogs": [3],
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_an_image_processor_with_another_setting_is_equal_or_refused(
    tmp_path: Path, photos: dict[str, np.ndarray], name: str
) -> None:
    kind = getattr(transformers, name)
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VISION))
    model.save_pretrained(tmp_path)
    different = []
    told: Counter[str] = Counter()
    for key, values in IMAGES.items():
        for value in values:
            settings = {**PROCESSORS[name], key: value}
            written = {**kind(**PROCESSORS[name]).to_dict(), key: value}
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
            try:
                expected = kind(**settings)(photos["cat"], return_tensors="np")["pixel_values"][0]
            except Exception:  # noqa: BLE001 - the origin cannot do that
                expected = None
            found = prepared(tmp_path, photos["cat"])
            told["refused" if found is None else "equal"] += 1
            if found is None or expected is None:
                continue
            pixels, step = found
            if pixels.shape != expected.shape or float(np.abs(pixels - expected).max()) > step:
                different.append(f"{key} = {value!r}")
    assert different == []
    assert told["equal"] > 10, told


def prepared(folder: Path, image: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The pixels of an image, and a grey level in their units; None where folder or image are refused."""
    checkpoint = read_checkpoint(folder)
    try:
        family, match = recognise(checkpoint, Hints())
        how = family.build(checkpoint, match, Hints()).spec
        pixels, _ = preprocess(image, how)
    except (CheckpointError, OptionError, InputError):
        return None
    return pixels, 1.01 * how.preprocess.scale / min(how.preprocess.std)


TOWER: dict[str, Any] = {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
SPECIAL = {
    "pool_type": ["avg", "none"],
    "pos_embed_type": ["sin_cos_2d"],
    "attentional_pool": [True, "parallel"],
    "norm_kwargs": [{"eps": 0.1}],
    "act_kwargs": [{"approximate": "tanh"}],
    "block_type": ["custom"],
    "head_width": [8, 32],
    "image_size": [96, [32, 64]],
    "timm_model_name": ["vit_tiny_patch16_224", "resnet18"],
    "ls_init_value": [0.1],
    "timm_drop_path": [0.1],
}


def test_a_tower_of_open_clip_with_another_setting_is_equal_or_refused() -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    different = []
    told: Counter[str] = Counter()
    for quick in (False, True):
        for field in dataclasses.fields(open_clip.CLIPVisionCfg):
            for value in SPECIAL.get(field.name, others(field.name, field.default)):
                vision = {**TOWER, field.name: value}
                config = {"embed_dim": 24, "vision_cfg": vision, "quick_gelu": quick}
                torch.manual_seed(0)
                try:
                    tower = disturbed(open_clip.model._build_vision_tower(24, vision, quick_gelu=quick))
                except Exception:  # noqa: BLE001 - open_clip has no such tower
                    told["impossible"] += 1
                    continue
                found = embeds(tower, config)
                told[found] += 1
                if found == "DIFFERENT":
                    different.append(f"{field.name} = {value!r}")
    assert different == []
    assert told["equal"] > 30, told


def embeds(tower: nn.Module, config: dict[str, Any]) -> str:
    tensors = {f"visual.{key}": tensor for key, tensor in tower.state_dict().items()}
    meta = {"open_clip": {"model_cfg": config}}
    checkpoint = Checkpoint(path=Path("m.bin"), sha256="", container="torch", tensors=tensors, meta=meta)
    try:
        family, match = recognise(checkpoint, Hints())
        built = family.build(checkpoint, match, Hints())
    except (CheckpointError, OptionError):
        return "refused"
    images = torch.randn(1, 3, built.spec.input.height, built.spec.input.width)
    with torch.inference_mode():
        expected = tower(images)
        expected = expected[0] if isinstance(expected, tuple) else expected
        found = built.module(images)[1]
    same = found.shape == expected.shape and float((found - expected).abs().max()) <= 1e-4 * float(
        expected.abs().max()
    )
    return "equal" if same else "DIFFERENT"
