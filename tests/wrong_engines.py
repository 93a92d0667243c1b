"""Wrong engines, as faults planted in a model file: ``python wrong_engines.py MODEL FOLDER`` writes one each.

An engine that computes something else than its file says is a file that says something else: whoever runs
it, in Python or C++, has the answers of the wrong engine and the golden cases of the right one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from deploykit_runtimes.contract.metadata import spec_from_metadata
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.selftest.cases import KeptRows
from deploykit_runtimes.selftest.inputs import feeds_of
from deploykit_runtimes.selftest.run import golden_cases
from onnx import TensorProto, helper, numpy_helper

PRODUCTS = ("Conv", "Gemm", "MatMul")
MANTISSA_DROPPED = 13


def weights_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def products(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, onnx.TensorProto]]:
    """Convolutions and matrix products of the network, with their weights."""
    known = weights_of(model)
    found = []
    for node in model.graph.node:
        if node.op_type in PRODUCTS and not node.name.startswith(("preprocess/", "postprocess/")):
            found += [(node, known[name]) for name in node.input[1:2] if name in known]
    return found


def change(tensor: onnx.TensorProto, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    values = edit(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


def one_weight(model: onnx.ModelProto) -> None:
    """One weight of a dense layer in the middle of the network has the wrong sign."""
    found = [(node, tensor) for node, tensor in products(model) if tensor.dims[1] > 1]
    _, tensor = found[len(found) // 2]

    def edit(values: np.ndarray) -> np.ndarray:
        values.flat[np.abs(values).argmax()] *= -1
        return values

    change(tensor, edit)


def one_bias(model: onnx.ModelProto) -> None:
    """One bias in the second half of the network is off by the spread of its weights."""
    known = weights_of(model)
    biased = [(node, known[node.input[2]], w) for node, w in products(model) if len(node.input) > 2]
    if not biased:  # matrix products whose bias is added behind them
        adds = [node for node in model.graph.node if node.op_type == "Add"]
        biased = [(node, known[name], known[name]) for node in adds for name in node.input if name in known]
    _, bias, weights = biased[len(biased) * 2 // 3]
    spread = float(numpy_helper.to_array(weights).std()) or 0.1

    def edit(values: np.ndarray) -> np.ndarray:
        values.flat[values.size // 2] += spread
        return values

    change(bias, edit)


def channel_order(model: onnx.ModelProto) -> None:
    """The first layer takes blue for red."""
    _, tensor = products(model)[0]

    def edit(values: np.ndarray) -> np.ndarray:
        return values[:, ::-1] if values.ndim == 4 else values[::-1]

    change(tensor, edit)


def swapped_classes(model: onnx.ModelProto) -> None:
    """Two classes change places in every last layer that has them, one of which the golden cases show."""
    found, shown = False, _best_class(model)
    count = int({entry.key: entry.value for entry in model.metadata_props}["deploykit.num_classes"])
    for node, tensor in reversed(products(model)):
        shape = tuple(tensor.dims)
        sides = {"Conv": [0], "Gemm": [0, 1], "MatMul": [len(shape) - 1]}[node.op_type]
        axis = next((axis for axis in sides if shape[axis] == count), None)
        if axis is None:
            continue
        order = list(range(count))
        order[shown], order[shown - 1] = order[shown - 1], order[shown]
        for each, along in [(tensor, axis), *((weights_of(model)[name], -1) for name in node.input[2:])]:
            change(each, partial(np.take, indices=order, axis=along))
        found = True
        if node.op_type != "Conv":
            return
    assert found, "no layer has as many outputs as there are classes"


def _best_class(model: onnx.ModelProto) -> int:
    """The class that the first golden case shows best; 0 where boxes have classes."""
    spec = _spec(model)
    kept = golden_cases(spec)[0].kept[0]
    if isinstance(kept, KeptRows):
        return int(kept.rows[0, 1]) if len(kept.rows) else 0
    return int(kept.best[0]) if spec.task == "classify" else 0


def _spec(model: onnx.ModelProto) -> ModelSpec:
    return spec_from_metadata({entry.key: entry.value for entry in model.metadata_props})


def tf32(model: onnx.ModelProto) -> None:
    """The weights of every product rounded as TF32 does it; the other factor stays exact."""
    for _, tensor in products(model):

        def edit(values: np.ndarray) -> np.ndarray:
            bits = values.astype(np.float32).view(np.uint32)
            half = np.uint32((1 << (MANTISSA_DROPPED - 1)) - 1) + ((bits >> MANTISSA_DROPPED) & 1)
            return ((bits + half) >> MANTISSA_DROPPED << MANTISSA_DROPPED).view(np.float32)

        change(tensor, edit)


def saturation(model: onnx.ModelProto) -> None:
    """One layer in 8 bits whose pairs of products saturate in 16, as on CPUs without VNNI: what comes out of
    it is cut off at what the 16 bits hold."""
    found = products(model)
    node, _ = found[len(found) // 2]
    outputs = node.output[0]
    limit = _largest(model, outputs) * 0.3
    for name, value in (("saturation/low", -limit), ("saturation/high", limit)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    node.output[0] = f"{outputs}/unsaturated"
    clip = helper.make_node(
        "Clip", [node.output[0], "saturation/low", "saturation/high"], [outputs], name="saturation"
    )
    at = next(index for index, each in enumerate(model.graph.node) if node.output[0] in each.output)
    model.graph.node.insert(at + 1, clip)


def _largest(model: onnx.ModelProto, name: str) -> float:
    """The largest value of a tensor on the first golden case."""
    import onnxruntime

    spec = _spec(model)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = feeds_of(golden_cases(spec)[0], spec)
    return float(np.abs(session.run([name], feeds)[0]).max())


def wrong_resize(model: onnx.ModelProto) -> None:
    """The host resizes pictures by another filter; that of a graph cannot be changed here."""
    entries = {entry.key: entry for entry in model.metadata_props}
    assert entries["deploykit.preprocess.included"].value == "0"
    how = entries["deploykit.preprocess.interpolation"]
    how.value = "nearest" if how.value != "nearest" else "bilinear"


FAULTS: dict[str, Callable[[onnx.ModelProto], None]] = {
    "one weight": one_weight,
    "one bias": one_bias,
    "channel order": channel_order,
    "swapped classes": swapped_classes,
    "TF32": tf32,
    "INT8 saturation": saturation,
    "wrong resize": wrong_resize,
}


def planted(right: Path, fault: str, wrong: Path) -> Path:
    """Write a model with a fault; its golden cases are those of the right one."""
    model = onnx.load(right)
    FAULTS[fault](model)
    onnx.save(model, wrong)
    return wrong


if __name__ == "__main__":
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir(exist_ok=True)
    for name in FAULTS:
        planted(source, name, folder / f"{name.replace(' ', '_')}.onnx")
