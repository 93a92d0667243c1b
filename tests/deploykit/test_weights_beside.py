"""A model whose weights lie in a second file, as above 2 GB, in every command that copies or watches it."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from deploykit_exporters.graph import storage
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.onnx.model_files import copy_model, files_of, hash_model
from deploykit_runtimes.open import open_runner

from deploykit import inspect, serve
from deploykit.cli import main
from deploykit.package import KINDS, package

PIXELS = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
SETTINGS: dict[str, dict[str, Any]] = {"kserve": {"storage_uri": "s3://bucket/models", "image": "models:1"}}


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported with the limit of one file lowered, from 2 GB to 10 kB."""
    path = tmp_path_factory.mktemp("exported") / "vit.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "SINGLE_FILE_LIMIT", 10_000)
        assert main(["export", str(checkpoint), "-o", str(path), "--no-witness", "--no-golden"]) == 0
    return path


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    files = copy_model(exported, tmp_path / "exported" / "vit.onnx")
    assert len(files) == 2
    return files[0]


def answers(path: Path, runtime: str = "ort-cpu") -> np.ndarray:
    with open_runner(path, runtime=runtime) as runner:
        return runner.infer({"images": PIXELS})["logits"]


def zeroed(weights: Path) -> None:
    """Other weights under the same name, by a rename; the answers become those of the last bias alone."""
    draft = weights.with_name("draft")
    draft.write_bytes(bytes(weights.stat().st_size))
    os.replace(draft, weights)


def without(*files: Path) -> None:
    for file in files:
        file.unlink()


def test_build_into_a_folder(model: Path, tmp_path: Path) -> None:
    expected, built = answers(model), tmp_path / "built"
    names = {file.name for file in files_of(model)}
    assert main(["build", str(model), "--runtime", "ov", "-o", str(built)]) == 0
    assert {path.name for path in built.iterdir()} == {*names, "vit.ov-cpu.cache"}
    zeroed(files_of(model)[1])
    for runtime in ("ort-cpu", "ov-cpu"):
        np.testing.assert_allclose(answers(built, runtime), expected, atol=1e-4)
    assert main(["build", str(model), "--runtime", "ov", "-o", str(built)]) == 0
    for runtime in ("ort-cpu", "ov-cpu"):
        np.testing.assert_allclose(answers(built, runtime), answers(model), atol=1e-6)


def test_build_without_the_weights(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without(files_of(model)[1])
    assert main(["build", str(model), "--runtime", "ov", "-o", str(tmp_path / "built")]) == 5
    assert "keeps its weights in" in capsys.readouterr().err
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_packages_hold_all_of_the_model(kind: str, model: Path, tmp_path: Path) -> None:
    expected, weights = answers(model), files_of(model)[1]
    result = package(kind, f"cat={model}", tmp_path / "package", **SETTINGS.get(kind, {}))
    marker = json.loads((tmp_path / "package" / ".deploykit-package").read_text())
    assert marker["models"][0]["sha256"] == hash_model(model)
    without(*files_of(model))
    [packaged] = (tmp_path / "package").rglob("*.onnx")
    assert (packaged.parent / weights.name).is_file()
    assert str((packaged.parent / weights.name).relative_to(tmp_path / "package")) in result.files
    np.testing.assert_array_equal(answers(packaged), expected)
    onnx.checker.check_model(str(packaged))


@pytest.mark.parametrize("kind", KINDS)
def test_packages_without_the_weights(kind: str, model: Path, tmp_path: Path) -> None:
    without(files_of(model)[1])
    with pytest.raises(ModelError, match="keeps its weights in"):
        package(kind, model, tmp_path / "package", **SETTINGS.get(kind, {}))
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_a_server_takes_changed_weights_for_a_changed_model(model: Path) -> None:
    def ask(port: int) -> tuple[str, list[float]]:
        feed = {
            "name": "images",
            "shape": [1, 3, 32, 32],
            "datatype": "FP32",
            "data": PIXELS.ravel().tolist(),
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v2/models/vit/infer", json.dumps({"inputs": [feed]}).encode()
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            answer = json.load(response)
        return answer["model_version"], answer["outputs"][0]["data"]

    expected = answers(model)
    with serve.running([str(model)], port=0, grpc_port=None, poll_s=0.02) as server:
        port = server.state.port
        version, before = ask(port)
        np.testing.assert_allclose(before, expected[0], atol=1e-5)
        zeroed(files_of(model)[1])
        deadline = time.monotonic() + 300
        while ask(port)[0] == version:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        np.testing.assert_allclose(ask(port)[1], answers(model)[0], atol=1e-6)
    assert np.abs(answers(model) - expected).max() > 0.1


def test_inspect_counts_all_of_the_model(model: Path) -> None:
    before = inspect(model)
    assert before.size_bytes == sum(file.stat().st_size for file in files_of(model))
    zeroed(files_of(model)[1])
    assert inspect(model).sha256 != before.sha256
