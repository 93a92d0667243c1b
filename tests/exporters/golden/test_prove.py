"""Golden answers against exports: what is right passes, what is wrong is found, and told where and why."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.export import ExportResult, export
from deploykit_exporters.families.base import Hints
from deploykit_exporters.golden.difference import DifferenceError, Why, one_error
from deploykit_exporters.golden.file import read_golden
from deploykit_exporters.golden.prove import GoldenProof
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.torch_runner import TorchRunner
from deploykit_exporters.record import record
from deploykit_exporters.verify import verify
from deploykit_runtimes.errors import OptionError, ParityError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.ort.runner import open_ort
from efficientnet_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_digits
from timm.layers import get_act_layer
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

SIDE = 64
NAMES = tuple("abcdefg")
Perturb = Callable[..., nn.Module]
Make = Callable[..., nn.Module]
Prove = Callable[..., ExportResult]


@pytest.fixture(scope="module")
def vit(perturb: Perturb) -> Make:
    def make(**settings: Any) -> nn.Module:
        torch.manual_seed(0)
        tiny = {"img_size": SIDE, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 1}
        return perturb(VisionTransformer(**{**tiny, "num_classes": len(NAMES), **settings}))

    return make


def evaluation(
    side: int = SIDE,
    *,
    crop: float = 0.9,
    by: Any = transforms.InterpolationMode.BICUBIC,
    mean: Any = (0.5,) * 3,
    std: Any = (0.5,) * 3,
) -> transforms.Compose:
    """A timm ViT's evaluation, as torchvision's transforms."""
    return transforms.Compose(
        [
            transforms.Resize(int(side / crop), interpolation=by),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


@pytest.fixture
def prove(tmp_path: Path) -> Prove:
    """Save a model or what a checkpoint holds, record another model, and export with its answers."""

    def run(
        saved: Any, recorded: nn.Module, options: dict[str, Any] | None = None, **how: Any
    ) -> ExportResult:
        path = tmp_path / "model.pth"
        torch.save(saved.state_dict() if isinstance(saved, nn.Module) else saved, path)
        golden = record(
            recorded, tmp_path / "golden.npz", **({} if "transform" in how else {"size": SIDE}), **how
        )
        return export(path, ExportOptions(**{"golden": golden, **(options or {})}))

    return run


def refused(run: Callable[[], object]) -> ParityError:
    with pytest.raises(ParityError) as caught:
        run()
    assert caught.value.exit_code == 3
    return caught.value


# What is right.


@pytest.mark.parametrize(
    "options", [{}, {"dynamic": "all"}, {"batch": 3}, {"preprocess": True, "postprocess": True}]
)
def test_a_right_reading_passes(options: dict[str, Any], vit: Make, prove: Prove, tmp_path: Path) -> None:
    result = prove(vit(), vit(), options, transform=evaluation(), labels=NAMES)
    parity = result.spec.parity
    assert parity is not None
    assert parity.golden == sha256_of(tmp_path / "golden.npz")
    assert parity.golden_said.startswith("VisionTransformer (torch ")
    for part in (
        "on 6 images",
        "100.00% of the pixels equal on 1 picture,",
        "7 class names equal",
        "the file within",
    ):
        assert part in parity.golden_said
    with open_ort(result.path) as runner:
        assert runner.spec == result.spec


def test_without_golden_answers_the_record_says_so(vit: Make, tmp_path: Path) -> None:
    torch.save(vit().state_dict(), tmp_path / "model.pth")
    parity = export(tmp_path / "model.pth").spec.parity
    assert parity is not None
    assert (parity.golden, parity.golden_said) == ("", "")


def test_names_of_the_classes_are_taken_from_the_training(vit: Make, prove: Prove) -> None:
    spec = prove(vit(), vit(), labels=NAMES).spec
    assert spec.classes == NAMES
    assert "Class names are from golden.npz." in spec.recognised


def test_imagenets_names_give_way_to_those_of_the_training(vit: Make, prove: Prove) -> None:
    names = [f"thing {n}" for n in range(1000)]
    spec = prove(vit(num_classes=1000), vit(num_classes=1000), labels=names).spec
    assert spec.classes == tuple(names)
    assert not any("ImageNet-1k" in line for line in spec.assumed)


def test_own_pictures_and_batches(vit: Make, prove: Prove, photos: dict[str, np.ndarray]) -> None:
    pictures = [photos["cat"], photos["flower_portrait"]]
    parity = prove(vit(), vit(), transform=evaluation(), images=pictures).spec.parity
    assert "on 3 pictures" in parity.golden_said
    batch = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert "on 7 images" in prove(vit(), vit(), images=batch).spec.parity.golden_said


def test_features(vit: Make, prove: Prove) -> None:
    tokens = prove(vit(), vit(), {"features": True}, forward=lambda net, images: net.forward_features(images))
    assert "network (features only) within" in tokens.spec.parity.golden_said
    both = prove(
        vit(num_classes=0),
        vit(num_classes=0),
        forward=lambda net, images: (net.forward_features(images), net(images)),
    )
    assert "network within" in both.spec.parity.golden_said
    pooled = prove(vit(num_classes=0), vit(num_classes=0))
    assert "network (pooled only) within" in pooled.spec.parity.golden_said


def test_probabilities_are_compared_behind_the_activation_that_the_host_applies(
    vit: Make, prove: Prove
) -> None:
    parity = prove(vit(), vit(), forward=lambda net, images: net(images).softmax(-1)).spec.parity
    assert parity.golden


def test_an_efficientnet_of_torchvision(perturb: Perturb, prove: Prove) -> None:
    import torchvision

    torch.manual_seed(0)
    net = perturb(torchvision.models.efficientnet_b0(num_classes=5))
    weights = torchvision.models.EfficientNet_B0_Weights.DEFAULT
    assert "100.00% of the pixels" in prove(net, net, transform=weights.transforms()).spec.parity.golden_said


def test_a_vit_of_transformers(perturb: Perturb, tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=SIDE,
        num_labels=4,
    )
    net = perturb(ViTForImageClassification(config))
    processor = ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    for part in (net, processor):
        part.save_pretrained(tmp_path / "vit")
    golden = record(net, tmp_path / "golden.npz", transform=processor)
    parity = export(tmp_path / "vit", ExportOptions(golden=golden)).spec.parity
    assert parity is not None
    assert "ViTForImageClassification" in parity.golden_said
    assert "of the pixels equal on 1 picture" in parity.golden_said


def test_settings_of_transformers_in_its_own_words(perturb: Perturb, tmp_path: Path) -> None:
    """Of an untrained network heads matter so little that another number comes near: the nearest is right."""
    from transformers import ViTConfig, ViTForImageClassification

    config = {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96, "image_size": SIDE}
    torch.manual_seed(0)
    net = perturb(ViTForImageClassification(ViTConfig(**config, num_attention_heads=3)))
    net.save_pretrained(tmp_path / "vit")
    for own in ({"num_attention_heads": 6}, {"layer_norm_eps": 0.001, "hidden_act": "relu"}):
        other = ViTForImageClassification(ViTConfig(**config, **{"num_attention_heads": 3, **own}))
        other.load_state_dict(net.state_dict())
        golden = record(other, tmp_path / "golden.npz", size=SIDE)
        error = refused(lambda golden=golden: export(tmp_path / "vit", ExportOptions(golden=golden)))
        assert f"Export with --config '{json.dumps(own)}'." in error.hint
        assert export(tmp_path / "vit", ExportOptions(golden=golden, config=own)).spec.parity.golden


def test_settings_that_an_origin_does_not_take_are_not_advised(perturb: Perturb, prove: Prove) -> None:
    torch.manual_seed(0)
    net = perturb(EfficientNet.from_name("efficientnet-b0", num_classes=3, image_size=SIDE))
    error = refused(lambda: prove(net, net, {"imgsz": SIDE}, transform=evaluation(crop=1.0)))
    assert "resizes the short edge to 64 and crops 64x64 (deploykit: crops" in error.hint
    assert "deploykit has no setting for all of it here: prepare the images yourself" in error.hint
    assert 'Export with --config \'{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}\'.' in error.hint


def letterbox(side: int, image: Image.Image) -> np.ndarray:
    from ultralytics.data.augment import LetterBox

    boxed = LetterBox((side, side))(image=np.array(image))
    return np.asarray(boxed.transpose(2, 0, 1), np.float32) / 255


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n-seg", "yolo11n-pose", "yolov10n"])
def test_a_yolo_of_ultralytics(name: str, ultralytics_file: Callable[..., Any], tmp_path: Path) -> None:
    path, net = ultralytics_file(name)
    options = ExportOptions(output=tmp_path / "yolo.onnx")
    golden = record(net, tmp_path / "golden.npz", transform=partial(letterbox, 160), labels=net.names)
    result = export(path, ExportOptions(output=options.output, golden=golden))
    assert "100.00% of the pixels" in result.spec.parity.golden_said
    assert "3 class names equal" in result.spec.parity.golden_said
    assert "the file within" in result.spec.parity.golden_said
    assert golden.stat().st_size < 1_000_000


def test_a_yolo_that_answered_with_its_other_head_is_told_apart(
    ultralytics_file: Callable[..., Any], tmp_path: Path
) -> None:
    path, net = ultralytics_file("yolo26n-seg")
    other = copy.deepcopy(net)
    other.end2end = False
    golden = record(other, tmp_path / "golden.npz", size=160)
    options = {"output": tmp_path / "yolo.onnx", "golden": golden}
    with pytest.raises(OptionError, match="holds no output of the shape") as caught:
        export(path, ExportOptions(**options))
    assert "--head one-to-many" in caught.value.hint
    assert export(path, ExportOptions(head="one-to-many", **options)).spec.parity.golden


def test_a_crossformer(golden: Path, tmp_path: Path) -> None:
    path = golden / "crossformer" / "crossformer.pth"
    net = load_checkpoint(path, Hints()).built.module
    answers = record(net, tmp_path / "golden.npz", size=224)
    result = export(path, ExportOptions(output=tmp_path / "net.onnx", golden=answers))
    assert "CrossFormer" in result.spec.parity.golden_said


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


# What is wrong with the pre-processing.


TRANSFORMS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "mean": (
        evaluation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        "has mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (deploykit: mean 0.5 0.5 0.5",
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    ),
    "crop": (evaluation(crop=0.875), "resizes the short edge to 73 and crops 64x64", {"crop_pct": 0.875}),
    "no crop": (evaluation(crop=1.0), "resizes the short edge to 64 and crops 64x64", {"crop_pct": 1.0}),
    "interpolation": (
        evaluation(by=transforms.InterpolationMode.BILINEAR),
        "resizes by bilinear",
        {"interpolation": "bilinear"},
    ),
    "stretched": (
        transforms.Compose(
            [transforms.Resize((SIDE, SIDE), 3), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
        ),
        "stretches to 64x64",
        {"crop_mode": "squash", "crop_pct": 1.0},
    ),
    "all at once": (
        evaluation(crop=0.95, by=transforms.InterpolationMode.BILINEAR, mean=(0.4, 0.5, 0.6)),
        "mean 0.4 0.5 0.6",
        {"crop_pct": 0.95, "interpolation": "bilinear", "mean": [0.4, 0.5, 0.6], "std": [0.5, 0.5, 0.5]},
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_that_is_another(name: str, vit: Make, prove: Prove) -> None:
    transform, says, config = TRANSFORMS[name]
    error = refused(lambda: prove(vit(), vit(), transform=transform))
    assert "differ in the pre-processing" in error.problem
    assert says in error.hint
    assert f"--config '{json.dumps(config)}'" in error.hint
    assert prove(vit(), vit(), {"config": config}, transform=transform).spec.parity.golden


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (lambda tensor: tensor.flip(0), "gives the channels as BGR (deploykit: RGB)"),
        (lambda tensor: tensor.flip(2), "mirrors the image"),
        (lambda tensor: tensor.flip(0, 2) * 2, "BGR (deploykit: RGB), has mean 0.5 0.5 0.5, std 0.25"),
        (lambda tensor: tensor.flip(1), "Give the mean, std, interpolation"),
        (lambda tensor: tensor.index_fill(2, torch.tensor([0]), 0.9), "Give the mean, std, interpolation"),
        (lambda tensor: tensor + 0.1 * (torch.eye(SIDE) * torch.arange(SIDE) > 50), "Give the mean"),
    ],
)
def test_a_transform_that_does_more(after: Any, says: str, vit: Make, prove: Prove) -> None:
    transform = transforms.Compose([evaluation(), after])
    error = refused(lambda: prove(vit(), vit(), transform=transform))
    assert "differ in the pre-processing" in error.problem
    assert says in error.hint


def by_tensor(*, antialias: bool, scale_first: bool) -> v2.Compose:
    """The evaluation on tensors, as torchvision recommends today."""
    floats = [v2.ToDtype(torch.float32, scale=True)]
    resize = [v2.Resize(71, transforms.InterpolationMode.BICUBIC, antialias=antialias), v2.CenterCrop(SIDE)]
    steps = [*floats, *resize] if scale_first else [*resize, *floats]
    return v2.Compose([v2.ToImage(), *steps, v2.Normalize((0.5,) * 3, (0.5,) * 3)])


def test_a_transform_that_rounds_elsewhere_is_the_same(vit: Make, prove: Prove) -> None:
    resized_in_bytes = prove(vit(), vit(), transform=by_tensor(antialias=True, scale_first=False))
    assert "% of the pixels equal on 1 picture" in resized_in_bytes.spec.parity.golden_said
    in_floats = prove(vit(), vit(), transform=by_tensor(antialias=True, scale_first=True))
    assert "pixels equal up to rounding on 1 picture" in in_floats.spec.parity.golden_said


@pytest.mark.parametrize("scale_first", [True, False])
def test_a_transform_without_antialiasing(scale_first: bool, vit: Make, prove: Prove) -> None:
    transform = by_tensor(antialias=False, scale_first=scale_first)
    error = refused(lambda: prove(vit(), vit(), transform=transform))
    assert "differ in the pre-processing" in error.problem
    assert "OpenCV does, without antialiasing (deploykit: bicubic, as Pillow" in error.hint


@pytest.mark.parametrize("off", [0.006, -0.006])
def test_a_mean_that_is_a_little_off(off: float, vit: Make, prove: Prove) -> None:
    transform = evaluation(mean=(0.5, 0.5 + off, 0.5))
    error = refused(lambda: prove(vit(), vit(), transform=transform))
    assert f"has mean 0.5 {0.5 + off:g} 0.5" in error.hint


def test_grey_images(vit: Make, prove: Prove) -> None:
    def grey(**how: Any) -> transforms.Compose:
        steps = evaluation(mean=how.get("mean", 0.5), std=0.5, crop=how.get("crop", 0.9))
        return transforms.Compose([transforms.Grayscale(), steps])

    net = vit(in_chans=1)
    assert "100.00% of the pixels equal" in prove(net, net, transform=grey()).spec.parity.golden_said
    error = refused(lambda: prove(net, net, transform=grey(mean=0.4, crop=1.0)))
    assert "resizes the short edge to 64" in error.hint
    assert "has mean 0.4, std 0.5 (deploykit: mean 0.5, std 0.5)" in error.hint


def test_channels_that_ultralytics_has_the_other_way_round(
    ultralytics_file: Callable[..., Any], tmp_path: Path
) -> None:
    path, net = ultralytics_file("yolov8n")

    def transform(image: Image.Image) -> np.ndarray:
        return np.ascontiguousarray(letterbox(160, image)[::-1])

    golden = record(net, tmp_path / "golden.npz", transform=transform)
    error = refused(lambda: export(path, ExportOptions(output=tmp_path / "yolo.onnx", golden=golden)))
    assert "gives the channels as BGR" in error.hint


def test_a_transform_of_another_size(vit: Make, prove: Prove) -> None:
    net = vit(dynamic_img_size=True)
    error = refused(lambda: prove(net, net, transform=evaluation(96)))
    assert "makes 96x96 of the photo, deploykit 64x64" in error.problem
    assert "--imgsz 96,96" in error.hint


def test_the_first_difference_is_the_problem_and_one_command_mends_all(vit: Make, prove: Prove) -> None:
    wrong = {"transform": evaluation(crop=1.0), "labels": NAMES[::-1]}
    options = {"labels": NAMES, "config": {"eps": 1e-6}}
    error = refused(lambda: prove(vit(), vit(num_heads=4), options, **wrong))
    assert "differ in the pre-processing: " in error.problem
    config = {"eps": 1e-6, "crop_pct": 1.0, "num_heads": 4}
    for part in (
        "The network differs, too: logits is off by",
        "The recorded model has 4 heads.",
        "The head differs, too: the classes are in another order",
        f"Export with --config '{json.dumps(config)}'.",
    ):
        assert part in error.hint
    assert prove(vit(), vit(num_heads=4), {"config": config}, **wrong).spec.parity.golden
    wrong["transform"] = evaluation()
    assert "in the network: " in refused(lambda: prove(vit(), vit(num_heads=4), options, **wrong)).problem
    assert "in the head: " in refused(lambda: prove(vit(), vit(), options, **wrong)).problem


def test_a_whole_configuration_is_not_repeated() -> None:
    given = {f"setting {n}": n for n in range(30)}
    why = Why(said="The recorded model has 4 heads.", config={"num_heads": 4}, options=("--weights ema",))
    found = [DifferenceError("network", "it is off.", why=why)]
    error = one_error(found, "golden.npz", given)
    assert error.hint.endswith('Add {"num_heads": 4} to what --config gives, and export with --weights ema.')
    error = one_error(found, "golden.npz", {"eps": 1})
    assert error.hint.endswith("""Export with --config '{"eps": 1, "num_heads": 4}' --weights ema.""")


# What is wrong with the head.


def test_names_in_another_order(vit: Make, prove: Prove) -> None:
    options = {"labels": ("b", "a", *NAMES[2:])}
    error = refused(lambda: prove(vit(), vit(), options, labels=NAMES))
    assert "differ in the head: the classes are in another order: class 0 is 'a'" in error.problem
    assert "'b' in the file" in error.problem


def test_other_names(vit: Make, prove: Prove) -> None:
    error = refused(lambda: prove(vit(), vit(), {"labels": ("x", *NAMES[1:])}, labels=NAMES))
    assert "class names differ: class 0 is 'a' in the training process, 'x'" in error.problem


def test_classes_in_another_order(vit: Make, prove: Prove) -> None:
    other = vit()
    order = [1, 0, 2, 3, 6, 4, 5]
    with torch.no_grad():
        for parameter in other.head.parameters():
            parameter.copy_(parameter[order])
    error = refused(lambda: prove(vit(), other))
    assert "differ in the head (what goes into it agrees" in error.problem
    assert "another order: class 0 there is 1 here" in error.hint


def test_another_number_of_classes(vit: Make, prove: Prove) -> None:
    error = refused(lambda: prove(vit(), vit(num_classes=5)))
    assert "the recorded model has 5 classes, the checkpoint 7" in error.problem


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda net, images: net(images).sigmoid(), "after a sigmoid"),
        (lambda net, images: net(images).log_softmax(-1), "after a log_softmax"),
        (lambda net, images: net(images) / 0.07, "deploykit's times 14.28"),
    ],
)
def test_scores_behind_an_activation(forward: Any, says: str, vit: Make, prove: Prove) -> None:
    error = refused(lambda: prove(vit(), vit(), forward=forward))
    assert "differ in the head" in error.problem
    assert says in error.hint


def test_another_bias(vit: Make, prove: Prove) -> None:
    other = vit()
    with torch.no_grad():
        other.head.bias += 0.1
    assert "differ in the head" in refused(lambda: prove(vit(), other)).problem


def test_something_else_was_recorded_than_is_exported(vit: Make, prove: Prove) -> None:
    with pytest.raises(OptionError, match=r"no output of the shape \[1, 17, 64\] \(features\)") as caught:
        prove(vit(), vit(), {"features": True})
    assert "forward=" in caught.value.hint


def test_images_that_the_network_does_not_take(vit: Make, prove: Prove, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="recorded on images of 1x64x64, the network takes 3x64x64"):
        prove(vit(), vit(in_chans=1))
    net = vit(dynamic_img_size=True, dynamic_img_pad=True)
    torch.save(net.state_dict(), tmp_path / "model.pth")
    golden = record(net, tmp_path / "golden.npz", size=72)
    with pytest.raises(OptionError, match="recorded on images of 3x72x72") as caught:
        export(tmp_path / "model.pth", ExportOptions(golden=golden))
    assert "--imgsz 72,72" in caught.value.hint


def test_a_size_that_the_network_takes_and_the_file_does_not(vit: Make, prove: Prove, tmp_path: Path) -> None:
    net = vit(dynamic_img_size=True)
    torch.save(net.state_dict(), tmp_path / "model.pth")
    golden = record(net, tmp_path / "golden.npz", size=96)
    fixed = export(tmp_path / "model.pth", ExportOptions(golden=golden)).spec.parity
    assert "the file takes another size" in fixed.golden_said
    free = export(tmp_path / "model.pth", ExportOptions(golden=golden, dynamic="all")).spec.parity
    assert "the file within" in free.golden_said


def test_images_that_are_not_those_that_were_recorded(vit: Make, tmp_path: Path) -> None:
    torch.save(vit().state_dict(), tmp_path / "model.pth")
    golden = record(vit(), tmp_path / "golden.npz", size=SIDE)
    with np.load(golden) as file:
        meta = json.loads(file["golden"].tobytes())
        meta["cases"][0]["recipe"]["seed"] = 7
        np.savez(golden, **{**file, "golden": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    with pytest.raises(OptionError, match="'picture' are not those that were recorded"):
        export(tmp_path / "model.pth", ExportOptions(golden=golden))


def test_a_case_with_outputs_of_another_shape(vit: Make, tmp_path: Path) -> None:
    torch.save(vit().state_dict(), tmp_path / "model.pth")
    golden = record(vit(), tmp_path / "golden.npz", size=SIDE)
    with np.load(golden) as file:
        meta = json.loads(file["golden"].tobytes())
        meta["cases"][1]["outputs"][0]["shape"] = [7]
        np.savez(golden, **{**file, "golden": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    with pytest.raises(OptionError, match=r"no output of the shape \[1, 7\]"):
        export(tmp_path / "model.pth", ExportOptions(golden=golden))


# Afterwards.


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.0 + 2e-4, False), (float("nan"), False)])
def test_a_file_that_is_not_what_was_read(
    factor: float, passes: bool, vit: Make, prove: Prove, tmp_path: Path
) -> None:
    class Scaled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inner(images) * factor

    model = prove(vit(), vit()).path
    loaded = load_checkpoint(tmp_path / "model.pth", Hints())
    proof = GoldenProof(read_golden(tmp_path / "golden.npz"), loaded, loaded.built.spec)
    with open_ort(model) as file:
        assert proof.check_file(file).startswith("the file within")
    wrong = TorchRunner(replace(loaded.built, module=Scaled(loaded.built.module)))
    if passes:
        assert proof.check_file(wrong).startswith("the file within")
    else:
        assert (
            "The model file differs from the golden answers"
            in refused(lambda: proof.check_file(wrong)).problem
        )


def test_verify_compares_again(vit: Make, prove: Prove, tmp_path: Path) -> None:
    model = prove(vit(), vit(), transform=evaluation(), labels=NAMES).path
    checkpoint, options = tmp_path / "model.pth", ExportOptions(golden=tmp_path / "golden.npz")
    parity = verify(checkpoint, model, options=options).parity
    assert "the file within" in parity.golden_said
    assert parity.golden == sha256_of(tmp_path / "golden.npz")
    record(vit(), tmp_path / "golden.npz", transform=evaluation(crop=1.0))
    assert "pre-processing" in refused(lambda: verify(checkpoint, model, options=options)).problem


def test_verify_of_a_file_with_processing_inside(vit: Make, prove: Prove, tmp_path: Path) -> None:
    inside = {"preprocess": True, "postprocess": True}
    model = prove(vit(), vit(), inside, transform=evaluation(), labels=NAMES).path
    checkpoint, options = tmp_path / "model.pth", ExportOptions(golden=tmp_path / "golden.npz")
    assert "100.00% of the pixels" in verify(checkpoint, model, options=options).parity.golden_said
    record(vit(), tmp_path / "golden.npz", transform=evaluation(), labels=NAMES[::-1])
    assert "another order" in refused(lambda: verify(checkpoint, model, options=options)).problem


def test_nothing_is_written_where_the_answers_differ(vit: Make, prove: Prove, tmp_path: Path) -> None:
    refused(lambda: prove(vit(), vit(num_heads=4)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["golden.npz", "model.pth"]
