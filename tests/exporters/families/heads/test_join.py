"""Classifiers that training code put beside a network, or in place of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError, OptionError
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.transforms import Normalize


def vit(**settings: Any) -> nn.Module:
    net: nn.Module = VisionTransformer(
        img_size=32,
        patch_size=16,
        embed_dim=64,
        depth=2,
        num_heads=1,
        num_classes=0,
        **settings,
    )
    return net


def torchvision_vit() -> Any:
    net = torchvision.models.VisionTransformer(32, 16, 2, 1, 64, 96)
    net.heads = nn.Identity()
    return net


def efficientnet() -> nn.Module:
    net: nn.Module = timm.create_model("efficientnet_b0", num_classes=0)
    return net


def torchvision_efficientnet() -> Any:
    net = torchvision.models.efficientnet_b0()
    net.classifier = nn.Identity()
    return net


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit": (vit, 64),
    "vit of torchvision": (torchvision_vit, 64),
    "efficientnet": (efficientnet, 1280),
    "efficientnet of torchvision": (torchvision_efficientnet, 1280),
}


class Wrapper(nn.Module):
    """A network and its classifier as training code puts them together."""

    def __init__(self, network: nn.Module, head: nn.Module, name: str = "head") -> None:
        super().__init__()
        self.backbone = network
        self.name = name
        self.add_module(name, head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(self.name)(self.backbone(images))  # type: ignore[no-any-return]


def perturbed(model: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand_like(tensor)).add_(0.02 * torch.rand_like(tensor))
    return model.eval()


def load(tmp_path: Path, saved: Any, **hints: Any) -> BuiltModel:
    torch.save(saved, tmp_path / "trained.pth")
    return load_checkpoint(tmp_path / "trained.pth", Hints(**hints)).built


def weights(model: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}


def assert_same(built: BuiltModel, model: nn.Module) -> None:
    assert built.spec.task == "classify"
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(images)
        for module in filter(None, (built.module, built.exportable)):
            torch.testing.assert_close(module(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("name", "prefix"), [("head", ""), ("fc", "model."), ("classifier", "model.")])
def test_a_head_beside_the_backbone_is_its_classifier(
    tmp_path: Path, kind: str, name: str, prefix: str
) -> None:
    network, width = NETWORKS[kind]
    model = perturbed(Wrapper(network(), nn.Linear(width, 5), name))
    built = load(tmp_path, {"state_dict": {**weights(model, prefix), "criterion.weight": torch.ones(5)}})
    assert_same(built, model)
    assert any(f"{prefix}{name}" in line for line in built.spec.assumed)


HEADS: dict[str, tuple[Callable[[int], nn.Module], dict[str, str]]] = {
    "dropout": (lambda width: nn.Sequential(nn.Dropout(0.3), nn.Linear(width, 5)), {}),
    "without bias": (lambda width: nn.Linear(width, 5, bias=False), {}),
    "norm": (lambda width: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 5)), {}),
    "batch norm": (lambda width: nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, 5)), {}),
    "gelu": (
        lambda width: nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 5)),
        {"head_activation": "gelu"},
    ),
    "silu twice": (
        lambda width: nn.Sequential(
            nn.Linear(width, 8), nn.SiLU(), nn.Linear(8, 6), nn.SiLU(), nn.Linear(6, 5)
        ),
        {"head_activation": "silu"},
    ),
    "norm between": (
        lambda width: nn.Sequential(
            nn.Dropout(0.1), nn.Linear(width, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5)
        ),
        {"head_activation": "relu"},
    ),
}


@pytest.mark.parametrize("form", HEADS)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("beside", [True, False])
def test_a_head_of_several_layers_is_read(tmp_path: Path, kind: str, form: str, beside: bool) -> None:
    network, width = NETWORKS[kind]
    head, hints = HEADS[form]
    if form == "without bias" and not beside:
        pytest.skip("a bias that is missing from the origin's own classifier was lost")
    model: nn.Module
    if beside:
        model = Wrapper(network(), head(width))
    else:
        model = network()
        name = {"vit": "head", "vit of torchvision": "heads"}.get(kind, "classifier")
        setattr(model, name, head(width))
    assert_same(load(tmp_path, weights(perturbed(model)), **hints), model)


@pytest.mark.parametrize("kind", NETWORKS)
def test_an_activation_that_the_file_does_not_tell_is_asked_for(tmp_path: Path, kind: str) -> None:
    network, width = NETWORKS[kind]
    model = Wrapper(network(), nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 5)))
    with pytest.raises(CheckpointError, match="activation") as caught:
        load(tmp_path, weights(model))
    assert "--head-activation" in str(caught.value.hint)
    with pytest.raises(OptionError, match="gelu"):
        load(tmp_path, weights(model), head_activation="swish")
    assert load(tmp_path, weights(model), features=True).spec.task == "features"


@pytest.mark.parametrize("act", [nn.ReLU(), nn.GELU(approximate="tanh"), nn.Tanh()])
def test_a_pickled_module_tells_its_activation_and_its_eps(tmp_path: Path, act: nn.Module) -> None:
    head = nn.Sequential(nn.LayerNorm(64, eps=0.1), nn.Linear(64, 8), act, nn.Linear(8, 5))
    model = perturbed(Wrapper(vit(), head))
    assert_same(load(tmp_path, model), model)


def test_a_pickled_activation_that_cannot_be_built_is_refused(tmp_path: Path) -> None:
    model = Wrapper(vit(), nn.Sequential(nn.Linear(64, 8), nn.Hardswish(), nn.Linear(8, 5)))
    with pytest.raises(CheckpointError, match="Hardswish"):
        load(tmp_path, model)


def test_one_of_several_heads_is_chosen_by_name(tmp_path: Path) -> None:
    model = Wrapper(vit(), nn.Linear(64, 5))
    other = nn.Linear(64, 3)
    saved = perturbed(nn.ModuleDict(OrderedDict(backbone=model.backbone, head=model.head, colour=other)))
    with pytest.raises(CheckpointError, match=r"head, colour") as caught:
        load(tmp_path, weights(saved))
    assert "--head" in str(caught.value.hint)
    built = load(tmp_path, weights(saved), head="colour")
    assert_same(built, Wrapper(model.backbone, other).eval())
    assert [setting.name for setting in built.settings] == ["head"]
    with pytest.raises(OptionError, match="size"):
        load(tmp_path, weights(saved), head="size")


def test_heads_in_a_dictionary_are_told_apart(tmp_path: Path) -> None:
    model = perturbed(
        nn.ModuleDict(
            {"backbone": vit(), "heads": nn.ModuleDict({"a": nn.Linear(64, 5), "b": nn.Linear(64, 3)})}
        )
    )
    with pytest.raises(CheckpointError, match=r"heads\.a, heads\.b"):
        load(tmp_path, weights(model))
    built = load(tmp_path, weights(model), head="heads.b")
    assert built.spec.num_classes == 3


def test_a_second_classifier_beside_a_whole_model_is_not_passed_over(tmp_path: Path) -> None:
    model = perturbed(Wrapper(vit(), nn.Linear(64, 5)))
    inner = nn.Linear(64, 7)
    saved = {**weights(model), **weights(inner, "backbone.head.")}
    with pytest.raises(CheckpointError, match=r"backbone\.head, head"):
        load(tmp_path, saved)
    assert load(tmp_path, saved, head="backbone.head").spec.num_classes == 7
    assert_same(load(tmp_path, saved, head="head"), model)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_head_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    network, width = NETWORKS[kind]
    named = nn.Sequential(OrderedDict(first=nn.Linear(width, 8), last=nn.Linear(8, 5)))
    for head in (named, nn.Linear(2 * width, 5)):
        with pytest.raises(CheckpointError, match="looks like the classifier"):
            load(tmp_path, weights(Wrapper(network(), head)))


def test_what_is_beside_a_network_is_listed(tmp_path: Path) -> None:
    saved = {**weights(vit(), "backbone."), "temperature.value": torch.ones(1), "criterion.w": torch.ones(3)}
    built = load(tmp_path, saved)
    assert {setting.name: setting.treatment for setting in built.settings} == {
        "temperature": "unknown",
        "criterion": "harmless",
    }


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_network_and_its_classifier_in_a_sequence(tmp_path: Path, kind: str, prefix: str) -> None:
    network, width = NETWORKS[kind]
    model = perturbed(nn.Sequential(network(), nn.Dropout(), nn.Linear(width, 5)))
    assert_same(load(tmp_path, weights(model, prefix)), model)
    assert_same(load(tmp_path, model), model)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((nn.Upsample(32), None), "applies 0, a Upsample"),
        ((None, nn.Tanh()), "applies 1, a Tanh"),
        ((Normalize([0.1, 0.2, 0.3], [0.5] * 3), None), r"mean = \[0.1, 0.2, 0.3\] \(0\)"),
        ((Normalize([0.5] * 3, [0.5] * 3), None), ""),
        ((None, nn.Softmax(1)), ""),
        ((nn.Identity(), None, nn.Sigmoid()), ""),
    ],
    ids=str,
)
def test_steps_without_weights_around_a_pickled_network_are_not_passed_over(
    tmp_path: Path, steps: Any, problem: str
) -> None:
    network = perturbed(VisionTransformer(32, 16, embed_dim=64, depth=2, num_heads=1, num_classes=4))
    model = nn.Sequential(*(step or network for step in steps)).eval()
    if problem:
        with pytest.raises(CheckpointError, match=problem) as error:
            load(tmp_path, model)
        ignored = str(error.value.hint).rpartition("--ignore ")[2]
        assert load(tmp_path, model, ignore=(ignored, "*:std")).spec.task == "classify"
    else:
        built = load(tmp_path, model)
        assert_same(built, network)
        assert built.spec.output.activation == ("sigmoid" if len(steps) == 3 else "softmax")
        assert not any("not exported" in note for note in built.notes)


class Mine(VisionTransformer):
    """A network with a forward of its own."""


def test_a_pickled_network_of_a_class_of_ones_own_is_told(tmp_path: Path) -> None:
    settings = {"embed_dim": 64, "depth": 2, "num_heads": 1, "num_classes": 4}
    assumed = load(tmp_path, Mine(32, 16, **settings).eval()).spec.assumed
    assert any("Mine: its code is assumed to do what timm's own does" in line for line in assumed)
    usual = load(tmp_path, VisionTransformer(32, 16, **settings).eval()).spec.assumed
    assert not any("its code" in line for line in usual)


def test_what_is_beside_a_network_is_told(tmp_path: Path) -> None:
    saved = {
        **weights(vit(), "backbone."),
        "temperature": torch.ones(1),
        "decoder.0.weight": torch.ones(8, 3),
    }
    notes = load(tmp_path, saved, features=True).notes
    assert "Beside the network, and not exported: temperature (1 tensor), decoder (1 tensor)." in notes


@pytest.mark.parametrize("kind", ["vit", "efficientnet"])
@pytest.mark.parametrize(
    ("name", "module", "problem"),
    [
        ("bnneck", nn.BatchNorm1d, "bnneck is a norm on the"),
        ("final_norm", nn.LayerNorm, "final_norm is a norm on the"),
        (
            "adapter",
            lambda _: nn.Conv2d(3, 3, 1),
            "adapter is beside the network and turns images into images",
        ),
        (
            "enhance",
            lambda _: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3)),
            "enhance is beside the network and turns images into images",
        ),
    ],
)
def test_what_may_act_on_images_or_features_is_not_passed_over(
    tmp_path: Path, kind: str, name: str, module: Callable[[int], nn.Module], problem: str
) -> None:
    network, width = NETWORKS[kind]
    model = perturbed(Wrapper(network(), nn.Linear(width, 5)))
    saved = {**weights(model), **weights(module(width), f"{name}.")}
    with pytest.raises(CheckpointError, match=problem) as error:
        load(tmp_path, saved)
    assert f"--ignore {name}" in str(error.value.hint)
    assert_same(load(tmp_path, saved, ignore=(name,)), model)


@pytest.mark.parametrize(
    "names", [("pixel_mean", "pixel_std"), ("normalize.mean", "normalize.std"), ("mean", "std")]
)
def test_a_normalisation_inside_of_the_model_is_held_against_the_preprocessing(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    saved = {**weights(vit(), "net."), names[0]: mean, names[1]: std}
    with pytest.raises(CheckpointError, match=r"= \[0.1, 0.2, 0.3\] .*deploykit would build") as error:
        load(tmp_path, saved, features=True)
    assert """--config '{"mean": [0.1, 0.2, 0.3]}'""" in str(error.value.hint)
    given = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    built = load(tmp_path, saved, features=True, config=given)
    assert built.spec.preprocess.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("name", ["head", "backbone.head"])
def test_a_crossformer_with_a_head_of_its_training_code(golden: Path, tmp_path: Path, name: str) -> None:
    plain = load_checkpoint(golden / "crossformer" / "crossformer.pth", Hints())
    tensors = plain.checkpoint.tensors
    moved = {
        f"{name}.1.{key[5:]}" if key.startswith("head.") else f"backbone.{key}": tensor
        for key, tensor in tensors.items()
    }
    built = load(tmp_path, moved)
    assert built.spec.task == "classify"
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(built.module(images), plain.built.module(images))


def transformers_vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 96}
    return ViTModel(ViTConfig(image_size=32, patch_size=16, **sizes), add_pooling_layer=False)


class OnClassToken(Wrapper):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        token = self.backbone(images).last_hidden_state[:, 0]
        return self.get_submodule(self.name)(token)  # type: ignore[no-any-return]


@pytest.mark.parametrize("form", ["dropout", "gelu"])
def test_a_head_on_the_class_token_of_transformers_is_read(tmp_path: Path, form: str) -> None:
    head, hints = HEADS[form]
    model = perturbed(OnClassToken(transformers_vit(), head(64)))
    assert_same(load(tmp_path, weights(model, "model."), **hints), model)


@pytest.mark.parametrize("inside", [True, False])
def test_a_head_on_the_class_token_of_dinov2_is_read(tmp_path: Path, inside: bool) -> None:
    network = vit(init_values=0.1)
    model = perturbed(Wrapper(network, nn.Linear(64, 5)))
    saved = weights(model)
    # DINOv2's own code keeps a mask token of two axes, which distinguishes it from timm.
    saved["backbone.mask_token"] = torch.zeros(1, 64)
    if inside:
        saved = {name.removeprefix("backbone."): tensor for name, tensor in saved.items()}
    torch.save(saved, tmp_path / "trained.pth")
    loaded = load_checkpoint(tmp_path / "trained.pth", Hints(imgsz=(32, 32)))
    assert loaded.match.origin == "dinov2"
    assert_same(loaded.built, model)


def test_a_head_of_another_width_beside_dinov2_is_refused(tmp_path: Path) -> None:
    saved = weights(Wrapper(vit(init_values=0.1), nn.Linear(128, 5)))
    saved["backbone.mask_token"] = torch.zeros(1, 64)
    with pytest.raises(CheckpointError, match="head looks like the classifier"):
        load(tmp_path, saved)
