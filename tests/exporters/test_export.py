"""Export end to end on real (small) checkpoints: the file, its proof, and what failure leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from deploykit_exporters import export as export_module
from deploykit_exporters.export import export
from deploykit_exporters.graph import storage
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.verify import verify
from deploykit_runtimes.errors import ModelError, OptionError, ParityError
from deploykit_runtimes.ort.runner import open_ort
from torch import nn

Perturb = Callable[..., nn.Module]


def small_vit() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    return VisionTransformer(img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=7)


@pytest.fixture
def checkpoint(tmp_path: Path, perturb: Perturb) -> Path:
    path = tmp_path / "vit.pth"
    torch.save({"arch": "small_vit", "state_dict": perturb(small_vit(), 1).state_dict()}, path)
    return path


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("dynamic", [(), ("batch",), ("all",)], ids=["fixed", "batch", "all"])
def test_the_file_gives_the_checkpoints_answers(
    checkpoint: Path, perturb: Perturb, exporter: str, dynamic: tuple[str, ...]
) -> None:
    result = export(checkpoint, ExportOptions(dynamic=dynamic, exporter=exporter))
    assert result.path == checkpoint.with_suffix(".onnx")
    onnx.checker.check_model(onnx.load(result.path), full_check=True)
    oracle = perturb(small_vit(), 1)
    batch = 3 if dynamic else 1
    images = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    with open_ort(result.path) as runner, torch.inference_mode():
        found = runner.infer({"images": images.numpy()})["logits"]
        expected = oracle(images).numpy()
        assert runner.spec == result.spec
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    record = result.spec.parity
    assert record is not None
    assert record.max_rel < 1e-5
    assert record.top1 == 1.0
    assert ("all" in dynamic) == (len({shape.split("x", 2)[2] for shape in record.shapes}) > 1)


def test_the_graph_is_clean(checkpoint: Path) -> None:
    result = export(checkpoint, ExportOptions(dynamic=("all",)))
    graph = onnx.load(result.path).graph
    assert [value.name for value in graph.input] == ["images"]
    assert [value.name for value in graph.output] == ["logits"]
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        3,
        "height",
        "width",
    ]
    assert len({node.name for node in graph.node}) == len(graph.node)
    read = {name for node in graph.node for name in node.input}
    assert all(tensor.name in read for tensor in graph.initializer)
    resizes = [node for node in graph.node if node.op_type == "Resize"]
    assert resizes == []
    assert {entry.domain for entry in onnx.load(result.path).opset_import} <= {"", "ai.onnx"}


def test_exporting_twice_gives_the_same_graph(checkpoint: Path) -> None:
    first = export(checkpoint, ExportOptions(output=checkpoint.with_name("a.onnx"))).path
    second = export(checkpoint, ExportOptions(output=checkpoint.with_name("b.onnx"))).path
    assert first.read_bytes() == second.read_bytes()


def test_a_new_folder_is_made_for_the_model_and_goes_with_a_failed_proof(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = checkpoint.parent / "new" / "folder" / "vit.onnx"
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "_prove", _refuse)
        with pytest.raises(ParityError):
            export(checkpoint, ExportOptions(output=target))
    assert [path.name for path in checkpoint.parent.iterdir()] == ["vit.pth"]
    assert export(checkpoint, ExportOptions(output=target)).path == target
    assert target.is_file()


def _refuse(*_: object) -> None:
    raise ParityError("They differ.")


def test_a_failed_proof_writes_nothing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = checkpoint.with_suffix(".onnx")
    output.write_bytes(b"the model of yesterday")
    real = export_module.exportable

    def subtly_wrong(built, spec):
        return Scaled(real(built, spec))

    monkeypatch.setattr(export_module, "exportable", subtly_wrong)
    with pytest.raises(ParityError, match="logits"):
        export(checkpoint)
    assert output.read_bytes() == b"the model of yesterday"
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["vit.onnx", "vit.pth"]


class Scaled(nn.Module):
    """The model's answers, 0.1 % off."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images) * 1.001


