"""Products that saturate on processors without VNNI, and what is done about them at load."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.cpu import cpu_class
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort import rewrites
from deploykit_runtimes.ort.rewrites import SEPARATE_BIASES, rewrite
from deploykit_runtimes.ort.saturation import keeps_signed, widen_products
from deploykit_runtimes.ort.unsigned import make_unsigned
from onnx import TensorProto, helper, numpy_helper

INT8 = Path(__file__).parents[2] / "golden" / "int8"
BLOCKS = [
    dict(line.split("\t", 1) for line in text.splitlines())
    for text in (INT8 / "index.txt").read_text(encoding="utf-8").split("\n\n")
]
CHANNELS = 64
SPEC = ModelSpec(
    task="features",
    family="any",
    variant="v",
    origin="o",
    input=InputSpec(height=8, width=8, channels=CHANNELS),
    preprocess=Preprocess(color="as_is", mean=(0.0,) * CHANNELS, std=(1.0,) * CHANNELS),
    output=OutputSpec(names=("out",), layout="features"),
)
EXACT = EngineOptions(exact=True, threads=1)


def model(kind: str, weight: int, *, point: int | np.uint8 = 0, ours: bool = True) -> bytes:
    """One product with equal weights, of which a channel has those of the other sign."""
    zero = np.array(point, np.int8 if isinstance(point, int) else np.uint8)
    sides = {"Conv": (CHANNELS, CHANNELS, 1, 1), "MatMul": (8, CHANNELS), "Gemm": (CHANNELS, CHANNELS)}[kind]
    weights = np.full(sides, weight, np.int8)
    outputs = sides[0] if kind == "Conv" else sides[1]
    tensors = {
        "s": np.array(1 / 127, np.float32),
        "z": zero,
        "w": weights,
        "ws": np.full(outputs, 1 / 127, np.float32),
        "wz": np.zeros(outputs, np.int8),
        "t": np.array(CHANNELS / 127, np.float32),
        "flat": np.array([-1, CHANNELS], np.int64),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0 if kind == "Conv" else 1),
    ]
    if kind == "Gemm":
        nodes.append(helper.make_node("Reshape", ["d", "flat"], ["r"]))
        nodes += [
            helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
            helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["rd"]),
        ]
    nodes += [
        helper.make_node(kind, ["rd" if kind == "Gemm" else "d", "wd"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "t", "z"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "t", "z"], ["out"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, CHANNELS, 8, 8])
    graph = helper.make_graph(
        nodes,
        "g",
        [image],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    if ours:
        helper.set_model_props(made, spec_to_metadata(SPEC))
    content: bytes = made.SerializeToString()
    return content


@pytest.fixture
def without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on such a processor; there the engine is right too, if it multiplies what it is given."""
    monkeypatch.setattr(rewrites, "processor_saturates", lambda: True)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block["model"])
def test_a_graph_changes_as_the_vectors_say(block: dict[str, str]) -> None:
    content = (INT8 / block["model"]).read_bytes()
    changed = make_unsigned(content) or content
    wide = widen_products(changed)
    assert (wide is None) == (block["wide"] == "-")
    if wide is not None:
        assert hashlib.sha256(wide).hexdigest() == block["wide"]
        onnx.checker.check_model(onnx.load_from_string(wide), full_check=True)
    assert keeps_signed(memoryview(wide or changed)) == (block["signed"] == "1")
    assert keeps_signed(memoryview(content)) == (block["exact"] == "1")


