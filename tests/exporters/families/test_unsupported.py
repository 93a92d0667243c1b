"""Architectures that are not read are refused by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.known_networks import known_network, known_networks
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.families.unsupported import UNSUPPORTED, unsupported_name
from deploykit_runtimes.errors import UnrecognisedCheckpointError
from torch import nn


def checkpoint_of(model: nn.Module, prefix: str = "", **meta: Any) -> Checkpoint:
    tensors = {f"{prefix}{key}": tensor for key, tensor in model.state_dict().items()}
    return Checkpoint(path=Path("weights.pth"), sha256="", container="torch", tensors=tensors, meta=meta)


def refusal(checkpoint: Checkpoint, **hints: Any) -> str:
    with pytest.raises(UnrecognisedCheckpointError) as error:
        recognise(checkpoint, Hints(**hints))
    return error.value.problem


TIMM = {
    "swin_tiny_patch4_window7_224": "a Swin",
    "swinv2_tiny_window8_256": "a Swin V2",
    "convnext_tiny": "a ConvNeXt",
    "convnextv2_tiny": "a ConvNeXt",
    "resnet18": "a ResNet",
    "seresnet50": "a ResNet",
    "maxvit_tiny_rw_224": "a MaxViT",
    "coatnet_0_rw_224": "a MaxViT",
    "pvt_v2_b0": "a PVT",
    "samvit_base_patch16": "a SAM",
    "vit_small_resnet26d_224": "a hybrid",
    "vit_base_mci_224": "a hybrid",
    "vitamin_small_224": "a hybrid",
    "vit_pe_core_tiny_patch16_384": "a Perception Encoder",
    "naflexvit_base_patch16_gap": "a SigLIP 2 or a ViT in the NaFlex form",
    "vit_relpos_small_patch16_224": "a ViT with relative positions",
    "vit_srelpos_small_patch16_224": "a ViT with relative positions",
    "hiera_tiny_224": "a Hiera",
    "hiera_base_224": "a Hiera",
    "cait_xxs24_224": "a CaiT",
    "aimv2_large_patch14_224": "an AIMv2",
    "mixer_s16_224": "an MLP-Mixer",
    "xcit_nano_12_p16_224": "an XCiT",
    "twins_svt_small": "a Twins",
    "levit_128s": "a LeViT",
    "regnety_002": "a RegNet",
    "densenet121": "a DenseNet",
    "inception_v3": "an Inception",
    "fastvit_t8": "a FastViT",
    "mobileone_s0": "a FastViT or MobileOne",
    "repvgg_a0": "a RepVGG",
}


@pytest.mark.parametrize(("name", "expected"), TIMM.items())
def test_networks_of_timm_are_refused_by_name(name: str, expected: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    for prefix in ("", "model.", "backbone."):
        assert f"this is {expected}" in refusal(checkpoint_of(model, prefix))


EXAMPLES = {
    name: known["example"]
    for name, known in known_networks().items()
    if known["of"][0] == "timm" and timm.is_model(known["example"])
}


@pytest.mark.parametrize(("name", "example"), EXAMPLES.items(), ids=list(EXAMPLES))
def test_the_other_classes_of_timm_are_refused_by_their_names(name: str, example: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(example)
    assert f"timm's {name}" in known_network(model.state_dict()).replace(" or torchvision's", "")
    assert unsupported_name(checkpoint_of(model, "module."))


def test_what_is_read_is_none_of_the_others() -> None:
    for name in (
        "vit_tiny_patch16_224",
        "efficientnet_b0",
        "eva02_tiny_patch14_224",
        "beit_base_patch16_224",
    ):
        with torch.device("meta"):
            model = timm.create_model(name)
        assert not known_network(model.state_dict())


TORCHVISION = {
    "swin_t": "a Swin",
    "swin_v2_t": "a Swin V2",
    "convnext_tiny": "a ConvNeXt",
    "resnet18": "a ResNet",
    "mobilenet_v2": "a MobileNet",
    "mobilenet_v3_small": "a MobileNet",
    "maxvit_t": "a MaxViT",
    "regnet_y_400mf": "a RegNet",
    "vgg11": "a VGG",
    "fasterrcnn_mobilenet_v3_large_fpn": "a Faster R-CNN",
}


@pytest.mark.parametrize(("name", "expected"), TORCHVISION.items())
def test_networks_of_torchvision_are_refused_by_name(name: str, expected: str) -> None:
    detector = {"weights_backbone": None} if "rcnn" in name else {}
    model = torchvision.models.get_model(name, weights=None, **detector)
    assert f"this is {expected}" in refusal(checkpoint_of(model))


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TRANSFORMERS: dict[str, tuple[dict[str, Any], str]] = {
    "SwinForImageClassification": ({"embed_dim": 8, "depths": [1], "num_heads": [1]}, "a Swin"),
    "ConvNextForImageClassification": ({}, "a ConvNeXt"),
    "ResNetForImageClassification": ({}, "a ResNet"),
    "MobileNetV2ForImageClassification": ({}, "a MobileNet"),
    "PvtV2ForImageClassification": ({}, "a PVT"),
    "SegformerForImageClassification": ({}, "a PVT or SegFormer"),
    "YolosForObjectDetection": (SMALL, "a YOLOS"),
    "Siglip2VisionModel": (SMALL, "a SigLIP 2"),
    "DPTForDepthEstimation": (SMALL | {"backbone_out_indices": [0, 0, 0, 0]}, "a network for depth"),
    "VideoMAEModel": (SMALL, "a network for depth, segmentation, poses or video"),
    "IJepaModel": (SMALL, "an I-JEPA"),
    "BertModel": (SMALL, "a language model"),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_models_of_transformers_are_refused_by_name(name: str) -> None:
    settings, expected = TRANSFORMERS[name]
    kind = getattr(transformers, name)
    with torch.device("meta"):
        model = kind(kind.config_class(**settings))
    assert f"this is {expected}" in refusal(checkpoint_of(model, config=model.config.to_dict()))


@pytest.mark.parametrize(
    "name", ["YolosForObjectDetection", "Siglip2VisionModel", "SwinForImageClassification"]
)
def test_they_are_known_without_a_configuration_too(name: str) -> None:
    settings, expected = TRANSFORMERS[name]
    kind = getattr(transformers, name)
    with torch.device("meta"):
        model = kind(kind.config_class(**settings))
    assert f"this is {expected}" in refusal(checkpoint_of(model))


def test_clips_with_other_towers_are_refused_by_name() -> None:
    convolutions = {
        "visual.layer1.0.conv1.weight": torch.zeros(1),
        "visual.attnpool.k_proj.weight": torch.zeros(1),
    }
    checkpoint = Checkpoint(path=Path("RN50.pt"), sha256="", container="torch", tensors=convolutions)
    assert "this is a CLIP with a ResNet" in refusal(checkpoint)
    with torch.device("meta"):
        trunk = timm.create_model("convnext_tiny")
    assert "this is a CLIP with a ConvNeXt" in refusal(checkpoint_of(trunk, "visual.trunk."))


def test_a_type_of_transformers_that_nobody_knows_is_said() -> None:
    checkpoint = checkpoint_of(nn.Linear(2, 2), config={"model_type": "hedgehog"})
    assert "this is a hedgehog of transformers; deploykit reads ViT" in refusal(checkpoint)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("swin", "a Swin (model_type swin)"),
        ("yolos", "a YOLOS (model_type yolos)"),
        ("resnet", "a ResNet or one of its relatives (model_type resnet)"),
        ("clip", "a clip of transformers, and the weights of its image network are not there"),
        ("bert", "a language model (model_type bert)"),
    ],
)
def test_folders_of_transformers_are_refused_by_their_type(kind: str, expected: str) -> None:
    checkpoint = checkpoint_of(nn.Linear(2, 2), config={"model_type": kind})
    with pytest.raises(UnrecognisedCheckpointError) as caught:
        recognise(checkpoint, Hints())
    assert f"this is {expected}" in caught.value.problem
    assert "deploykit predict MODEL.onnx IMAGE" in caught.value.hint
    assert "inspect" not in caught.value.hint


def test_the_user_may_know_better() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_pe_core_tiny_patch16_384")
    family, match = recognise(checkpoint_of(model), Hints(family="vit"))
    assert (family.name, match.origin) == ("vit", "timm")


def test_what_a_family_may_read_one_day_only_explains_why_nobody_claims_it() -> None:
    with torch.device("meta"):
        model = timm.create_model("beit_base_patch16_224", depth=2)
    checkpoint = checkpoint_of(model)
    assert unsupported_name(checkpoint) == "a BEiT (relative positions)"
    assert unsupported_name(checkpoint, claimed=checkpoint.tensors) == ""


def test_no_name_stands_twice() -> None:
    assert len({entry.name for entry in UNSUPPORTED}) == len(UNSUPPORTED)
