"""Small models of timm, and what became of them."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_runtimes.errors import CheckpointError, OptionError
from PIL import Image
from safetensors.torch import save_file

VIT = {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}
MODELS: dict[str, dict[str, Any]] = {
    "vit_small_patch16_224": VIT,
    "vit_base_patch16_clip_quickgelu_224": VIT,
    "vit_medium_patch16_gap_256": VIT,
    "vit_base_patch16_siglip_224": VIT,
    "deit3_small_patch16_224": VIT,
    "deit_tiny_distilled_patch16_224": VIT,
    "efficientnet_b0": {},
    "tf_efficientnet_lite0": {},
}
# What the generators of EfficientNets take beside the arguments of the class.
GENERATOR = {
    "bn_eps": [1e-2],
    "bn_momentum": [0.3],
    "channel_multiplier": [0.5],
    "depth_multiplier": [1.4],
    "channel_divisor": [4],
    "group_size": [8],
}


def disturbed(model: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.float().eval()


def built_from(path: Path, hints: Hints) -> BuiltModel | None:
    """The model; None where it is refused."""
    checkpoint = read_checkpoint(path)
    try:
        family, match = recognise(checkpoint, hints)
        return family.build(checkpoint, match, hints)
    except (CheckpointError, OptionError):
        return None


def outcome(built: BuiltModel | None, model: Any) -> str:
    """``equal``, ``refused`` or ``DIFFERENT``."""
    if built is None:
        return "refused"
    image = built.spec.input
    # In float64: what an untrained EfficientNet answers is rounding to a good part.
    images = torch.randn(2, image.channels, image.height, image.width, dtype=torch.float64)
    with torch.inference_mode():
        tokens = built.spec.task == "features"
        expected = (model.double().forward_features if tokens else model.double())(images)
        found = built.module.double()(images)
        found = found[0] if tokens else found
    return "equal" if found.shape == expected.shape and near(found, expected) else "DIFFERENT"


def near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def saved(
    folder: Path, name: str, model: Any, own: Mapping[str, Any], said: Mapping[str, Mapping[str, Any]]
) -> Path:
    kwargs = {**MODELS[name], **own}
    if "args" in said:
        args = Namespace(model=name, model_kwargs=kwargs, **said["args"])
        torch.save({"state_dict": model.state_dict(), "arch": name, "args": args}, folder / "last.pth.tar")
        return folder / "last.pth.tar"
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": name, "model_args": kwargs, **said}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def prepared(
    image: np.ndarray, model: Any, place: str, said: dict[str, Any], size: tuple[int, ...]
) -> np.ndarray:
    """As timm's validation does it with these settings."""
    args = {"input_size": size, **(said if place == "args" else {})}
    told = place == "pretrained_cfg" and any(said[key] for key in said if "size" not in key)
    published = said if told else model.pretrained_cfg
    if args.get("input_size") is None:
        args["input_size"] = size
    if args.get("mean") == ():
        args["mean"] = None
    config = timm.data.resolve_data_config(args, pretrained_cfg={**published, "tag": ""})
    if config["interpolation"] == "random":
        config["interpolation"] = "bilinear"
    pixels: torch.Tensor = timm.data.create_transform(**config)(Image.fromarray(image))
    return pixels.numpy()


def described(model: Any, hints: Hints, **meta: Any) -> BuiltModel:
    checkpoint = Checkpoint(
        path=Path("weights.pth"), sha256="", container="torch", tensors=model.state_dict(), meta=meta
    )
    family, match = recognise(checkpoint, hints)
    return family.build(checkpoint, match, hints)


def outcome_of(built: BuiltModel, model: Any, size: tuple[int, int]) -> str:
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        expected, found = model(images), built.module(images)
    return "equal" if near(found, expected) else "DIFFERENT"


def built_by(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    family, match = recognise(checkpoint, Hints(**hints))
    return family.build(checkpoint, match, Hints(**hints))
