"""Golden answers against exports: what is right passes, and the file that is written is compared again."""

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
import torch
from deploykit_exporters.export import export
from deploykit_exporters.families.base import Hints
from deploykit_exporters.golden.file import read_golden
from deploykit_exporters.golden.prove import GoldenProof
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.torch_runner import TorchRunner
from deploykit_exporters.record import record
from deploykit_exporters.verify import verify
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.ort.runner import open_ort
from efficientnet_pytorch import EfficientNet
from recordings import NAMES, SIDE, Make, Perturb, Prove, evaluation, letterbox, refused
from torch import nn

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


def test_images_far_beyond_the_model_are_not_made(
    vit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe takes a line: one of 4096x4096 pixels took 800 MB before its size was looked at."""
    torch.save(vit().state_dict(), tmp_path / "model.pth")
    golden = record(vit(), tmp_path / "golden.npz", size=SIDE)
    with np.load(golden) as file:
        arrays = dict(file)
    meta = json.loads(arrays["golden"].tobytes())
    meta["cases"][0]["recipe"]["shape"] = [1, 3, 4096, 4096]
    arrays["golden"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed(golden, **arrays)
    monkeypatch.setattr(
        "deploykit_exporters.record.make_images", lambda recipe: pytest.fail("they were made")
    )
    with pytest.raises(
        OptionError, match=r"its images have 50,\d{3},\d{3} values, wanted at most 16,777,216"
    ):
        export(tmp_path / "model.pth", ExportOptions(golden=golden))


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
