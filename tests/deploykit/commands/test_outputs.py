"""``--outputs``: what the outputs of other exporters' files mean, in every command that answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.errors import ModelError, OptionError
from PIL import Image

import deploykit
from deploykit.cli import main
from deploykit.package import package
from deploykit.serve import running
from deploykit.serve.options import ServeOptions

Output = pytest.CaptureFixture[str]


@pytest.fixture
def unclear(golden: Path) -> str:
    """A head [1, 7, 84] for images of 64x64, of which the file says nothing."""
    return str(golden / "cpp" / "foreign_unclear.onnx")


@pytest.fixture
def picture(tmp_path: Path, photos: dict[str, np.ndarray]) -> str:
    Image.fromarray(photos["cat"]).save(tmp_path / "cat.png")
    return str(tmp_path / "cat.png")


def test_predict(unclear: str, picture: str, capsys: Output) -> None:
    assert main(["predict", unclear, picture]) == 5
    error = capsys.readouterr().err
    assert "output0 float32 [1, 7, 84] may be yolo (3 classes), yolo-obb (2 classes)" in error
    assert "Say which: --outputs yolo, yolo-obb" in error
    assert main(["predict", unclear, picture, "--outputs", "yolo", "--json"]) == 0
    captured = capsys.readouterr()
    assert "Assumed: YOLO's pre-processing" in captured.err
    boxes = json.loads(captured.out)["results"][0]["detections"]
    assert len(boxes) > 10
    with deploykit.load(unclear, outputs="yolo") as model:
        assert len(model.predict(picture)) == len(boxes)


def test_every_engine_is_told(unclear: str, picture: str, capsys: Output) -> None:
    pytest.importorskip("openvino")
    assert main(["predict", unclear, picture, "--runtime", "ov-cpu"]) == 5
    assert main(["predict", unclear, picture, "--runtime", "ov-cpu", "--outputs", "yolo", "--json"]) == 0
    boxes = json.loads(capsys.readouterr().out)["results"][0]["detections"]
    with deploykit.load(unclear, outputs="yolo") as model:
        assert len(model.predict(picture)) == len(boxes)


@pytest.mark.parametrize(
    ("outputs", "code", "said"),
    [
        ("end2end", 2, "wants [N, K, 6], found output0 float32 [1, 7, 84]"),
        ("yolov4", 2, "--outputs is one of logits"),
        ("yolo-pose", 2, "--outputs yolo-pose:17x3"),
        ("yolo-pose:17x3", 2, "wants [N, 4 + C + J * D, A]"),
        ("features", 0, "features"),
    ],
)
def test_what_does_not_fit(
    outputs: str, code: int, said: str, unclear: str, picture: str, capsys: Output
) -> None:
    assert main(["predict", unclear, picture, "--outputs", outputs]) == code
    captured = capsys.readouterr()
    assert said in captured.err if code else "output0 [7, 84]" in captured.out


def test_inspect_is_the_rehearsal(unclear: str, tmp_path: Path, capsys: Output) -> None:
    assert main(["inspect", unclear]) == 0
    output = capsys.readouterr().out
    assert "outputs may be" in output
    assert "yolo-obb (2 classes)" in output
    assert main(["inspect", unclear, "--outputs", "yolo", "--json"]) == 0
    spec = json.loads(capsys.readouterr().out)["spec"]
    assert (spec["output"]["layout"], spec["readings"]) == ("yolo", None)
    assert deploykit.inspect(unclear, outputs="yolo-obb").spec.task == "obb"
    (tmp_path / "weights.pt").write_bytes(b"PK")
    assert main(["inspect", str(tmp_path / "weights.pt"), "--outputs", "yolo"]) == 2
    with pytest.raises(OptionError, match="checkpoint"):
        deploykit.inspect(tmp_path / "weights.pt", outputs="yolo")


def test_bench_runs_tensors_whatever_they_mean(unclear: str) -> None:
    assert main(["bench", unclear, "--runs", "2", "--warmup", "0"]) == 0
    assert main(["bench", unclear, "--runs", "2", "--warmup", "0", "--outputs", "yolo"]) == 0
    report = deploykit.bench(unclear, outputs="yolo", runs=1, warmup=0)
    assert report.model["task"] == "detect"
    assert main(["bench", unclear, "--outputs", "end2end"]) == 2


def test_serve(unclear: str, golden: Path, tmp_path: Path) -> None:
    own = str(golden / "cpp" / "yolo.onnx")
    shared = {"port": 0, "grpc_port": None}
    with running([f"head={unclear}", own], outputs="head=yolo", **shared) as server:
        tasks = {model.name: model.spec.task for model in server.repository.models}
        assert tasks == {"head": "detect", "yolo": "detect"}
    with pytest.raises(ModelError, match="may be yolo"), running(unclear, **shared):
        pass
    with pytest.raises(OptionError, match="no model is named 'heat'"):
        running(f"head={unclear}", outputs="heat=yolo", **shared)
    with pytest.raises(OptionError, match="one of logits"):
        ServeOptions(outputs=("head=yolov4",))
    options = ServeOptions(outputs=("a=yolo", "end2end"))
    assert (options.outputs_of("a"), options.outputs_of("b")) == ("yolo", "end2end")


def test_packages_need_a_meaning_where_they_answer(unclear: str, tmp_path: Path) -> None:
    shutil.copy(unclear, tmp_path / "head.onnx")
    with pytest.raises(ModelError, match="may be yolo"):
        package("docker", tmp_path / "head.onnx", tmp_path / "docker")
    assert package("triton", tmp_path / "head.onnx", tmp_path / "triton").files


def test_a_file_of_our_own_is_not_argued_with(golden: Path, picture: str, capsys: Output) -> None:
    own = str(golden / "cpp" / "yolo.onnx")
    assert main(["predict", own, picture, "--outputs", "yolo"]) == 0
    assert main(["predict", own, picture, "--outputs", "yolov5"]) == 2
    assert "contradicts the model's own metadata, which says yolo (detect)" in capsys.readouterr().err
