"""Simplifying a graph in a file gives the graph that simplifying it in memory gives."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from deploykit_exporters.export import exportable
from deploykit_exporters.families.base import Hints
from deploykit_exporters.graph import storage
from deploykit_exporters.graph.onnx_export import export_graph, simplify, simplify_file
from deploykit_exporters.load import load_checkpoint

FIXTURES = Path(__file__).parents[2] / "fixtures"
CHECKPOINTS = (
    "mmpretrain_vit.pth",
    "trained/crossformer.pth",
    "mmpretrain_efficientnet_v2.pth",
    "yolox_plain.pth",
)


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("apart", [False, True])
def test_in_a_file_as_in_memory(
    name: str, apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = load_checkpoint(FIXTURES / name, Hints()).built
    own = export_graph(exportable(built, built.spec), built.spec, exporter=built.exporter, opset=18)
    in_memory = simplify(own)
    if apart:
        monkeypatch.setattr(storage, "SINGLE_FILE_LIMIT", 10_000)
    storage.store(own, tmp_path / "own.onnx")
    assert len(list(tmp_path.iterdir())) == 1 + apart
    assert simplify_file(tmp_path / "own.onnx") == in_memory


def test_an_onnxsim_that_writes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxsim

    def older(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
        return model, True

    node = onnx.helper.make_node("Identity", ["in"], ["out"])
    values = [onnx.helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, [1]) for each in ("in", "out")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:]))
    storage.store(model, tmp_path / "own.onnx")
    monkeypatch.setattr(onnxsim, "simplify", older)
    assert simplify_file(tmp_path / "own.onnx") == model
