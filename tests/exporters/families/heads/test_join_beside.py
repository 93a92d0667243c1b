"""Classifiers of one's own beside image towers and networks where deploykit builds none: never dropped in
silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_runtimes.errors import CheckpointError, OptionError

Tensors = dict[str, torch.Tensor]
VISION: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "image_size": 64,
    "patch_size": 16,
}
HEADS = ("head", "fc", "classifier", "my_layer", "mlp.0")


def below(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}{key}": tensor for key, tensor in tensors.items()}


def clip() -> Tensors:
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VISION))
    return dict(model.state_dict())


def siglip() -> Tensors:
    model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**VISION))
    return dict(model.state_dict())


def openai() -> Tensors:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    tower = {"image_size": 64, "layers": 2, "width": 48, "head_width": 16, "patch_size": 16}
    built: Any = open_clip.model._build_vision_tower(48, tower, quick_gelu=True)
    return below("visual.", dict(built.state_dict()))


TOWERS = {"clip": clip, "siglip": siglip, "open_clip": openai}


def classifier(name: str) -> Tensors:
    return {f"{name}.weight": torch.randn(3, 48), f"{name}.bias": torch.randn(3)}


def built(tensors: Tensors, **hints: Any) -> BuiltModel:
    checkpoint = Checkpoint(path=Path("w.pth"), sha256="", container="torch", tensors=tensors)
    family, match = recognise(checkpoint, Hints(**hints))
    return family.build(checkpoint, match, Hints(**hints))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("prefix", ["backbone.", "model.encoder."])
@pytest.mark.parametrize("tower", TOWERS)
def test_a_classifier_beside_an_image_tower_is_refused_by_name_and_can_be_left_aside(
    tower: str, prefix: str, head: str
) -> None:
    tensors = below(prefix, TOWERS[tower]()) | classifier(head)
    root = head.partition(".")[0]
    with pytest.raises(CheckpointError, match=f"has {root} beside a network of"):
        built(tensors)
    features = built(tensors, features=True)
    assert features.spec.task == "features"
    assert [setting.name for setting in features.settings if setting.treatment == "unknown"] == [root]
    ignored = built(tensors, ignore=(root,))
    assert ignored.spec.task == "features"
    assert ("ignored", root) in {(setting.treatment, setting.name) for setting in ignored.settings}


@pytest.mark.parametrize("tower", TOWERS)
def test_a_classifier_at_the_same_place_is_not_taken_for_the_origins_own(tower: str) -> None:
    with pytest.raises(CheckpointError, match="has fc beside a network of"):
        built(TOWERS[tower]() | classifier("fc"))


@pytest.mark.parametrize("options", [{"head": "head"}, {"head_activation": "relu"}])
@pytest.mark.parametrize("tower", TOWERS)
def test_options_for_classifiers_are_refused_where_none_is_built(tower: str, options: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="--head"):
        built(TOWERS[tower](), **options)


@pytest.mark.parametrize("name", ["criterion", "loss_head"])
def test_parts_of_the_training_are_harmless(name: str) -> None:
    model = built(below("backbone.", clip()) | classifier(name))
    assert {setting.name: setting.treatment for setting in model.settings}[name] == "harmless"
