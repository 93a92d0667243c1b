"""Writing ONNX files with compiled parts. No provider that compiles runs without its device.

What a provider would write is stood in for by a file of the same form; ONNX Runtime itself is real where a
test says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from deploykit_runtimes.build_options import BuildOptions
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.builds.ep_context import compile_context, context_beside
from deploykit_runtimes.errors import DependencyError, ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort.runner import has_nvidia_driver
from onnx import helper

Writer = Callable[..., Path]


def test_a_provider_that_compiles_nothing_is_told_by_onnxruntime(write_classifier: Writer) -> None:
    model = write_classifier()
    with pytest.raises(RuntimeUnavailableError, match="Unable to compile any nodes"):
        compile_context(onnxruntime, onnxruntime.SessionOptions(), model, context_beside(model, "ort-rtx"))
    assert list(model.parent.iterdir()) == [model]


def test_a_file_without_a_compiled_part_is_not_kept(
    write_classifier: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # ONNX Runtime writes the model as it is where it may compile nothing.
    flags = SimpleNamespace(ERROR_IF_NO_NODES_COMPILED=onnxruntime.OrtCompileApiFlags.NONE)
    monkeypatch.setattr(onnxruntime, "OrtCompileApiFlags", flags)
    model = write_classifier()
    with pytest.raises(ModelError, match="without EPContext"):
        compile_context(onnxruntime, onnxruntime.SessionOptions(), model, context_beside(model, "ort-rtx"))
    assert list(model.parent.iterdir()) == [model]


def test_an_old_onnxruntime_is_told(write_classifier: Writer) -> None:
    model = write_classifier()
    with pytest.raises(DependencyError, match=r"1\.22 or later, found 1\.21"):
        compile_context(SimpleNamespace(__version__="1.21"), None, model, context_beside(model, "ort-rtx"))


@pytest.mark.parametrize(
    ("runtime", "error", "message"),
    [
        ("ort-rtx", DependencyError, "onnxruntime-ep-nv-tensorrt-rtx, which is not installed"),
        ("ort-openvino", DependencyError, "onnxruntime-ep-openvino, which is not installed"),
        ("ort-trt", RuntimeUnavailableError, "TensorrtExecutionProvider was asked for"),
    ],
)
def test_what_cannot_compile_here_is_told(
    write_classifier: Writer, runtime: str, error: type[Exception], message: str
) -> None:
    model = write_classifier()
    with pytest.raises(error, match=message):
        build_engine(model, runtime=runtime, options=BuildOptions(output=model.with_name("built.onnx")))
    assert list(model.parent.iterdir()) == [model]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": Path("built")}, r"another \.onnx file to write, found built"),
        ({"shapes": ("images:1x3x8x8",)}, "cannot follow shapes"),
        ({"strip_weights": True}, "cannot follow strip_weights"),
    ],
)
def test_what_it_cannot_follow_is_refused(
    write_classifier: Writer, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        build_engine(write_classifier(), runtime="ort-rtx", options=BuildOptions(**options))


def test_the_model_itself_is_not_written_over(write_classifier: Writer) -> None:
    model = write_classifier()
    before = model.read_bytes()
    with pytest.raises(OptionError, match="is an input here, and would be replaced"):
        build_engine(model, runtime="ort-rtx", options=BuildOptions(output=model))
    assert model.read_bytes() == before


class Compiler:
    """Writes what a provider would: one EPContext node, and the metadata of the model."""

    def __init__(
        self, _options: Any, model: str, *, embed_compiled_data_into_model: bool, flags: int
    ) -> None:
        assert embed_compiled_data_into_model
        assert flags == int(onnxruntime.OrtCompileApiFlags.ERROR_IF_NO_NODES_COMPILED)
        self._model = onnx.load(model)

    def compile_to_file(self, path: str) -> None:
        graph = self._model.graph
        attributes = {"main_context": 1, "embed_mode": 1, "ep_cache_context": b"engine"}
        source = {"source": "NvTensorRTRTXExecutionProvider"}
        names = [[info.name for info in infos] for infos in (graph.input, graph.output)]
        node = helper.make_node("EPContext", *names, domain="com.microsoft", **attributes, **source)
        del graph.node[:], graph.initializer[:]
        graph.node.append(node)
        self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        onnx.save(self._model, path)


@pytest.fixture
def with_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(
        __version__=onnxruntime.__version__,
        ModelCompiler=Compiler,
        OrtCompileApiFlags=onnxruntime.OrtCompileApiFlags,
        capi=onnxruntime.capi,
    )
    monkeypatch.setattr("deploykit_runtimes.ort.runner.provider_session", lambda *_: (stand_in, None))


@pytest.mark.usefixtures("with_compiler")
def test_what_was_compiled_is_kept_while_it_fits(write_classifier: Writer) -> None:
    model = write_classifier()
    result = build_engine(model, runtime="ort-rtx")
    assert (result.path, result.reused) == (model.with_name("model.ort-rtx.onnx"), False)
    assert result.files == (result.path, result.path.with_name("model.ort-rtx.onnx.json"))
    compiled, whole = read_onnx(result.path), read_onnx(model)
    assert [part.source for part in compiled.compiled] == ["NvTensorRTRTXExecutionProvider"]
    assert compiled.spec() == whole.spec()
    assert build_engine(model, runtime="ort-rtx").reused
    write_classifier(metadata={"note": "changed"})
    assert "another model" in build_engine(model, runtime="ort-rtx").reason
    result.files[1].write_text(json.dumps([1]))
    assert "damaged" in build_engine(model, runtime="ort-rtx").reason


@pytest.mark.usefixtures("with_compiler")
def test_only_its_own_provider_opens_it(write_classifier: Writer) -> None:
    model = write_classifier()
    built = build_engine(model, runtime="ort-rtx").path
    with pytest.raises(OptionError, match="ort-cpu runs models that were not"):
        open_runner(built)
    with pytest.raises(DependencyError, match="ort-rtx is onnxruntime-ep-nv-tensorrt-rtx"):
        open_runner(built, runtime="ort-rtx")
    open_runner(model.parent).close()  # of the folder, the model that was compiled
    with pytest.raises(DependencyError, match="ort-rtx is"):
        open_runner(model.parent, runtime="ort-rtx")


@pytest.mark.gpu
@pytest.mark.skipif(not has_nvidia_driver(), reason="no GPU: on a machine with one, pytest -m gpu")
@pytest.mark.parametrize("runtime", ["ort-trt", "ort-rtx"])
def test_a_compiled_file_gives_the_models_answers(write_classifier: Writer, runtime: str) -> None:
    model = write_classifier()
    built = build_engine(
        model, runtime=runtime, options=BuildOptions(output=model.with_name("built.onnx"))
    ).path
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    with open_runner(built, runtime=runtime, strict=True) as runner:
        found = runner.infer({"images": images})["logits"]
    np.testing.assert_allclose(found, images.mean((2, 3)), rtol=1e-4, atol=1e-5)