def test_a_bad_simplification_falls_back_to_the_raw_graph(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export_module.simplify_file

    def broken(path: Path) -> onnx.ModelProto | None:
        simplified = real(path)
        assert simplified is not None
        for tensor in simplified.graph.initializer:
            if len(tensor.dims) == 2:
                values = onnx.numpy_helper.to_array(tensor) * np.float32(1.01)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
                break
        return simplified

    monkeypatch.setattr(export_module, "simplify_file", broken)
    result = export(checkpoint)
    assert any("did not pass" in note for note in result.notes)
    assert result.spec.parity is not None
    assert result.spec.parity.max_rel < 1e-4


def test_a_graph_that_onnxsim_cannot_process_is_the_exporter_s_own(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = checkpoint.with_name("own.onnx")
    own = onnx.load(export(checkpoint, ExportOptions(output=target, simplify=False)).path).graph
    monkeypatch.setattr(export_module, "simplify_file", lambda _: None)
    result = export(checkpoint)
    assert any("onnxsim could not process the graph" in note for note in result.notes)
    assert onnx.load(result.path).graph == own


def test_weights_beyond_one_file_are_named_hashed_and_kept_apart(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SINGLE_FILE_LIMIT", 10_000)
    result = export(checkpoint, ExportOptions(dynamic=("batch",)))
    metadata = {
        entry.key: entry.value for entry in onnx.load(result.path, load_external_data=False).metadata_props
    }
    weights = result.path.with_name(metadata["deploykit.weights_file"])
    assert weights.stat().st_size > 10_000
    names = sorted(path.name for path in checkpoint.parent.iterdir())
    assert names == sorted(["vit.onnx", "vit.pth", weights.name])
    with open_ort(result.path) as runner:
        assert runner.infer({"images": np.zeros((2, 3, 64, 64), np.float32)})["logits"].shape == (2, 7)


def test_verify_repeats_the_proof_on_own_images(checkpoint: Path, perturb: Perturb, tmp_path: Path) -> None:
    import skimage.data
    from PIL import Image

    photo = tmp_path / "coffee.png"
    Image.fromarray(skimage.data.coffee()).save(photo)
    model = export(checkpoint, ExportOptions(dynamic=("all",))).path
    result = verify(checkpoint, model, [photo])
    assert result.to_dict()["passed"] is True
    assert "coffee.png" in result.parity.inputs

    other = tmp_path / "other.pth"
    torch.save({"state_dict": perturb(small_vit(), 2).state_dict()}, other)
    with pytest.raises(ParityError, match=r"coffee\.png") as caught:
        verify(other, model, str(photo))
    assert f"exported from another file: {checkpoint.name}" in caught.value.hint


def test_verify_refuses_another_kind_of_model(checkpoint: Path, tmp_path: Path) -> None:
    from timm.models.vision_transformer import VisionTransformer

    model = export(checkpoint).path
    other = tmp_path / "other.pth"
    net = VisionTransformer(img_size=64, patch_size=16, embed_dim=64, depth=1, num_heads=1, num_classes=3)
    torch.save(net.state_dict(), other)
    with pytest.raises(ModelError, match="3 classes") as caught:
        verify(other, model)
    assert f"exported from another file: {checkpoint.name}" in caught.value.hint
    assert "other.pth has" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"dynamic": ("depth",)},
        {"batch": 0},
        {"opset": 9},
        {"opset": 17},
        {"imgsz": (0, 64)},
        {"imgsz": (64, 64, 64)},
        {"imgsz": "64 pixels"},
        {"batch": "many"},
        {"exporter": "magic"},
        {"family": "resnet"},
        {"dynamic": ("batch",), "batch": 4},
        {"dynamic": True, "batch": 4},
        {"simplify": "no"},
        {"labels": ()},
        {"labels": 3},
        {"output": 3},
        {"conf": "high"},
        {"max_det": 2.5},
    ],
)
def test_impossible_options_are_refused(change: dict) -> None:
    with pytest.raises(OptionError):
        replace(ExportOptions(), **change)


def test_a_wrong_output_is_refused_before_any_work(checkpoint: Path) -> None:
    (checkpoint.parent / "file").write_text("")
    with pytest.raises(OptionError, match="is a file, not a folder"):
        export(checkpoint, ExportOptions(output=checkpoint.parent / "file" / "x.onnx"))
    with pytest.raises(OptionError, match=r"ends in \.onnx"):
        export(checkpoint, ExportOptions(output=checkpoint.parent / "x.engine"))


def test_fixed_batch_and_size(checkpoint: Path) -> None:
    result = export(checkpoint, ExportOptions(batch=4, imgsz=(96, 64)))
    with open_ort(result.path) as runner:
        assert runner.inputs[0].shape == (4, 3, 96, 64)
        assert runner.infer({"images": np.zeros((4, 3, 96, 64), np.float32)})["logits"].shape == (4, 7)
