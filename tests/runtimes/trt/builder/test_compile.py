"""Real builds by TensorRT for RTX, which needs no GPU to build: targets, profiles, progress, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.build_options import BuildOptions, BuildReport
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.builds.model_folder import read_model
from deploykit_runtimes.errors import ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.onnx.model_files import hash_model
from deploykit_runtimes.runtimes import buildable_runtimes
from deploykit_runtimes.trt.engine_file import read_sidecar, sidecar_path
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")

Writer = Callable[..., Path]

_MAGIC, _CAPABILITIES = b"vtrt", 32  # where an RTX plan holds the bits of its targets


def targets(plan: Path) -> int:
    data = plan.read_bytes()
    assert data.startswith(_MAGIC)
    return int.from_bytes(data[_CAPABILITIES : _CAPABILITIES + 4], "little")


def test_a_build_says_what_it_is(write_classifier: Writer) -> None:
    model = write_classifier()
    result = build_engine(
        model, runtime="trt-rtx", options=BuildOptions(compute_capabilities=("8.6", "12.0"))
    )
    assert result.path == model.with_name("model.trt-rtx.engine")
    assert result.files == (result.path, sidecar_path(result.path))
    assert not result.reused
    assert result.size_bytes == result.path.stat().st_size > 1000
    assert targets(result.path) == 0x4 | 0x10
    sidecar = read_sidecar(result.path)
    assert sidecar is not None
    assert sidecar.model == "model.onnx"
    assert sidecar.key.onnx_sha256 == sha256_of(model)
    assert sidecar.key.capabilities == ("8.6", "12.0")
    assert sidecar.key.profiles[0]["images"].max == (4, 3, 64, 64)
    assert sidecar.file == read_model(model) == read_model(result.path)
    assert sidecar.file.spec().classes == ("red", "green", "blue")


def test_without_targets_an_engine_runs_on_every_rtx_gpu(write_classifier: Writer) -> None:
    result = build_engine(write_classifier(), runtime="trt-rtx")
    assert targets(result.path) == 0x7E
    assert result.facts["target"] == "compute capability 8.0 and later"


def test_an_engine_that_fits_is_kept(write_classifier: Writer) -> None:
    model = write_classifier()
    first = build_engine(model, runtime="trt-rtx")
    before = first.path.stat().st_mtime_ns
    again = build_engine(model, runtime="trt-rtx")
    assert again.reused
    assert again.path.stat().st_mtime_ns == before
    options = BuildOptions(shapes=("images:1x3x32x32",))
    changed = build_engine(model, runtime="trt-rtx", options=options)
    assert not changed.reused
    assert changed.reason.startswith("for images 1x3x8x8 to 4x3x64x64")
    forced = build_engine(model, runtime="trt-rtx", options=BuildOptions(shapes=options.shapes, force=True))
    assert not forced.reused
    first.path.write_bytes(b"half")
    assert build_engine(model, runtime="trt-rtx", options=options).reason == "and damaged since"


def test_a_folder_gets_the_model_too(write_classifier: Writer, tmp_path: Path) -> None:
    model = write_classifier()
    result = build_engine(model, runtime="trt-rtx", options=BuildOptions(output=tmp_path / "built"))
    names = ["model.onnx", "model.trt-rtx.engine", "model.trt-rtx.engine.json"]
    assert sorted(path.name for path in (tmp_path / "built").iterdir()) == names
    assert (tmp_path / "built" / "model.onnx").read_bytes() == model.read_bytes()
    assert json.loads(result.files[1].read_text())["model"] == "model.onnx"
    assert read_model(tmp_path / "built").nodes == 3


def test_weights_beside_the_model_go_into_the_folder_and_into_the_key(
    write_classifier: Writer, tmp_path: Path
) -> None:
    """As the exporter names those of models above 2 GB: with a part of their hash."""
    model = onnx.load(write_classifier())
    path, weights = tmp_path / "large.onnx", tmp_path / "large-0123456789ab.onnx.data"
    onnx.save_model(model, path, save_as_external_data=True, location=weights.name, size_threshold=0)
    before = hash_model(path)
    result = build_engine(path, runtime="trt-rtx", options=BuildOptions(output=tmp_path / "built"))
    assert (tmp_path / "built" / weights.name).read_bytes() == weights.read_bytes()
    assert tmp_path / "built" / weights.name in result.files
    weights.write_bytes(bytes(weights.stat().st_size))
    assert hash_model(path) != before


def test_the_model_is_found_from_an_engine_elsewhere(write_classifier: Writer, tmp_path: Path) -> None:
    model = write_classifier()
    result = build_engine(model, runtime="trt-rtx", options=BuildOptions(output=tmp_path / "a/b/m.engine"))
    sidecar = read_sidecar(result.path)
    assert sidecar is not None
    assert sidecar.model == "../../model.onnx"
    assert (result.path.parent / sidecar.model).resolve() == model.resolve()


def test_several_profiles_in_one_engine(write_classifier: Writer) -> None:
    options = BuildOptions(shapes=("images:1x3x32x32", "1x3x8x8,2x3x64x64,4x3x64x64"))
    result = build_engine(write_classifier(), runtime="trt-rtx", options=options)
    assert result.facts["shapes"] == "images 1x3x32x32 or images 1x3x8x8 to 4x3x64x64, best at 2x3x64x64"


def test_progress_moves_forward_to_the_end(write_classifier: Writer) -> None:
    steps: list[str] = []
    notes: list[str] = []
    build_engine(
        write_classifier(), runtime="trt-rtx", report=BuildReport(step=steps.append, note=notes.append)
    )
    assert steps[0] == "Looking at the model"
    assert steps[1].startswith("Building the engine with tensorrt-rtx 1.")
    shares = [int(note.partition("]")[2].partition("%")[0]) for note in notes]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 100


_INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.build_options import BuildReport

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
pressed = []

def interrupt(note):
    if not pressed:
        pressed.append(note)
        os.kill(os.getpid(), signal.SIGINT)

try:
    build_engine(Path(sys.argv[1]), runtime="trt-rtx", report=BuildReport(note=interrupt))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_stops_a_build_and_leaves_nothing(write_classifier: Writer) -> None:
    # In a process of its own: pytest's faulthandler gives signals a stack that is too small where a library
    # has turned on the CPU's matrix tiles.
    model = write_classifier()
    run = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, str(model)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


def test_tf32_and_levels_are_taken(write_classifier: Writer) -> None:
    options = BuildOptions(precision="auto", optimization_level=0)
    result = build_engine(write_classifier(), runtime="trt-rtx", options=options)
    assert result.facts["precision"] == "of the file, TF32 allowed"


def write(
    path: Path, *nodes: onnx.NodeProto, output: list[int | str], dtype: int = TensorProto.FLOAT
) -> Path:
    graph = helper.make_graph(
        nodes,
        "refused",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("y", dtype, output)],
        [numpy_helper.from_array(np.array([1, 1, 0.5, 0.5], np.float32), "half")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_a_node_that_the_parser_refuses_is_named_with_what_to_do(tmp_path: Path) -> None:
    node = helper.make_node(
        "Resize", ["images", "", "half"], ["y"], name="shrink", mode="linear", antialias=1
    )
    model = write(tmp_path / "m.onnx", node, output=["batch", 3, 16, 16])
    with pytest.raises(ModelError, match=r"node shrink \(Resize\): \(antialias == 0\)") as error:
        build_engine(model, runtime="trt-rtx")
    assert "--preprocess" in error.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_an_operator_without_a_kernel_is_named(tmp_path: Path) -> None:
    node = helper.make_node("NonZero", ["images"], ["y"], name="finder")
    model = write(tmp_path / "m.onnx", node, output=[4, "found"], dtype=TensorProto.INT64)
    with pytest.raises(ModelError, match=r"node finder \(NonZero\)") as error:
        build_engine(model, runtime="trt-rtx")
    assert "--postprocess" in error.value.hint


def test_what_the_builder_refuses_is_told(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((3 * 32 * 32, 4), np.float32), "weight")
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["y"]),
    ]
    model = onnx.load(write(tmp_path / "m.onnx", *nodes, output=["batch", 4]))
    model.graph.initializer.append(weight)
    onnx.save_model(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="FP32 GEMM is not supported") as error:
        build_engine(
            tmp_path / "m.onnx", runtime="trt-rtx", options=BuildOptions(compute_capabilities=("7.5",))
        )
    assert "Turing" in error.value.hint
    assert "/_src" not in error.value.problem


@pytest.mark.parametrize(
    ("options", "kind", "problem"),
    [
        ({"compute_capabilities": ("9.0",)}, OptionError, r"found '9\.0'"),
        ({"compatibility": "ampere+"}, OptionError, "by their compute capabilities"),
        ({"version_compatible": True}, OptionError, "no version-compatible engines"),
        ({"timing_cache": Path("x")}, OptionError, "no timings to cache"),
        ({"strip_weights": True}, RuntimeUnavailableError, "without their weights"),
        ({"shapes": ("images:9x3x32x32",)}, OptionError, r"accepts batch 1\.\.4"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_work(
    options: dict[str, object], kind: type[Exception], problem: str, write_classifier: Writer, tmp_path: Path
) -> None:
    target = tmp_path / "built" / "m.engine"
    with pytest.raises(kind, match=problem):
        build_engine(
            write_classifier(),
            runtime="trt-rtx",
            options=BuildOptions(output=target, **options),  # type: ignore[arg-type]
        )
    assert not target.parent.exists()


def test_names_and_files_are_checked(tmp_path: Path, write_classifier: Writer) -> None:
    assert {"trt", "trt-rtx"} <= set(buildable_runtimes())
    with pytest.raises(OptionError, match="found 'abacus'"):
        build_engine(write_classifier(), runtime="abacus")
    with pytest.raises(ModelError, match="is not a file"):
        build_engine(tmp_path / "missing.onnx", runtime="trt-rtx")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x09\x12")
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        build_engine(tmp_path / "broken.onnx", runtime="trt-rtx")
