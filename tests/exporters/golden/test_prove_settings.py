"""Settings and weights that a checkpoint does not tell: golden answers show which."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from deploykit_exporters.export import export
from deploykit_exporters.golden.prove import GoldenProof
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.record import record
from recordings import SIDE, Make, Perturb, Prove, refused
from sklearn.datasets import load_digits
from timm.layers import get_act_layer
from torch import nn

# What is wrong with the network.


SETTINGS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "heads": ({"num_heads": 4}, "4 heads", {"num_heads": 4}),
    "eps": ({"norm_layer": partial(nn.LayerNorm, eps=1e-3)}, "eps 0.001", {"eps": 1e-3}),
    "a little of eps": ({"norm_layer": partial(nn.LayerNorm, eps=1e-5)}, "eps 1e-05", {"eps": 1e-5}),
    "activation": (
        {"act_layer": get_act_layer("quick_gelu")},
        "quick_gelu where deploykit has GELU",
        {"activation": "quick_gelu"},
    ),
    "the kind of GELU": ({"act_layer": get_act_layer("gelu_tanh")}, "gelu_tanh", {"activation": "gelu_tanh"}),
    "pooling": ({"global_pool": "avg", "fc_norm": False}, "pools by avg", {"global_pool": "avg"}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_the_checkpoint_does_not_tell(name: str, vit: Make, prove: Prove) -> None:
    settings, says, config = SETTINGS[name]
    error = refused(lambda: prove(vit(), vit(**settings)))
    assert "differ in the network" in error.problem
    assert f"The recorded model {'' if says.startswith('pools') else 'has '}" in error.hint
    assert says in error.hint
    assert "--config" in error.hint
    assert prove(vit(), vit(**settings), {"config": config}).spec.parity.golden  # and that is right


def averaged(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.02)
    return model


def test_the_weights_that_were_not_recorded(vit: Make, prove: Prove) -> None:
    raw, ema = vit(), averaged(vit())
    both = {"state_dict": raw.state_dict(), "state_dict_ema": ema.state_dict()}
    error = refused(lambda: prove(both, ema, {"weights": "state_dict"}))
    assert "differ in the network" in error.problem
    assert "32 of 32 weights" in error.hint
    assert "Export with --weights state_dict_ema." in error.hint
    assert "Export with --weights state_dict." in refused(lambda: prove(both, raw)).hint
    assert prove(both, ema).spec.parity.golden
    assert prove(both, raw, {"weights": "state_dict"}).spec.parity.golden


def test_the_teacher_that_was_recorded(vit: Make, prove: Prove) -> None:
    student, teacher = vit(), averaged(vit())
    parts = {"student": student, "teacher": teacher}
    both = {f"{key}.{name}": one for key, net in parts.items() for name, one in net.state_dict().items()}
    assert (
        "Export with --weights teacher." in refused(lambda: prove(both, teacher, {"weights": "student"})).hint
    )
    assert prove(both, student, {"weights": "student"}).spec.parity.golden


def test_weights_that_the_file_does_not_hold(vit: Make, prove: Prove) -> None:
    assert "at another moment" in refused(lambda: prove(vit(), averaged(vit()))).hint


def test_weights_in_half_precision(vit: Make, prove: Prove) -> None:
    half = {name: value.half() for name, value in vit().state_dict().items()}
    assert "half precision" in refused(lambda: prove(half, vit())).hint
    loaded = vit()
    loaded.load_state_dict({name: value.float() for name, value in half.items()})
    assert prove(half, loaded).spec.parity.golden


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda net, images: net(images.flip(1)), "takes BGR"),
        (lambda net, images: net((images - 0.5) / 0.5), "normalises its input itself"),
    ],
)
def test_what_a_model_does_to_its_input(forward: Any, says: str, vit: Make, prove: Prove) -> None:
    error = refused(lambda: prove(vit(), vit(), forward=forward))
    assert "differ in the network" in error.problem
    assert says in error.hint


def test_embeddings_of_length_one(vit: Make, prove: Prove) -> None:
    def scaled(net: nn.Module, images: torch.Tensor) -> Any:
        return nn.functional.normalize(net(images), dim=-1)

    error = refused(lambda: prove(vit(num_classes=0), vit(num_classes=0), forward=scaled))
    assert "scales its embeddings to length 1" in error.hint


def test_a_difference_that_no_idea_explains(vit: Make, prove: Prove) -> None:
    error = refused(
        lambda: prove(vit(), vit(), forward=lambda net, images: net(images.flip(3)) + net(images))
    )
    assert "differ in the network" in error.problem
    assert "recorded from VisionTransformer (torch" in error.hint


@pytest.mark.parametrize("change", ["eps", "activation", "stride"])
def test_a_yolo_that_is_another(change: str, ultralytics_file: Callable[..., Any], tmp_path: Path) -> None:
    path, net = ultralytics_file("yolov8n")
    other = copy.deepcopy(net)
    if change == "eps":
        for module in other.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-2
    elif change == "activation":
        for module in other.modules():
            if isinstance(getattr(module, "act", None), nn.SiLU):
                module.act = nn.ReLU()
    else:
        other.model[-1].stride = other.model[-1].stride * 1.01
    golden = record(other, tmp_path / "golden.npz", size=160)
    error = refused(lambda: export(path, ExportOptions(output=tmp_path / "yolo.onnx", golden=golden)))
    assert "differ in the network: predictions is off" in error.problem
    says = {"eps": "norms with eps 0.01", "activation": "relu where deploykit has SiLU", "stride": "is read"}
    assert says[change] in error.hint


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b0"])
def test_a_variant_that_the_keys_do_not_tell(name: str, perturb: Perturb, prove: Prove) -> None:
    torch.manual_seed(0)
    net = perturb(timm.create_model(name, num_classes=5))
    other = name.removeprefix("tf_") if name.startswith("tf_") else f"tf_{name}"
    if name.startswith("tf_"):
        assert f"--variant {name}." in refused(lambda: prove(net, net)).hint
    assert prove(net, net, {"variant": name}).spec.parity.golden
    assert "differ in the network" in refused(lambda: prove(net, net, {"variant": other})).problem


def test_two_settings_at_once(vit: Make, prove: Prove) -> None:
    other = {"norm_layer": partial(nn.LayerNorm, eps=1e-3), "act_layer": get_act_layer("quick_gelu")}
    config = {"eps": 0.001, "activation": "quick_gelu"}
    error = refused(lambda: prove(vit(), vit(**other)))
    assert "norms with eps 0.001 and has quick_gelu where deploykit has GELU" in error.hint
    assert f"--config '{json.dumps(config)}'" in error.hint
    assert prove(vit(), vit(**other), {"config": config}).spec.parity.golden


def chaotic() -> nn.Module:
    """An EfficientNet after the first steps of a training: what is not as even as a digit explodes in it."""
    torch.manual_seed(0)
    net = timm.create_model("efficientnet_b0", num_classes=3)
    digits = torch.tensor(load_digits(n_class=3).images[:48] / 16).float()[:, None].repeat(1, 3, 1, 1)
    images = (nn.functional.interpolate(digits, (SIDE, SIDE), mode="bilinear") - 0.45) / 0.225
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        for batch in images.split(24):
            net.train()(batch)
    return net.eval()


def test_a_chaotic_network_on_another_machine(prove: Prove) -> None:
    """Sums in another order: the logits of noise and contrast differ by 5e-4, which float64 explains."""

    def otherwise(net: nn.Module, images: torch.Tensor) -> Any:
        return net(images.contiguous(memory_format=torch.channels_last))

    net = chaotic()
    options = {"imgsz": SIDE, "witness": False}
    assert prove(net, net, options, forward=otherwise).spec.parity.golden
    for change in (
        lambda one: setattr(one.bn2, "eps", 1e-3),
        lambda one: one.classifier.bias.data.add_(0.01),
    ):
        other = copy.deepcopy(net)
        change(other)
        refused(lambda other=other: prove(net, other, options, forward=otherwise))


def test_answers_on_which_float32_can_tell_nothing(
    vit: Make, prove: Prove, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GoldenProof, "_spread", lambda self, groups, images: dict.fromkeys(groups, 0.5))
    assert prove(vit(), vit()).spec.parity.golden  # equal answers need no float64
    error = refused(lambda: prove(vit(), vit(), forward=lambda net, images: 1.001 * net(images)))
    assert "Nothing can be proven with golden.npz" in error.problem


def test_the_eps_of_torchvisions_efficientnet_is_suggested_as_an_option(
    perturb: Perturb, tmp_path: Path
) -> None:
    norms = partial(nn.BatchNorm2d, eps=1e-3)
    net = perturb(torchvision.models.efficientnet_b0(num_classes=3, norm_layer=norms), 0).eval()
    torch.save(net.state_dict(), tmp_path / "best.pth")
    record(net, tmp_path / "golden.npz", size=64)
    told = ExportOptions(imgsz=(64, 64), golden=tmp_path / "golden.npz", witness=False, golden_cases=False)
    error = refused(lambda: export(tmp_path / "best.pth", told))
    assert """norms with eps 0.001. Export with --config '{"eps": 0.001}'.""" in error.hint
    assert export(tmp_path / "best.pth", replace(told, config={"eps": 1e-3})).spec.parity.golden
