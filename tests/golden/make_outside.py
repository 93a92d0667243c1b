"""Writes outside/: a model with tensors in files of their own, for the tests of Python and C++.

    python tests/golden/make_outside.py

``expected.txt`` has the hash of the model with its files, then the names of the files in the order of
reading. The tensors belong to a node, a graph inside a node, a function and the graph itself, where one is
sparse and one says that its values are inside.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_files import hash_model
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).with_name("outside")


def outside(location: str, name: str = "weight") -> TensorProto:
    """Three by three values that lie in another file."""
    tensor = numpy_helper.from_array(np.eye(3, dtype=np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return tensor


def model() -> onnx.ModelProto:
    """A model that names a file in every place where that is possible."""
    info = helper.make_tensor_value_info
    inner = helper.make_graph(
        [helper.make_node("Identity", ["in_branch"], ["branch"])],
        "branch",
        [],
        [info("branch", TensorProto.FLOAT, [3, 3])],
        [outside("branch.bin", "in_branch")],
    )
    indices = numpy_helper.from_array(np.arange(9))
    plain = numpy_helper.from_array(np.eye(3, dtype=np.float32), "loaded")
    plain.external_data.add(key="location", value="loaded.bin")  # left over: its values are inside
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["constant"], value=outside("node.bin")),
            helper.make_node("If", ["chosen"], ["either"], then_branch=inner, else_branch=inner),
        ],
        "outer",
        [info("chosen", TensorProto.BOOL, [])],
        [info("either", TensorProto.FLOAT, [3, 3])],
        [outside("graph.bin"), plain],
    )
    graph.sparse_initializer.append(
        helper.make_sparse_tensor(outside("values.bin", "sparse"), indices, [3, 3])
    )
    opset = helper.make_opsetid("", 18)
    constant = helper.make_node("Constant", [], ["made"], value=outside("function.bin"))
    function = helper.make_function("own", "made", [], ["made"], [constant], [opset])
    return helper.make_model(graph, opset_imports=[opset], functions=[function], ir_version=9)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "model.onnx"
    path.write_bytes(model().SerializeToString())
    names = read_onnx(path).named
    for number, name in enumerate(names):
        (FOLDER / name).write_bytes(np.full((3, 3), number, "<f4").tobytes())
    (FOLDER / "expected.txt").write_text("\n".join((hash_model(path), *names)) + "\n")


if __name__ == "__main__":
    main()
