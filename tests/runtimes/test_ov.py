"""The OpenVINO adapter: the same answers as ONNX Runtime, at the precision that was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DependencyError, InputError, ModelError, RuntimeUnavailableError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.ov import _place, open_openvino
from onnx import TensorProto, helper, numpy_helper

Writer = Callable[..., Path]


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.fixture
def convolution(tmp_path: Path) -> Path:
    """A convolution that a bf16 unit computes with an error above 1e-4."""
    weight = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    value = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    result = helper.make_tensor_value_info("features", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Conv", ["images", "weight"], ["features"], pads=[1, 1, 1, 1])]
    graph = helper.make_graph(nodes, "g", [value], [result], [numpy_helper.from_array(weight, "weight")])
    path = tmp_path / "convolution.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_it_describes_itself_as_onnx_runtime_does(
    write_classifier: Writer, classifier_spec: ModelSpec
) -> None:
    path = write_classifier()
    with open_openvino(path) as runner, open_ort(path) as other:
        assert (runner.spec, runner.inputs, runner.outputs) == (other.spec, other.inputs, other.outputs)
        assert runner.spec == classifier_spec


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 3, 16, 24), (4, 3, 64, 40)])
def test_its_answers_are_those_of_onnx_runtime(convolution: Path, shape: tuple[int, ...]) -> None:
    batch = images(*shape)
    with (
        open_openvino(convolution, options=EngineOptions(strict=True)) as runner,
        open_ort(convolution) as oracle,
    ):
        found = runner.infer({"images": batch})["features"]
        expected = oracle.infer({"images": batch})["features"]
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_placement_names_the_precision_of_every_layer(convolution: Path) -> None:
    with open_openvino(convolution) as runner:
        placement = runner.placement()
    assert placement.engine == "openvino"
    assert openvino.__version__.startswith(placement.version)
    assert placement.precision == "fp32"
    assert placement.providers.keys() == {"CPU"}
    assert placement.precisions == {"fp32": placement.providers["CPU"]}


def test_a_lower_precision_is_told_and_refused_by_strict(convolution: Path) -> None:
    """What a CPU with bf16 units does by itself; others stay at FP32."""
    with open_openvino(convolution, options=EngineOptions(precision="auto")) as runner:
        lower = runner.placement().precision
    capable = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert lower == ("bf16" if capable else "fp32")
    options = EngineOptions(precision="auto", strict=True)
    if capable:
        with pytest.raises(RuntimeUnavailableError, match="layers in bf16 on cpu"):
            open_openvino(convolution, options=options)
    else:
        open_openvino(convolution, options=options).close()


@pytest.mark.parametrize("operator", ["Relu", "Identity"])
def test_inputs_stay_and_outputs_are_the_callers(tmp_path: Path, operator: str) -> None:
    """Operators that an engine likes to compute in place."""
    value = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    graph = helper.make_graph([helper.make_node(operator, ["images"], ["y"])], "g", [value], [result])
    path = tmp_path / "m.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    batch = images(1, 3, 8, 8) - 0.5
    before = batch.copy()
    batch.setflags(write=False)
    with open_openvino(path) as runner:
        first = runner.infer({"images": batch})["y"]
        kept = first.copy()
        second = runner.infer({"images": -batch})["y"]
    np.testing.assert_array_equal(batch, before)
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, batch)
    assert not np.shares_memory(first, second)
    first[:] = 0


def test_an_array_in_any_memory_order_and_a_scalar(tmp_path: Path) -> None:
    spec = ModelSpec(
        task="features",
        family="vit",
        variant="v",
        origin="timm",
        input=InputSpec(height=4, width=6),
        preprocess=Preprocess(),
        output=OutputSpec(names=("y",), layout="features"),
    )
    values = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 6]),
        helper.make_tensor_value_info("conf", TensorProto.FLOAT, []),
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 6])
    model = helper.make_model(
        helper.make_graph([helper.make_node("Mul", ["images", "conf"], ["y"])], "g", values, [result]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    helper.set_model_props(model, spec_to_metadata(spec))
    onnx.save_model(model, tmp_path / "m.onnx")
    transposed = images(1, 4, 6, 3).transpose(0, 3, 1, 2)
    with open_openvino(tmp_path / "m.onnx") as runner:
        found = runner.infer({"images": transposed, "conf": np.array(2, np.float32)})["y"]
    np.testing.assert_array_equal(found, 2 * transposed)


@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_many_threads_share_a_runner(
    write_classifier: Writer, wrong_in_threads: Callable[..., list[int]], goal: str
) -> None:
    options = EngineOptions(threads=1, goal=goal)  # type: ignore[arg-type]
    with open_openvino(write_classifier(), options=options) as runner:
        batches = [images(1 + n % 4, 3, 8 * (1 + n % 5), 16) for n in range(8)]
        assert wrong_in_threads(runner.infer, batches, 25) == []


def test_what_it_cannot_take_is_refused_before_the_engine(write_classifier: Writer) -> None:
    with open_openvino(write_classifier()) as runner:
        with pytest.raises(InputError, match=r"batch 1\.\.4"):
            runner.infer({"images": images(5, 3, 32, 32)})
        with pytest.raises(InputError, match="float64"):
            runner.infer({"images": images(1, 3, 32, 32).astype(np.float64)})


def test_a_closed_runner_says_so(write_classifier: Writer) -> None:
    runner = open_openvino(write_classifier())
    runner.close()
    with pytest.raises(InputError, match="closed"):
        runner.infer({"images": images(1, 3, 32, 32)})


def test_what_it_compiled_is_kept_in_the_cache(convolution: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    options = EngineOptions(cache=cache)
    open_openvino(convolution, options=options).close()
    first = {file.name: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert first
    with open_openvino(convolution, options=options) as runner:
        assert runner.placement().precision == "fp32"
        assert runner.infer({"images": images(1, 3, 8, 8)})["features"].shape == (1, 8, 8, 8)
    assert {file.name: file.stat().st_mtime_ns for file in cache.iterdir()} == first


@pytest.mark.parametrize("device", ["gpu", "npu"])
def test_a_device_that_is_not_there_is_an_error(
    write_classifier: Writer, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(openvino.Core, "available_devices", ["CPU"])
    with pytest.raises(RuntimeUnavailableError, match="finds only CPU") as caught:
        open_runner(write_classifier(), runtime=f"ov-{device}")
    assert "driver" in caught.value.hint


def test_of_several_gpus_the_numbered_one_is_taken() -> None:
    assert _place("gpu", 0, ["CPU", "GPU"]) == "GPU"
    assert _place("gpu", 1, ["CPU", "GPU.0", "GPU.1"]) == "GPU.1"
    assert _place("cpu", 1, ["CPU"]) == "CPU"
    with pytest.raises(RuntimeUnavailableError, match=r"GPU 1 was asked for, OpenVINO finds CPU, GPU here"):
        _place("gpu", 1, ["CPU", "GPU"])


def test_a_file_that_is_no_model_is_refused(write_classifier: Writer) -> None:
    path = write_classifier()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        open_openvino(path)


def test_an_operator_that_openvino_does_not_know_is_named(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph(
        [helper.make_node("Nonsense", ["images"], ["y"], domain="no.such")],
        "g",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("no.such", 1)]
    path = tmp_path / "m.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    with pytest.raises((ModelError, RuntimeUnavailableError), match="Nonsense"):
        open_openvino(path)


def test_without_openvino_the_pip_line_is_named(
    write_classifier: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DependencyError, match="openvino") as caught:
        open_openvino(write_classifier())
    assert "deploykit[openvino]" in caught.value.hint


def test_a_model_of_another_exporter_runs(write_classifier: Writer) -> None:
    batch = images(2, 3, 16, 16)
    with open_openvino(write_classifier(None)) as runner:
        assert runner.spec.inferred
        np.testing.assert_allclose(runner.infer({"images": batch})["logits"], batch.mean((2, 3)), atol=1e-6)


_FIRST_CALLS = """
import sys, threading
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from deploykit_runtimes.open import open_runner

images = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
together = threading.Barrier(8)
sys.setswitchinterval(1e-6)

def first(runner):
    together.wait()
    return runner.infer({"images": images})["logits"]

with open_runner(sys.argv[1], runtime="ov-cpu") as runner, ThreadPoolExecutor(8) as pool:
    found = list(pool.map(first, [runner] * 8))
assert all(np.array_equal(found[0], one) for one in found)
print("done")
"""


def test_first_calls_of_many_threads_do_not_hang(write_classifier: Callable[..., Path]) -> None:
    # In a process of its own: what OpenVINO sets up, it sets up once.
    command = [sys.executable, "-c", _FIRST_CALLS, str(write_classifier())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "done\n", done.stderr


def test_openvino_reports_nothing(tmp_path: Path) -> None:
    """Its package for that would fork a process on import, and ask the user in a folder of its own."""
    code = (
        "import sys; from deploykit_runtimes.ov import load_openvino; load_openvino()\n"
        "assert 'multiprocessing.process' not in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
        "import openvino_telemetry"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or "No module named 'openvino_telemetry'" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []
