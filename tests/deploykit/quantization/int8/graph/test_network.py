"""Models of strangers in the place of the float32 file: errors that name them, and no raw names of theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.graph.loading import load_graph
from deploykit_runtimes.errors import DeploykitError, ModelError
from onnx import TensorProto, helper, numpy_helper

from deploykit.quantization.int8.graph.network import read_network
from deploykit.quantization.int8.measuring.sessions import session_returning

Change = Callable[[onnx.ModelProto], None]


def beside(location: str, **where: str) -> Change:
    """The first weights lie in another file."""

    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **where}.items():
            tensor.external_data.add(key=key, value=value)

    return change


def of_an_unknown_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "\x1b[2J"


STRANGE: dict[str, Change] = {
    "above": beside("../../../../etc/passwd"),
    "absolute": beside("/etc/passwd"),
    "a device": beside("/dev/zero"),
    "missing": beside("none.bin"),
    "no name": beside(""),
    "a name of 5,000 letters": beside("a" * 5000),
    "a name of control characters": beside("\x1b[2J"),
    "an offset below zero": beside("model.onnx", offset="-5", length="36"),
    "an offset beyond the file": beside("model.onnx", offset="99999999999999999999", length="36"),
    "a length in words": beside("model.onnx", offset="0", length="x"),
    "an unknown domain": of_an_unknown_domain,
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_model_is_a_model_error(name: str, vit: Path, tmp_path: Path) -> None:
    model = onnx.load(vit)
    STRANGE[name](model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DeploykitError) as caught:
        read_network(path)
    assert caught.value.exit_code == 5
    assert all(line.isprintable() for line in str(caught.value).splitlines())


def test_what_is_not_a_model_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="cannot be read"):
        load_graph(path)


def test_the_engine_prints_no_names_of_the_model(capfd: pytest.CaptureFixture[str]) -> None:
    """It would log the node that fails, with control characters as they are."""
    wide = numpy_helper.from_array(np.ones((1 << 20, 1), np.float32), "wide")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["wide", "x"], ["y"], name="\x1b]0;title\x07")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [wide],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = session_returning(model, ["y"])
    with pytest.raises(Exception, match="MatMul"):
        session.run(None, {"x": np.ones((1, 1 << 20), np.float32)})
    assert "\x1b" not in "".join(capfd.readouterr())
