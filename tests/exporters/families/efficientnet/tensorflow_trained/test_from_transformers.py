"""EfficientNet folders of Hugging Face transformers, as ``save_pretrained`` writes them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import CheckpointError, DeploykitError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess
from torch import nn
from transformers import (
    EfficientNetConfig,
    EfficientNetForImageClassification,
    EfficientNetImageProcessor,
    EfficientNetImageProcessorPil,
    EfficientNetModel,
)

Perturb = Callable[..., nn.Module]
SMALL: dict[str, Any] = {
    "width_coefficient": 0.5,
    "depth_coefficient": 1.1,
    "hidden_dim": 640,
    "image_size": 64,
    "depthwise_padding": [3, 8],
    "batch_norm_eps": 2e-3,
    "id2label": {0: "bee", 1: "ant", 2: "fly"},
    "label2id": {},
}
SIZES = ((64, 64), (75, 97), (33, 40))


def small(kind: Any, perturb: Perturb, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = kind(EfficientNetConfig(**{**SMALL, **settings}))
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return perturb(model, 1)


def build(source: Path | Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    checkpoint = read_checkpoint(source) if isinstance(source, Path) else source
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("efficientnet", "transformers")
    return family.build(checkpoint, match, asked)


def bare(model: Any, **meta: Any) -> Checkpoint:
    return Checkpoint(
        path=Path("best.pt"), sha256="", container="torch", tensors=model.state_dict(), meta=meta
    )


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def logits(model: Any, images: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(pixel_values=images).logits
    return found


def test_logits_are_those_of_transformers_at_every_size(tmp_path: Path, perturb: Perturb) -> None:
    model = small(EfficientNetForImageClassification, perturb)
    model.save_pretrained(tmp_path)
    built = build(tmp_path)
    assert built.spec.classes == ("bee", "ant", "fly")
    assert built.witness is not None
    with torch.inference_mode():
        for size in SIZES:
            images = torch.randn(2, 3, *size)
            assert off(built.module(images), logits(model, images)) < 1e-5
            assert off(built.witness().module(images), logits(model, images)) < 1e-5  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [EfficientNetModel, EfficientNetForImageClassification])
def test_features_are_the_hidden_states_of_transformers(tmp_path: Path, perturb: Perturb, kind: Any) -> None:
    model = small(kind, perturb, num_channels=4)
    model.save_pretrained(tmp_path)
    built = build(tmp_path, features=True)
    base = getattr(model, "efficientnet", model)
    images = torch.randn(2, 4, 64, 96)
    with torch.inference_mode():
        states = base(pixel_values=images, output_hidden_states=True).hidden_states
        maps = built.module(images)
        witness = built.witness().module(images)  # type: ignore[misc, union-attr]
    # The last state of each resolution.
    last = {state.shape[2:]: state for state in states}
    assert len(maps) == len(last) == len(built.spec.output.names)
    for found, seen, expected in zip(maps, witness, last.values(), strict=True):
        assert off(found, expected) < 1e-5
        assert off(seen, expected) < 1e-5


def test_a_model_without_a_classifier_asks_for_features(tmp_path: Path, perturb: Perturb) -> None:
    small(EfficientNetModel, perturb).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="--features"):
        build(tmp_path)


@pytest.mark.parametrize("dynamic", [(), ("all",)])
def test_the_exported_file_is_proven_with_the_witness(
    tmp_path: Path, perturb: Perturb, dynamic: tuple[str, ...]
) -> None:
    model = small(EfficientNetForImageClassification, perturb)
    model.save_pretrained(tmp_path / "model")
    size = {"height": 64, "width": 64}
    EfficientNetImageProcessor(size=size, resample=2).save_pretrained(tmp_path / "model")
    options = ExportOptions(output=tmp_path / "m.onnx", dynamic=dynamic, preprocess=True, postprocess=True)
    result = export(tmp_path / "model", options)
    assert result.spec.parity is not None
    assert "transformers" in result.spec.parity.witness
    network = export(
        tmp_path / "model", ExportOptions(output=tmp_path / "n.onnx", dynamic=dynamic, witness=False)
    )
    session = onnxruntime.InferenceSession(str(network.path), providers=["CPUExecutionProvider"])
    for height, width in SIZES[: 3 if dynamic else 1]:
        images = torch.randn(1, 3, height, width)
        with torch.inference_mode():
            expected = logits(model, images)
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        assert off(found, expected) < 1e-4
    paddings = {
        tuple(attribute.ints)
        for node in _nodes(network.path)
        if node.op_type == "Conv"
        for attribute in node.attribute
        if attribute.name == "pads"
    }
    assert {(0, 0, 1, 1), (1, 1, 2, 2)} <= paddings


def _nodes(path: Path) -> Any:
    import onnx

    return onnx.load(path).graph.node


def test_without_config_the_padding_is_that_of_the_published_model(perturb: Perturb) -> None:
    """B2 was made for 260 pixels, of which the blocks 5, 8 and 16 get odd ones."""
    settings = {
        "width_coefficient": 1.1,
        "depth_coefficient": 1.2,
        "hidden_dim": 1408,
        "image_size": 260,
        "depthwise_padding": [5, 8, 16],
        "batch_norm_eps": 1e-3,
    }
    model = small(EfficientNetForImageClassification, perturb, **settings)
    built = build(bare(model))
    assert built.spec.variant == "efficientnet-b2"
    assert any("260" in line for line in built.spec.assumed)
    images = torch.randn(1, 3, 97, 64)
    with torch.inference_mode():
        assert off(built.module(images), logits(model, images)) < 1e-5


def test_a_classifier_of_ones_own_beside_the_network(perturb: Perturb) -> None:
    model = small(EfficientNetModel, perturb)
    head = nn.Linear(640, 5)
    tensors = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"head.{key}": value.detach() for key, value in head.state_dict().items()}
    meta = {"config": model.config.to_dict() | {"architectures": ["EfficientNetModel"]}}
    built = build(Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=tensors, meta=meta))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = head(model(pixel_values=images).pooler_output)
        assert off(built.module(images), expected) < 1e-5


@pytest.mark.parametrize("config", [False, True])
def test_a_lost_weight_is_an_error_and_never_another_model(perturb: Perturb, config: bool) -> None:
    model = small(EfficientNetForImageClassification, perturb)
    meta = {"config": model.config.to_dict() | {"architectures": [type(model).__name__]}} if config else {}
    keys = [key for key in model.state_dict() if "num_batches" not in key and "blocks.1" not in key]
    for lost in keys:
        tensors = {key: tensor for key, tensor in model.state_dict().items() if key != lost}
        broken = Checkpoint(path=Path("x.pt"), sha256="", container="torch", tensors=tensors, meta=meta)
        with pytest.raises(DeploykitError):
            build(broken)


OTHERS: dict[str, list[Any]] = {
    "num_channels": [1, 4],
    "image_size": [96, [64, 64], [64, 96], "big"],
    "width_coefficient": [0.6, 1.0],
    "depth_coefficient": [1.0, 2.0],
    "depth_divisor": [4, 16],
    "kernel_sizes": [[3, 3, 3, 3, 5, 5, 3], [5, 3, 5, 3, 5, 5, 3], [3, 3]],
    "in_channels": [[32, 16, 24, 40, 80, 112, 160]],
    "out_channels": [[16, 24, 40, 80, 112, 192, 192], [32, 24, 40, 80, 112, 192, 320]],
    "depthwise_padding": [[], [1, 3], [3, 5, 8, 12]],
    "strides": [[1, 2, 2, 1, 1, 2, 1], [2, 2, 2, 2, 1, 2, 1], [1, 2, 2, 3, 1, 2, 1]],
    "num_block_repeats": [[1, 2, 2, 3, 3, 4, 2], [1, 2, 2, 3, 4, 3, 1]],
    "expand_ratios": [[1, 6, 6, 6, 6, 6, 4], [6, 6, 6, 6, 6, 6, 6], [1, 1, 6, 6, 6, 6, 6]],
    "squeeze_expansion_ratio": [0.5, 0.1],
    "hidden_act": ["relu", "gelu", "silu", "gelu_new", "mish", "leaky_relu", "tanh"],
    "hidden_dim": [320, 1280],
    "pooling_type": ["max"],
    "batch_norm_eps": [1e-1],
    "batch_norm_momentum": [0.5],
    "dropout_rate": [0.1],
    "drop_connect_rate": [0.1],
    "initializer_range": [0.1],
    "problem_type": ["multi_label_classification", "regression"],
    "id2label": [{0: "a", 1: "b", 2: "c", 3: "d"}],
    "hedgehogs": [3],
}


def outcome(checkpoint: Checkpoint, model: Any) -> str:
    try:
        built = build(checkpoint)
    except DeploykitError:
        return "refused"
    image = built.spec.input
    images = torch.randn(1, image.channels, image.height, image.width)
    with torch.inference_mode():
        same = off(built.module(images), logits(model, images)) < 1e-4
    problem = model.config.problem_type
    scores = {"multi_label_classification": "sigmoid", "regression": "none"}.get(problem or "", "softmax")
    return "equal" if same and built.spec.output.activation == scores else "DIFFERENT"


def test_a_model_with_another_setting_is_equal_or_refused(tmp_path: Path, perturb: Perturb) -> None:
    told: Counter[str] = Counter()
    different = []
    for name, values in OTHERS.items():
        for value in values:
            try:
                model = small(EfficientNetForImageClassification, perturb, **{name: value})
                model.save_pretrained(tmp_path)
                logits(model, torch.randn(1, model.config.num_channels, 64, 64))
            except Exception:  # noqa: BLE001 - transformers has no such model
                told["impossible"] += 1
                continue
            found = outcome(read_checkpoint(tmp_path), model)
            told[found] += 1
            if found == "DIFFERENT":
                different.append(f"{name} = {value!r}")
    assert different == []
    assert told["equal"] > 20, told


def test_a_configuration_that_was_changed_afterwards_is_equal_or_refused(
    tmp_path: Path, perturb: Perturb
) -> None:
    model = small(EfficientNetForImageClassification, perturb)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    own = json.loads(file.read_text())
    different = []
    for name, values in OTHERS.items():
        for value in values:
            file.write_text(json.dumps({**own, name: value}))
            try:
                changed = EfficientNetForImageClassification(
                    EfficientNetConfig.from_dict({**own, name: value})
                )
                changed.load_state_dict(model.state_dict())
                logits(changed.eval(), torch.randn(1, 3, 64, 64))
            except Exception:  # noqa: BLE001 - the weights do not fit, or there is no such model
                changed = None
            found = outcome(read_checkpoint(tmp_path), changed or model)
            # The weights say how many classes there are.
            if found == "DIFFERENT" or (changed is None and found == "equal" and name != "id2label"):
                different.append(f"{name} = {value!r}")
    assert different == []


def test_a_setting_of_the_command_that_nothing_reads_is_refused(tmp_path: Path, perturb: Perturb) -> None:
    small(EfficientNetForImageClassification, perturb).save_pretrained(tmp_path)
    with pytest.raises(OptionError, match="'mean', which is not read"):
        build(tmp_path, config={"mean": [0.1, 0.2, 0.3]})
    with pytest.raises(CheckpointError, match="hedgehogs"):
        build(tmp_path, config={"hedgehogs": 3})
    how = build(tmp_path, config={"image_mean": [0.1, 0.2, 0.3], "include_top": False}).spec.preprocess
    assert how.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("file", "broken"),
    [
        ("config.json", {"batch_norm_eps": "small"}),
        ("config.json", {"id2label": {"bee": 0}}),
        ("preprocessor_config.json", {"size": {"side": 3}}),
        ("preprocessor_config.json", {"image_mean": "grey"}),
    ],
)
def test_settings_without_sense_are_refused(
    tmp_path: Path, perturb: Perturb, file: str, broken: dict[str, Any]
) -> None:
    small(EfficientNetForImageClassification, perturb).save_pretrained(tmp_path)
    EfficientNetImageProcessor().save_pretrained(tmp_path)
    own = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps({**own, **broken}))
    with pytest.raises(CheckpointError):
        build(tmp_path)


IMAGES: dict[str, list[Any]] = {
    "do_resize": [False],
    "size": [{"height": 64, "width": 64}, {"height": 80, "width": 72}, 80],
    "resample": [0, 1, 2, 3, 4, 5],
    "do_center_crop": [True],
    "crop_size": [64, {"height": 48, "width": 64}],
    "do_rescale": [False],
    "rescale_factor": [1 / 127.5],
    "rescale_offset": [True],
    "include_top": [False],
    "do_normalize": [False],
    "image_mean": [[0.1, 0.2, 0.3]],
    "image_std": [[0.1, 0.2, 0.3]],
    "hedgehogs": [3],
}


def test_an_image_processor_with_another_setting_is_equal_or_refused(
    tmp_path: Path, perturb: Perturb, photos: dict[str, np.ndarray]
) -> None:
    small(EfficientNetForImageClassification, perturb).save_pretrained(tmp_path)
    base = {"size": {"height": 72, "width": 72}, "crop_size": {"height": 64, "width": 64}}
    different = []
    told: Counter[str] = Counter()
    for name, values in IMAGES.items():
        for value in values:
            for more in ({}, {"do_center_crop": True, "rescale_offset": True, "image_std": [0.2, 0.4, 0.3]}):
                settings = {**base, **more, name: value}
                written = {**EfficientNetImageProcessor(**base, **more).to_dict(), name: value}
                (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
                try:
                    process = EfficientNetImageProcessorPil(**settings)
                    expected = process(photos["cat"], return_tensors="np")["pixel_values"][0]
                except Exception:  # noqa: BLE001 - the origin cannot do that
                    expected = None
                try:
                    how = build(tmp_path).spec
                    found, _ = preprocess(photos["cat"], how)
                except DeploykitError:
                    told["refused"] += 1
                    continue
                told["equal"] += 1
                step = 1.01 * how.preprocess.scale / min(how.preprocess.std)
                if expected is None or found.shape != expected.shape or np.abs(found - expected).max() > step:
                    different.append(f"{name} = {value!r} {more}")
    assert different == []
    assert told["equal"] > 20, told
