"""A file of low precision that runs where it was not made for: each command warns once."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, PrecisionRecord, Preprocess
from onnx import helper
from PIL import Image

from deploykit.cli import main
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository

Output = pytest.CaptureFixture[str]

GRAPH = """
<ir_version: 8, opset_import: ["": 18]>
g (float[1, 3, 2, 2] images) => (float[1, 12] logits)
{
    logits = Flatten (images)
}
"""
SAID = "The int8 file was made for trt and runs on ort-cpu"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture(params=["trt", "any"])
def target(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def model(target: str, tmp_path: Path) -> Path:
    spec = ModelSpec(
        task="classify",
        family="any",
        variant="pixels",
        origin="any",
        input=InputSpec(height=2, width=2),
        preprocess=Preprocess(resize="stretch", resize_to=(2, 2)),
        output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
        num_classes=12,
        precision=PrecisionRecord(compute="int8", target=target),
    )
    graph = onnx.parser.parse_model(GRAPH)
    helper.set_model_props(graph, spec_to_metadata(spec))
    onnx.save(graph, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_predict(model: Path, target: str, picture: Path, capsys: Output) -> None:
    assert main(["predict", str(model), str(picture), str(picture)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.count(f"warning {SAID}") == (target == "trt")


def test_bench(model: Path, target: str, capsys: Output) -> None:
    assert main(["bench", str(model), "--runs", "2", "--warmup", "1", "--batch", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["warnings"]
    assert sum(text.startswith(SAID) for text in found) == (target == "trt")


def test_serve(model: Path, target: str, caplog: pytest.LogCaptureFixture) -> None:
    async def load() -> None:
        repository = Repository({"pixels": model}, ServeOptions(), on_event=lambda _: None)
        await repository.start()
        await repository.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(load())
    assert caplog.text.count(f"pixels: {SAID}") == (target == "trt")
