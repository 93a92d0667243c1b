"""What is wrong with a file is said of the file; where ONNX Runtime noticed it is left out."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.ort.errors import load_error
from deploykit_runtimes.ort.runner import open_ort

GRAPH = '<ir_version: 9, opset_import: ["": 18]> g (float[1] x) => (float[1] y) { y = Relu (x) }'


def written(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_file_without_an_operator_set_is_broken(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GRAPH)
    del model.opset_import[:]
    with pytest.raises(ModelError, match=r"is not a valid ONNX model: .* failed: Missing opset in the model"):
        open_ort(written(tmp_path, model))


def test_a_later_form_of_onnx_is_named(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GRAPH)
    model.ir_version = 99
    with pytest.raises(
        ModelError, match=r"is in a newer form of ONNX .*: Unsupported model IR version: 99"
    ) as error:
        open_ort(written(tmp_path, model))
    assert "older ir_version" in error.value.hint
    assert "onnxruntime_src" not in error.value.problem


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("failed:/onnxruntime_src/a/b.cc:12 ns::f(const T&, int) Missing x.", "failed: Missing x."),
        ("failed:/onnxruntime_src/a/b.cc:12 ns::f(const T&, int)", None),
        ("/onnxruntime_src/a/b.cc:12 ns::f() Missing x.", "Missing x."),
        ("Nothing of the kind.", "Nothing of the kind."),
    ],
)
def test_where_in_its_sources_it_was_noticed_is_left_out(said: str, reason: str | None) -> None:
    error = load_error("1.0", Path("m.onnx"), "cpu", RuntimeError(said))
    assert error.problem == f"m.onnx is not a valid ONNX model: {reason or said}"
