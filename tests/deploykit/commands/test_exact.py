"""`--exact`, and what is said where the graph is not the file's own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from onnx import helper
from PIL import Image

import deploykit
from deploykit.cli import main
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository

Output = pytest.CaptureFixture[str]

GRAPH = """
<ir_version: 8, opset_import: ["": 18]>
g (float[1, 3, 2, 2] images) => (float[1, 12] logits)
{
    positive = Relu (images)
    logits = Flatten (positive)
}
"""
NODES = 2
SAID = "rewritten at load: append_ranking"
RANKED = ["append_ranking"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A classifier of twelve classes, whose ranking may be appended."""
    spec = ModelSpec(
        task="classify",
        family="any",
        variant="pixels",
        origin="any",
        input=InputSpec(height=2, width=2),
        preprocess=Preprocess(resize="stretch", resize_to=(2, 2)),
        output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
        num_classes=12,
    )
    graph = onnx.parser.parse_model(GRAPH)
    helper.set_model_props(graph, spec_to_metadata(spec))
    onnx.save(graph, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def told(command: list[str], capsys: Output) -> str:
    """What a command says, in one line of text."""
    assert main(command) == 0
    captured = capsys.readouterr()
    return " ".join(f"{captured.out} {captured.err}".split())


def document(command: list[str], capsys: Output) -> dict[str, Any]:
    assert main([*command, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_predict(model: Path, picture: Path, capsys: Output) -> None:
    command = ["predict", str(model), str(picture)]
    assert SAID in told(command, capsys)
    assert "rewritten" not in told([*command, "--exact"], capsys)
    exact, rewritten = (document([*command, *more], capsys)["placement"] for more in (["--exact"], []))
    assert (exact["rewrites"], rewritten["rewrites"]) == ([], RANKED)
    assert sum(exact["providers"].values()) == NODES < sum(rewritten["providers"].values())


@pytest.mark.parametrize("runtimes", ["ort-cpu", "ort-cpu,ov-cpu"], ids=["one", "apart"])
def test_bench(model: Path, runtimes: str, capsys: Output) -> None:
    command = ["bench", str(model), "--runs", "2", "--warmup", "1", "--runtime", runtimes]
    assert SAID in told(command, capsys)
    for more, expected in (([], RANKED), (["--exact"], [])):
        rows = document([*command, *more], capsys)["rows"]
        assert [row["placement"]["rewrites"] for row in rows] == [expected, []][: len(rows)]
    report = deploykit.bench(model, runs=2, warmup=1, engine=deploykit.EngineOptions(exact=True))
    assert report.rows[0].placement.rewrites == ()


def test_inspect(model: Path, capsys: Output) -> None:
    assert SAID in told(["inspect", str(model)], capsys)
    assert document(["inspect", str(model)], capsys)["placement"]["rewrites"] == RANKED


@pytest.mark.parametrize("exact", [False, True])
def test_serve(model: Path, exact: bool) -> None:
    async def placed() -> tuple[str, ...]:
        repository = Repository({"model": model}, ServeOptions(exact=exact), on_event=lambda _: None)
        await repository.start()
        try:
            return repository.get("model").placement().rewrites
        finally:
            await repository.close()

    assert list(asyncio.run(placed())) == ([] if exact else RANKED)


def test_verify_has_no_such_option(capsys: Output) -> None:
    assert main(["verify", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The file's own graph runs, node for node." in said
    assert "--exact" not in said
