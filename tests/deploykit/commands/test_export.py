"""`deploykit export`, `verify` and `inspect` over a checkpoint written by timm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from deploykit_runtimes.contract.spec import ParityRecord
from PIL import Image

from deploykit.cli import main
from deploykit.commands.shared.describe import parity_lines

Output = pytest.CaptureFixture[str]
Damage = Callable[[Path, Path], str]
"""From a good checkpoint to a damaged one in another file; returns what the error must name."""


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    path = checkpoint.with_name("exported.onnx")
    assert main(["export", "--dynamic", "batch", str(checkpoint), "-o", str(path)]) == 0
    return path


def test_print_tells_what_was_recognised_assumed_and_proven(
    checkpoint: Path, tmp_path: Path, capsys: Output
) -> None:
    target = tmp_path / "a.onnx"
    assert main(["export", str(checkpoint), "--dynamic", "-o", str(target)]) == 0
    output = capsys.readouterr().out
    for expected in (
        "recognised",
        "assumed",
        "max abs",
        "top-1",
        "opset",
        "nodes",
        "time",
        "wrote",
        "height ",
    ):
        assert expected in output
    assert f"deploykit predict {target}" in output
    [cases] = [line for line in output.splitlines() if line.lstrip().startswith("golden cases ")]
    assert re.search(r"golden cases +[4-8]: photo ", cases)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_json(checkpoint: Path, tmp_path: Path, capsys: Output) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("ant\nbee\ncrow\n")
    target = tmp_path / "b.onnx"
    args = ["export", str(checkpoint), "--json", "--labels", str(labels), "-o", str(target), "--batch", "2"]
    assert main(args) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["path"] == str(target)
    assert data["metadata"]["deploykit.classes"] == "ant\nbee\ncrow"
    assert data["metadata"]["deploykit.input.batch"] == "2"
    assert data["size_bytes"] == target.stat().st_size


def test_default_output_is_beside_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pth"
    copy.write_bytes(checkpoint.read_bytes())
    assert main(["export", str(copy)]) == 0
    assert (tmp_path / "copy.onnx").is_file()


def test_verify_passes_on_own_images(
    checkpoint: Path, exported: Path, tmp_path: Path, photos: dict[str, np.ndarray], capsys: Output
) -> None:
    image = tmp_path / "cat.png"
    Image.fromarray(photos["cat"]).save(image)
    assert main(["verify", str(checkpoint), str(exported), str(image), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["passed"] is True
    assert data["images"] == [str(image)]
    assert main(["verify", str(checkpoint), str(exported)]) == 0
    assert "passed" in capsys.readouterr().out


def test_verify_exits_with_3_when_weights_differ(
    checkpoint: Path, exported: Path, tmp_path: Path, capsys: Output
) -> None:
    state = torch.load(checkpoint)
    state["head.bias"] += 1
    other = tmp_path / "other.pth"
    torch.save(state, other)
    assert main(["verify", str(other), str(exported), "--json"]) == 3
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert data["passed"] is False
    assert "logits" in data["problem"]
    assert captured.err.count("error:") == 1
    assert "exported from another file: vit.pth" in captured.err


def test_verify_with_the_arguments_swapped(checkpoint: Path, exported: Path, capsys: Output) -> None:
    assert main(["verify", str(exported), str(checkpoint)]) == 2
    assert "deploykit verify CKPT MODEL" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["classify", "detect", "features"])
def test_only_classes_agree_top_1(task: str) -> None:
    record = ParityRecord(
        max_abs=0.1, max_rel=0.1, top1=1.0, tolerance=1e-4, shapes=(), inputs=(), reference="", engine=""
    )
    assert ("top-1" in " ".join(parity_lines(record, task))) == (task == "classify")


def test_inspect_the_checkpoint(checkpoint: Path, capsys: Output) -> None:
    assert main(["inspect", str(checkpoint)]) == 0
    output = capsys.readouterr().out
    for expected in ("vit", "timm", "3, names unknown", "GFLOPs", "may be dynamic", "parameters"):
        assert expected in output
    assert main(["inspect", str(checkpoint), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["num_classes"] == 3


def test_inspect_the_export(exported: Path, capsys: Output) -> None:
    assert main(["inspect", str(exported)]) == 0
    output = capsys.readouterr().out
    for expected in ("operators", "LayerNormalization", "batch 1..", "max abs", "vit.pth", "opset"):
        assert expected in output
    assert main(["inspect", str(exported), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["spec"]["parity"]["tolerance"] == pytest.approx(1e-4)
    assert data["graph"]["facts"]["opset"] >= 17


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"not a checkpoint at all", b"\x80\x04."])
def test_a_hostile_or_damaged_checkpoint_writes_nothing(
    content: bytes, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    assert main(["export", str(tmp_path / "bad.pth")]) == 2
    assert "bad.pth" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


def truncated(checkpoint: Path, target: Path) -> str:
    content = checkpoint.read_bytes()
    target.write_bytes(content[: len(content) // 2])
    return "bad.pth"


def of_another_architecture(_checkpoint: Path, target: Path) -> str:
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), target)
    return "this is a ResNet"


def with_weights(change: Callable[[dict[str, torch.Tensor]], object], named: str) -> Damage:
    def damage(checkpoint: Path, target: Path) -> str:
        weights = torch.load(checkpoint)
        change(weights)
        torch.save(weights, target)
        return named

    return damage


BIAS = "blocks.0.attn.proj.bias"
DAMAGES: dict[str, Damage] = {
    "truncated": truncated,
    "resnet18": of_another_architecture,
    "missing": with_weights(lambda weights: weights.pop(BIAS), BIAS),
    "extra": with_weights(
        lambda weights: weights.update({"blocks.0.adapter.weight": torch.ones(3, 3)}), "blocks.0.adapter"
    ),
    "misshapen": with_weights(lambda weights: weights.update({BIAS: torch.ones(7)}), BIAS),
    "not finite": with_weights(lambda weights: weights[BIAS].fill_(torch.nan), BIAS),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_checkpoint_that_cannot_be_used_is_told_in_its_own_names(
    name: str, checkpoint: Path, tmp_path: Path, capsys: Output
) -> None:
    named = DAMAGES[name](checkpoint, tmp_path / "bad.pth")
    assert main(["export", str(tmp_path / "bad.pth")]) == 2
    error = capsys.readouterr().err
    assert error.count("error:") == 1
    assert named in error
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["-o", "{folder}"], 2),
        (["-o", "model.txt"], 2),
        (["--opset", "3"], 2),
        (["--family", "resnet"], 2),
        (["--labels", "{checkpoint}"], 2),
        (["--dynamic", "--batch", "2"], 2),
    ],
)
def test_options_that_cannot_be_met_are_refused_before_torch_is_loaded(
    args: list[str], code: int, checkpoint: Path, tmp_path: Path, capsys: Output
) -> None:
    filled = [arg.format(folder=tmp_path, checkpoint=checkpoint) for arg in args]
    assert main(["export", str(checkpoint), *filled]) == code
    error = capsys.readouterr().err
    assert "error" in error.lower()
    assert "Loading torch" not in error
    assert list(tmp_path.iterdir()) == []


def test_another_origin_brings_the_recognised_one(checkpoint: Path, capsys: Output) -> None:
    assert main(["inspect", str(checkpoint), "--origin", "tmm"]) == 2
    assert "Without --origin, it is recognised as vit weights in the timm form." in capsys.readouterr().err


def test_a_missing_checkpoint(tmp_path: Path, capsys: Output) -> None:
    assert main(["export", str(tmp_path / "missing.pth")]) not in (0, 70)
    assert "missing.pth" in capsys.readouterr().err


def test_what_was_compared_is_told() -> None:
    record = ParityRecord(
        max_abs=0,
        max_rel=0,
        top1=1,
        tolerance=1e-4,
        shapes=("1x3x8x8",),
        inputs=("photo",),
        reference="torch",
        engine="engine",
        detections=1234,
    )
    assert "end-to-end head: 1,234 detections compared on pictures" in parity_lines(record, "detect")
    whole = replace(record, answers=4, masks=7, keypoints=0, answer_said="scores were raised")
    assert parity_lines(whole, "segment")[-2:] == ["1,234 detections, 7 masks compared", "scores were raised"]
