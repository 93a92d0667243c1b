"""The demonstration, with the real weights and the real photo, measured only briefly."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from deploykit_runtimes.answers.results import Classification, ClassScore
from deploykit_runtimes.errors import DependencyError, ParityError

from deploykit import demonstration
from deploykit.cli import main
from deploykit.demonstration import CATS, check_cat, find_weights, run_demo


def test_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demonstration, "run_demo", partial(run_demo, seconds=0.02))
    folder = tmp_path / "made" / "here"
    assert main(["demo", "-o", str(folder)]) == 0
    output = capsys.readouterr().out
    assert " cat (" in output
    assert str(folder) in output
    files = {"model.onnx", "cat.png", "cat-labelled.png", "report.json", "report.html"}
    assert {path.name for path in folder.iterdir()} == files
    data = json.loads((folder / "report.json").read_text())
    assert data["prediction"]["top"][0]["class_id"] in CATS
    assert float(data["export"]["metadata"]["deploykit.parity.max_rel"]) < 1e-4
    assert data["export"]["metadata"]["deploykit.input.dynamic.batch"]
    rows = {row["name"]: row for row in data["benchmark"]["rows"]}
    assert set(rows) == {"torch, batch 1", "torch, batch 8", "ort-cpu, batch 1", "ort-cpu, batch 8"}
    assert {row["threads"] for row in rows.values()} == {1}
    assert rows["torch, batch 8"]["placement"]["engine"].startswith("torch")
    assert rows["ort-cpu, batch 8"]["placement"]["engine"] == "onnxruntime"
    page = (folder / "report.html").read_text()
    assert "one thread each" in output
    assert "one thread each" in page
    assert "data:image/png;base64," in page
    assert "http" not in page


def test_the_weights_are_found_without_running_their_package() -> None:
    weights = find_weights()
    assert weights.suffix == ".pth"
    assert weights.stat().st_size > 10_000_000


def test_missing_weights_name_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration, "WEIGHTS", "no-such-distribution-here")
    with pytest.raises(DependencyError) as caught:
        find_weights()
    assert "deploykit[demo]" in caught.value.hint


def test_a_cat_that_is_no_cat_fails() -> None:
    dog = Classification(
        top=(ClassScore(class_id=207, name="golden retriever", score=0.9),), image_size=(9, 9)
    )
    with pytest.raises(ParityError, match="golden retriever"):
        check_cat(dog)