@pytest.mark.skipif(cpu_class() != "no-vnni", reason="this processor adds products of bytes in 32 bits")
def test_onnx_runtime_alone_saturates_here(tmp_path: Path) -> None:
    """If it no longer does, none of this is needed."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    content = make_unsigned(model("Conv", 127)) or b""
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": np.ones((1, CHANNELS, 8, 8), np.float32)})
    assert found.max() < 0.9 * CHANNELS


@pytest.mark.parametrize("options", [EngineOptions(threads=1), EXACT], ids=["rewritten", "exact"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", ["Conv", "Gemm", "MatMul"])
def test_no_product_saturates(
    kind: str, sign: int, options: EngineOptions, tmp_path: Path, without_vnni: None
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(kind, sign * 127))
    images = np.ones((1, CHANNELS, 8, 8), np.float32)
    with open_runner(path, options=options) as runner:
        placement = runner.placement()
        (found,) = runner.infer({"images": images}).values()
    wanted = 8 if kind == "MatMul" else CHANNELS
    assert np.abs(found - sign * wanted).max() <= 0.51 * CHANNELS / 127
    if options.exact:
        assert placement.rewrites == ()
        assert dict(placement.settings) == {"session.qdqisint8allowed": "1"}
        assert str(placement).endswith(", session.qdqisint8allowed=1")
    else:
        assert placement.rewrites == ("unsigned_activations", "unsigned_weights")
        assert dict(placement.settings) == SEPARATE_BIASES


def test_weights_of_seven_bits_stay(tmp_path: Path, without_vnni: None) -> None:
    path = tmp_path / "model.onnx"
    for weight in (64, -64):
        path.write_bytes(model("Conv", weight))
        assert rewrite(path, EngineOptions()).names == ("unsigned_activations",)
        assert rewrite(path, EXACT) == rewrites.Rewritten()


def test_with_vnni_weights_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrites, "processor_saturates", lambda: False)
    path = tmp_path / "model.onnx"
    path.write_bytes(model("Conv", 127))
    assert rewrite(path, EngineOptions()).names == ("unsigned_activations",)
    assert rewrite(path, EXACT) == rewrites.Rewritten()


def test_files_by_others_have_right_products_too(tmp_path: Path, without_vnni: None) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(model("Conv", 127, point=np.uint8(128), ours=False))
    assert rewrite(path, EngineOptions()).names == ("unsigned_weights",)
    path.write_bytes(model("Conv", 127, ours=False))
    found = rewrite(path, EngineOptions())
    assert found.names == ()  # no kernel takes signed activations and unsigned weights
    assert dict(found.settings) == {"session.qdqisint8allowed": "1"}


def test_large_files_are_right_and_slower(
    tmp_path: Path, without_vnni: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model("Conv", 127))
    monkeypatch.setattr(rewrites, "_LARGEST", 100)
    found = rewrite(path, EngineOptions())
    assert found.model is None
    assert dict(found.settings) == {"session.qdqisint8allowed": "1"}


def test_other_architectures_get_the_file(
    tmp_path: Path, without_vnni: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model("Conv", 127))
    monkeypatch.setattr(rewrites.platform, "machine", lambda: "aarch64")
    assert rewrite(path, EngineOptions()) == rewrites.Rewritten()


@pytest.mark.parametrize(("weight", "vnni"), [(127, False), (64, False), (127, True)])
def test_openvino_tells_where_products_saturate(
    weight: int, vnni: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploykit_runtimes.ort.saturation.cpu_class", lambda: "vnni" if vnni else "no-vnni")
    path = tmp_path / "model.onnx"
    path.write_bytes(model("Conv", weight))
    with open_runner(path, runtime="ov-cpu") as runner:
        assert runner.placement().precision == "int8"
        assert runner.placement().saturates == (weight == 127 and not vnni)


def test_a_float_file_is_not_searched(tmp_path: Path, without_vnni: None) -> None:
    spec = replace(SPEC, variant="float")
    nodes = [helper.make_node("Identity", ["images"], ["out"])]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CHANNELS, 8, 8])
        for name in ("images", "out")
    ]
    made = helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:]), ir_version=8)
    helper.set_model_props(made, spec_to_metadata(spec))
    onnx.save(made, tmp_path / "float.onnx")
    assert rewrite(tmp_path / "float.onnx", EngineOptions()) == rewrites.Rewritten()
