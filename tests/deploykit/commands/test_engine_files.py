"""What every command says about models and engines that were compiled already."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from deploykit.cli import main

Output = pytest.CaptureFixture[str]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A model whose whole graph TensorRT compiled into ``model.engine``, which is not there."""
    node = helper.make_node(
        "EPContext",
        ["images"],
        ["logits"],
        domain="com.microsoft",
        main_context=1,
        embed_mode=0,
        ep_cache_context="model.engine",
        source="TensorrtExecutionProvider",
    )
    graph = helper.make_graph(
        [node],
        "compiled",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "context.onnx")
    return tmp_path / "context.onnx"


@pytest.fixture
def ultralytics_engine(tmp_path: Path) -> Path:
    """An engine as Ultralytics writes it: the length of a JSON, the JSON, the plan."""
    facts = {
        "description": "Ultralytics YOLO11n model",
        "stride": 32,
        "task": "detect",
        "batch": 1,
        "imgsz": [320, 416],
        "names": {str(n): f"thing {n}" for n in range(12)},
        "args": {"dynamic": False, "half": True, "nms": False},
        "channels": 3,
        "end2end": False,
    }
    text = json.dumps(facts)
    path = tmp_path / "yolo11n.engine"
    path.write_bytes(len(text).to_bytes(4, "little", signed=True) + text.encode() + b"ftrt plan")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "{model}"],
        ["predict", "{model}", "{image}"],
        ["predict", "{model}", "{image}", "--runtime", "trt"],
        ["bench", "{model}"],
        ["bench", "{model}", "--runtime", "ort-cpu,ov-cpu"],
        ["build", "{model}", "--runtime", "trt-rtx"],
        ["build", "{model}", "--runtime", "ov"],
        ["serve", "{model}", "--port", "0", "--grpc-port", "0"],
    ],
)
def test_every_command_tells_which_file_is_missing(
    arguments: list[str], context: Path, tmp_path: Path, capsys: Output
) -> None:
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image)
    assert main([word.format(model=context, image=image) for word in arguments]) == 5
    said = capsys.readouterr().err
    assert f"compiled to model.engine, and {tmp_path / 'model.engine'} does not exist." in said
    assert "Put that file beside the model" in said
    assert "ONNXRuntimeError" not in said


def test_inspect_describes_what_it_cannot_open(context: Path, capsys: Output) -> None:
    (context.parent / "model.engine").write_bytes(b"plan")
    assert main(["inspect", str(context)]) == 0
    said = capsys.readouterr().out
    assert "TensorrtExecutionProvider: --runtime ort-trt" in said
    assert "images float32 [1, 3, 8, 8]" in said
    assert "runs as" not in said
    assert main(["inspect", str(context), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["placement"] is None
    assert main(["bench", str(context)]) == 2
    assert "--runtime ort-trt" in capsys.readouterr().err


def test_inspect_describes_an_engine_by_ultralytics(ultralytics_engine: Path, capsys: Output) -> None:
    assert main(["inspect", str(ultralytics_engine)]) == 0
    said = capsys.readouterr().out
    for expected in (
        "images float16 [1, 3, 320, 416]",
        "output0 float32 [batch, 16, anchors]",
        "12: thing 0, thing 1, thing 2, thing 3, ...",
        "TensorRT, by Ultralytics: --runtime trt",
    ):
        assert expected in said


def test_an_engine_by_ultralytics_asks_for_a_gpu_only(ultralytics_engine: Path, capsys: Output) -> None:
    """Its description is read; what is missing on a machine without a GPU is the driver."""
    assert main(["bench", str(ultralytics_engine), "--trt", "--batch", "2"]) == 2
    assert "fixed to 1" in capsys.readouterr().err
    assert main(["bench", str(ultralytics_engine)]) == 2
    assert "--runtime trt" in capsys.readouterr().err


def test_a_plan_that_does_not_say_what_it_takes(tmp_path: Path, capsys: Output) -> None:
    engine = tmp_path / "plain.engine"
    engine.write_bytes(b"ftrt plan")
    assert main(["inspect", str(engine)]) == 5
    assert "no description beside it" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "missing.engine")]) == 5
    assert "does not exist" in capsys.readouterr().err
