"""Arguments and preprocessing of timm's models: each is followed or refused."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from functools import cache
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.families.base import Hints
from deploykit_runtimes.pixels.preprocess import preprocess
from safetensors.torch import save_file
from timm.models.efficientnet import EfficientNet
from timm.models.vision_transformer import VisionTransformer
from timm_models import GENERATOR, MODELS, built_from, disturbed, outcome, prepared, saved

LAYERS = ["relu", "gelu", "quick_gelu", "gelu_tanh", "silu", "hard_swish", "elu", "mish", "prelu"]
VALUES: dict[str, list[Any]] = {
    "act_layer": LAYERS,
    "norm_layer": ["layernorm", "layernorm2d", "rmsnorm", "groupnorm", "batchnorm2d"],
    "aa_layer": ["blurpc", "avg"],
    "se_layer": ["ese"],
    "pad_type": ["same", "symmetric", "valid"],
    "global_pool": ["", "token", "avg", "max", "avgmax", "map", "prr", "catavgmax", "fast"],
    "pos_embed": ["none", "learn"],
    "init_values": [1e-2],
    "fc_norm": [True, False],
    "reg_tokens": [4],
    "patch_size": [8, [8, 16]],
    "img_size": [96, [48, 64], [64, 32]],
    "num_heads": [6, 1, 4],
    "mlp_ratio": [2.0, 3.5],
    "embed_norm_layer": ["layernorm"],
    "in_chans": [1, 4],
    "output_stride": [16, 8],
    "num_classes": [1, 9, 0],
    "attn_layer": ["", "diff"],
    "stem_kernel_size": [5],
    "weight_init": ["jax"],
    "norm_eps": [0.1],
    "hedgehogs": [3],
    "features_only": [True],
    "pretrained_cfg_overlay": [{"mean": [0.1, 0.2, 0.3]}],
}
SKIPPED = {"self", "device", "dtype", "block_args", "round_chs_fn", "kwargs", "args"}


def arguments(name: str) -> dict[str, list[Any]]:
    """Each argument of a model's constructor with values that differ from its default."""
    kind = EfficientNet if "efficientnet" in name else VisionTransformer
    found: dict[str, list[Any]] = {"hedgehogs": [3], "features_only": [True]}
    for parameter in signature(kind.__init__).parameters.values():
        if parameter.name in SKIPPED:
            continue
        found[parameter.name] = VALUES.get(parameter.name, others(parameter))
    return found | (GENERATOR if kind is EfficientNet else {})


def others(parameter: Parameter) -> list[Any]:
    default = parameter.default
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, int):
        return [default + 1, default * 2]
    if isinstance(default, float):
        return [0.25]
    return ["hedgehog", None]


PLACES = [
    *((name, "model_kwargs") for name in MODELS),
    *(("vit_base_patch16_clip_quickgelu_224", "model_args"), ("efficientnet_b0", "model_args")),
]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_model_with_another_argument_is_equal_or_refused(tmp_path: Path, name: str, place: str) -> None:
    told: Counter[str] = Counter()
    different = []
    for key, values in arguments(name).items():
        for value in values:
            given = {**MODELS[name], **({} if "efficientnet" in name else {"depth": 1}), key: value}
            try:
                model = disturbed(timm.create_model(name, **{"num_classes": 5, **given}))
                if isinstance(model, torch.nn.Module) and hasattr(model, "forward_features"):
                    image = given.get("img_size", 64)
                    sides = image if isinstance(image, list) else [image, image]
                    model(torch.randn(2, given.get("in_chans", 3), *sides))
            except Exception:  # noqa: BLE001 - timm itself has no such model
                told["impossible"] += 1
                continue
            size = Hints(imgsz=(64, 64)) if "efficientnet" in name else Hints()
            found = outcome(built_from(written(tmp_path, name, model, given, place), size), model)
            told[found] += 1
            if found == "DIFFERENT":
                different.append(f"{key} = {value!r}")
    assert different == []
    assert told["equal"] >= 15, told


def written(folder: Path, name: str, model: Any, given: Mapping[str, Any], place: str) -> Path:
    """The model as timm's training script writes it, or as timm publishes one."""
    weights = model.state_dict()
    if place == "model_kwargs":
        args = Namespace(model=name, model_kwargs=dict(given), interpolation="", mean=None)
        torch.save({"state_dict": weights, "arch": name, "args": args}, folder / "last.pth.tar")
        return folder / "last.pth.tar"
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "model.safetensors")
    config = {"architecture": name, "model_args": dict(given), "pretrained_cfg": {"interpolation": "bicubic"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


PREPROCESSING: dict[str, list[Any]] = {
    "mean": [[0.1, 0.2, 0.3], [0.4], (), None],
    "std": [[0.1, 0.2, 0.3], [0.4], None],
    "interpolation": ["bilinear", "nearest", "lanczos", "random", "", None],
    "crop_pct": [0.5, 1.0, None],
    "crop_mode": ["squash", "border", "center", "", None],
    "img_size": [96, None],
    "input_size": [[3, 96, 96], [3, 64, 96], None],
}


@pytest.mark.parametrize("place", ["args", "pretrained_cfg"])
@pytest.mark.parametrize("name", ["vit_small_patch16_224", "tf_efficientnet_lite0"])
def test_other_images_are_prepared_as_timm_does_or_refused(
    tmp_path: Path, photos: dict[str, np.ndarray], name: str, place: str
) -> None:
    told: Counter[str] = Counter()
    different = []

    @cache
    def model_of(sides: tuple[int, int]) -> Any:
        own = {"img_size": sides} if name.startswith("vit") else {}
        return disturbed(timm.create_model(name, **{"num_classes": 5, **MODELS[name], **own}))

    for key, values in PREPROCESSING.items():
        for value in values:
            sides = (64, 64)
            if "size" in key and value:
                sides = (value, value) if isinstance(value, int) else tuple(value[1:])
            own = {"img_size": sides} if name.startswith("vit") else {}
            model = model_of(sides)
            path = saved(tmp_path, name, model, own, {place: {key: value}})
            built = built_from(path, Hints() if "size" in key and value else Hints(imgsz=(64, 64)))
            if built is None:
                told["refused"] += 1
                continue
            found, _ = preprocess(photos["cat"], built.spec)
            expected = prepared(photos["cat"], model, place, {key: value}, (3, *sides))
            step = 1.01 * built.spec.preprocess.scale / min(built.spec.preprocess.std)
            same = found.shape == expected.shape and float(np.abs(found - expected).max()) <= step
            told["equal" if same else "DIFFERENT"] += 1
            if not same:
                different.append(f"{key} = {value!r}")
    assert different == []
    assert told["equal"] > 15, told
