"""``deploykit selftest``, and where else golden cases run."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.selftest.cases import GOLDEN
from wrong_engines import planted

import deploykit
from deploykit.checkup.tiny import tiny_model
from deploykit.cli import main

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def right(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("selftest") / "right.onnx"
    export(golden / "crossformer" / "crossformer.pth", ExportOptions(output=path, witness=False))
    return path


@pytest.fixture(scope="module")
def wrong(right: Path) -> Path:
    return planted(right, "one bias", right.with_name("wrong.onnx"))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "bare.onnx"
    path.write_bytes(tiny_model())
    return path


def test_a_right_file_passes_on_every_engine(right: Path, capsys: Output) -> None:
    assert main(["selftest", str(right), "--runtime", "ort-cpu,ov-cpu"]) == 0
    said = capsys.readouterr().out
    assert said.count("self-test passed") == 2
    assert "photo 1x96x128" in said
    assert "onnxruntime" in said
    assert "openvino" in said


def test_a_wrong_file_fails_with_the_case_and_what_to_try(wrong: Path, capsys: Output) -> None:
    assert main(["selftest", str(wrong)]) == 3
    said = capsys.readouterr().out
    assert "self-test failed: " in said
    assert "is off by" in said
    assert "--bisect" in said


def test_json(right: Path, wrong: Path, capsys: Output) -> None:
    assert main(["selftest", str(wrong), "--json", "--runtime", "ort-cpu", "--runtime", "trt"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert [test["ok"] for test in data["tests"]] == [False]
    assert "off by" in data["tests"][0]["problem"]
    assert len(data["not_run"]) == 1
    assert main(["selftest", str(right), "--json"]) == 0
    (test,) = json.loads(capsys.readouterr().out)["tests"]
    assert test["ok"]
    assert {each["output"] for case in test["cases"] for each in case["outputs"]} == {"logits"}


def test_a_file_without_golden_cases_says_so(bare: Path, capsys: Output) -> None:
    assert main(["selftest", str(bare)]) == 5
    assert "carries no golden cases" in capsys.readouterr().err


def test_a_damaged_case_is_named(right: Path, tmp_path: Path, capsys: Output) -> None:
    model = onnx.load(right)
    for entry in model.metadata_props:
        if entry.key == f"{GOLDEN}0.0.samples":
            entry.value = "?"
    onnx.save(model, tmp_path / "damaged.onnx")
    assert main(["selftest", str(tmp_path / "damaged.onnx")]) == 5
    assert f"{GOLDEN}0.0.samples" in capsys.readouterr().err


def test_python(right: Path, wrong: Path) -> None:
    assert deploykit.selftest(right, device="cpu").ok
    found = deploykit.selftest(wrong, threads=1)
    assert not found.ok
    assert found.problem in str(found)
    with pytest.raises(deploykit.DeploykitError, match="thread"):
        deploykit.selftest(right, thread=1)


def test_build_runs_them(right: Path, wrong: Path, tmp_path: Path, capsys: Output) -> None:
    pytest.importorskip("openvino")
    assert main(["build", str(right), "--runtime", "ov-cpu", "-o", str(tmp_path / "right")]) == 0
    assert "passed: " in capsys.readouterr().out
    assert main(["build", str(wrong), "--runtime", "ov-cpu", "-o", str(tmp_path / "wrong")]) == 3
    assert "Do not deploy" in capsys.readouterr().err
    assert (
        main(["build", str(wrong), "--runtime", "ov-cpu", "-o", str(tmp_path / "wrong"), "--no-selftest"])
        == 0
    )


def test_doctor_runs_them_on_every_engine(right: Path, wrong: Path, bare: Path, capsys: Output) -> None:
    assert main(["doctor", str(right), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in data["tested"]] == list(data["ready"])
    assert all(each["ok"] for each in data["tested"])
    assert main(["doctor", str(wrong), "--runtime", "ort-cpu"]) == 3
    assert "self-test failed" in " ".join(capsys.readouterr().out.split())
    assert main(["doctor", str(bare)]) == 5


def test_inspect_lists_them(right: Path, capsys: Output) -> None:
    assert main(["inspect", str(right)]) == 0
    assert "deploykit selftest" in " ".join(capsys.readouterr().out.split())
    assert main(["inspect", str(right), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["golden_cases"] >= 4
    assert GOLDEN not in json.dumps(data)
