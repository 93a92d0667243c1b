"""Exported models to convert, and small graphs made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from onnx import TensorProto, helper, numpy_helper

Exported = Callable[..., Path]
Graph = Callable[..., onnx.ModelProto]

CHECKPOINTS = {
    "vit": "fixtures/trained/vit.pth.tar",
    "detect": "fixtures/trained/detect.pt",
    "segment": "fixtures/trained/segment.pt",
    "pose": "fixtures/trained/pose.pt",
    "crossformer": "golden/crossformer/crossformer.pth",
    "efficientnet": "fixtures/mmpretrain_efficientnet.pth",
}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dynamic": {"dynamic": ("all",)},
    "whole": {"dynamic": ("all",), "preprocess": True, "postprocess": True},
}


@pytest.fixture(scope="session")
def exported(golden: Path, ultralytics_file: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A float32 file of a family in a form; made once, not to be changed. Ultralytics' names are of random
    weights."""
    folder = tmp_path_factory.mktemp("float32")

    def get(family: str, form: str = "plain") -> Path:
        path = folder / f"{family}-{form}.onnx"
        if not path.exists():
            trained = family in CHECKPOINTS
            source = golden.parent / CHECKPOINTS[family] if trained else ultralytics_file(family)[0]
            size = None if trained else (160, 160)
            export(source, ExportOptions(output=path, witness=False, imgsz=size, **FORMS[form]))
        return path

    return get


@pytest.fixture
def graph() -> Graph:
    """A graph from x float32 [2, 8] to y, of nodes and float32 weights."""

    def make(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "columns"])
        stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
        made = helper.make_graph(nodes, "made", [x], [y], stored)
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

    return make


@pytest.fixture
def overflowing(exported: Exported, tmp_path: Path) -> Path:
    """A ViT whose first two normalisations give numbers beyond 65504, which the layers behind them undo: in
    float32 its answers are those of the ViT."""
    model = onnx.load(str(exported("vit")))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def times(name: str, factor: float) -> None:
        values = numpy_helper.to_array(weights[name]) * np.float32(factor)
        weights[name].CopyFrom(numpy_helper.from_array(values, name))

    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"][:2]
    for norm in norms:
        (reshape,) = (node for node in model.graph.node if norm.output[0] in node.input)
        (product,) = (node for node in model.graph.node if reshape.output[0] in node.input)
        assert product.op_type == "Gemm"
        times(norm.input[1], 1e5)
        times(norm.input[2], 1e5)
        times(product.input[1], 1e-5)
    path = tmp_path / "overflowing.onnx"
    onnx.save(model, path)
    return path
