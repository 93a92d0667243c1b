"""Models that were compiled already: what they need beside them, and who runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.builds.model_folder import read_model
from deploykit_runtimes.errors import ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.onnx.file import CompiledPart, read_onnx
from deploykit_runtimes.onnx.precompiled import runtimes_of_compiled
from deploykit_runtimes.open import open_runner
from onnx import TensorProto, helper, numpy_helper

TENSORRT = "TensorrtExecutionProvider"
OPENERS = [open_runner, read_model, lambda path: build_engine(path, runtime="ov-cpu")]

Writer = Callable[..., Path]


@pytest.fixture
def write_context(tmp_path: Path) -> Writer:
    """A model as execution providers of ONNX Runtime write it: a node that stands for the compiled graph."""

    def write(name: str = "context.onnx", **attributes: Any) -> Path:
        given = {"main_context": 1, "embed_mode": 0, "ep_cache_context": "model.engine", **attributes}
        node = helper.make_node("EPContext", ["images"], ["logits"], domain="com.microsoft", **given)
        graph = helper.make_graph(
            [node],
            "compiled",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / name)
        return tmp_path / name

    return write


def test_the_node_is_read(write_context: Writer, write_classifier: Writer) -> None:
    outside = read_onnx(write_context(source=TENSORRT))
    assert outside.compiled == (CompiledPart(source=TENSORRT, location="model.engine"),)
    inside = read_onnx(write_context(embed_mode=1, ep_cache_context="plan"))
    assert inside.compiled == (CompiledPart(),)
    assert read_onnx(write_classifier()).compiled == ()


@pytest.mark.parametrize("open_it", OPENERS)
def test_a_missing_engine_is_told(open_it: Callable[[Path], object], write_context: Writer) -> None:
    model = write_context(source=TENSORRT)
    with pytest.raises(ModelError) as error:
        open_it(model)
    engine = model.parent / "model.engine"
    assert error.value.problem == (
        f"{model} runs what {TENSORRT} compiled to model.engine, and {engine} does not exist."
    )
    assert "Put that file beside the model" in error.value.hint


def test_an_engine_that_cannot_be_read_is_told(write_context: Writer) -> None:
    model = write_context()
    engine = model.parent / "model.engine"
    engine.write_bytes(b"")
    with pytest.raises(ModelError, match=r"what an engine compiled to model\.engine, and .* is empty"):
        open_runner(model)
    engine.unlink()
    engine.mkdir()
    with pytest.raises(ModelError, match="is not a file"):
        open_runner(model)
    engine.rmdir()
    engine.symlink_to(engine)
    with pytest.raises(ModelError, match=r"model\.engine does not exist"):
        open_runner(model)


@pytest.mark.parametrize("open_it", OPENERS)
def test_missing_weights_are_told(open_it: Callable[[Path], object], tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((3, 1024), np.float32), "weight")
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "large",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1024])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "large.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="large.onnx.data")
    with open_runner(path) as runner:
        assert runner.infer({"images": np.ones((1, 3, 8, 8), np.float32)})["logits"][0, 0] == 3
    (tmp_path / "large.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"keeps its weights in large\.onnx\.data, and .* does not exist"):
        open_it(path)


@pytest.mark.parametrize(
    ("source", "runtimes"),
    [
        (TENSORRT, ("ort-trt",)),
        ("NvTensorRTRTXExecutionProvider", ("ort-rtx",)),
        ("OpenVINOExecutionProvider", ("ort-openvino-cpu", "ort-openvino-gpu", "ort-openvino-npu")),
        ("QNNExecutionProvider", ()),
    ],
)
def test_only_the_engine_that_compiled_it_runs_it(
    source: str, runtimes: tuple[str, ...], write_context: Writer
) -> None:
    model = write_context(source=source, embed_mode=1)
    assert runtimes_of_compiled(read_onnx(model)) == runtimes
    for runtime in ("ort-cpu", "ov-cpu", "trt"):
        with pytest.raises(OptionError, match=f"compiled by {source}, and {runtime} runs") as error:
            open_runner(model, runtime=runtime)
        assert all(name in error.value.hint for name in runtimes)
    with pytest.raises(ModelError, match=f"compiled already, by {source}"):
        build_engine(model, runtime="ov-cpu")


def test_a_node_without_a_source_is_left_to_the_engine(write_context: Writer) -> None:
    model = write_context(embed_mode=1)
    assert len(runtimes_of_compiled(read_onnx(model))) == 5
    with pytest.raises(RuntimeUnavailableError):  # onnxruntime of the tests has no TensorRT
        open_runner(model, runtime="ort-trt")


def test_engines_are_not_built_from_engines(tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"plan")
    with pytest.raises(ModelError, match="is an engine already"):
        build_engine(engine, runtime="trt-rtx")
