"""Models that make gigabytes of a few bytes, through operators whose sizes nobody works out ahead.

Each carries a valid contract and a graph of few nodes, so all readers take it: what it asks for shows when it
is loaded or run. ``python bombs.py FOLDER`` writes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hostile_models import CONTRACT
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["BOMBS"]

_MANY = 1 << 33
_SIDE = 120_000
_Node = Callable[..., NodeProto]
_node: _Node = helper.make_node


def bomb(
    nodes: Sequence[NodeProto],
    stored: Mapping[str, Any],
    *,
    opset: int = 18,
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    """A model whose nodes make ``y``, of which a number reaches the answer."""
    graph = helper.make_graph(
        [
            _node("GlobalAveragePool", ["images"], ["pooled"]),
            _node("Flatten", ["pooled"], ["colour"]),
            *nodes,
            _node("Cast", ["y"], ["numbers"], to=TensorProto.FLOAT),
            _node("ReduceMax", ["numbers"], ["largest"], keepdims=0),
            _node("Add", ["colour", "largest"], ["logits"]),
        ],
        "bomb",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("own", 1)],
        functions=list(functions),
        ir_version=8,
    )
    helper.set_model_props(model, CONTRACT)
    content: bytes = model.SerializeToString()
    return content


def _whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def _single(operator: str, *stored: Any, opset: int = 18, **attributes: Any) -> bytes:
    names = [f"c{index}" for index in range(len(stored))]
    node = _node(operator, names, ["y"], **attributes)
    return bomb([node], dict(zip(names, stored, strict=True)), opset=opset)


def _sized_by(*nodes: NodeProto, **stored: Any) -> bytes:
    """A tensor whose size comes through other arithmetic than shapes have."""
    return bomb([*nodes, _node("ConstantOfShape", ["size"], ["y"])], stored)


def _doubled(first: str) -> bytes:
    """Twice as many values in each of 28 steps, through two operators that keep the size."""
    nodes, before = [], first
    for step in range(28):
        nodes += [
            _node("Softplus", [before], [f"a{step}"]),
            _node("Softsign", [before], [f"b{step}"]),
            _node("Concat", [f"a{step}", f"b{step}"], [f"y{step}"], axis=0),
        ]
        before = f"y{step}"
    nodes[-1].output[0] = "y"
    flat = [_node("Reshape", ["images", "flat"], ["line"])]
    return bomb([*flat, *nodes], {"flat": _whole(-1), "c": _ones(3072)})


def _body(*, scan: bool) -> onnx.GraphProto:
    """A loop's body that doubles what it carries."""
    carried = helper.make_tensor_value_info("s", TensorProto.FLOAT, None)
    made = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    if scan:
        each = helper.make_tensor_value_info("e", TensorProto.FLOAT, [])
        nodes = [_node("Expand", ["e", "large"], ["t"]), _node("Identity", ["s"], ["u"])]
        out = helper.make_tensor_value_info("u", TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "body", [carried, each], [out, made])
    count = helper.make_tensor_value_info("n", TensorProto.INT64, [])
    go, on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on"))
    nodes = [_node("Identity", ["go"], ["on"]), _node("Concat", ["s", "s"], ["t"], axis=0)]
    return helper.make_graph(nodes, "body", [count, go, carried], [on, made])


def _branch(name: str) -> onnx.GraphProto:
    made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([_node("MatMul", ["a", "b"], [name])], name, [], [made])


def _function() -> onnx.FunctionProto:
    return helper.make_function(
        "own", "Outer", ["a", "b"], ["p"], [_node("MatMul", ["a", "b"], ["p"])], [helper.make_opsetid("", 18)]
    )


def _if() -> bytes:
    node = _node(
        "If",
        ["go"],
        ["y"],
        then_branch=_branch("then"),
        else_branch=_branch("else"),
    )
    return bomb([node], {"go": np.array(True), "a": _ones(_SIDE, 1), "b": _ones(1, _SIDE)})


BOMBS: dict[str, Callable[[], bytes]] = {
    "HannWindow": lambda: _single("HannWindow", np.int64(_MANY)),
    "HammingWindow": lambda: _single("HammingWindow", np.int64(_MANY)),
    "BlackmanWindow": lambda: _single("BlackmanWindow", np.int64(_MANY)),
    "MatMul": lambda: _single("MatMul", _ones(_SIDE, 1), _ones(1, _SIDE)),
    "Gemm": lambda: _single("Gemm", _ones(_SIDE, 1), _ones(1, _SIDE)),
    "Einsum": lambda: _single("Einsum", _ones(_SIDE), _ones(_SIDE), equation="i,j->ij"),
    "Gather": lambda: _single("Gather", _ones(1, 100_000), np.zeros(200_000, np.int64), axis=0),
    "GatherND": lambda: _single("GatherND", _ones(1, 100_000), np.zeros((200_000, 1), np.int64)),
    "GridSample": lambda: _single(
        "GridSample", _ones(1, 20_000, 2, 2), np.zeros((1, 400, 1000, 2), np.float32)
    ),
    "ConvTranspose": lambda: _single(
        "ConvTranspose", _ones(1, 1, 4, 4), _ones(1, 1, 2, 2), strides=[60_000] * 2
    ),
    "ConvTranspose to a shape": lambda: _single(
        "ConvTranspose",
        _ones(1, 1, 2, 2),
        _ones(1, 1, 2, 2),
        output_shape=[_SIDE] * 2,
        strides=[_SIDE - 2] * 2,
    ),
    "MaxUnpool": lambda: _single(
        "MaxUnpool",
        _ones(1, 1, 2, 2),
        np.zeros((1, 1, 2, 2), np.int64),
        _whole(1, 1, _SIDE, _SIDE),
        kernel_shape=[2, 2],
    ),
    "CenterCropPad": lambda: _single("CenterCropPad", _ones(2, 2), _whole(_SIDE, _SIDE)),
    "Col2Im": lambda: _single(
        "Col2Im", _ones(1, 4, 4), _whole(_SIDE, _SIDE), _whole(2, 2), strides=[_SIDE - 2] * 2
    ),
    "EyeLike of a product": lambda: bomb(
        [_node("MatMul", ["a", "b"], ["p"]), _node("EyeLike", ["p"], ["y"])],
        {"a": _ones(_SIDE, 1), "b": _ones(1, _SIDE)},
    ),
    "Multinomial": lambda: _single("Multinomial", _ones(1000, 2), sample_size=1 << 24),
    "Pad along an axis": lambda: _single("Pad", _ones(2, 2), _whole(0, _MANY), np.float32(0), _whole(1)),
    "Resize of two axes": lambda: _single(
        "Resize", _ones(1, 1, 2, 2), np.array([], np.float32), _ones(2) * _SIDE, axes=[2, 3]
    ),
    "a size through Pow": lambda: _sized_by(
        _node("Pow", ["a", "b"], ["p"]),
        _node("Cast", ["p"], ["size"], to=TensorProto.INT64),
        a=np.array([2.0]),
        b=np.array([34.0]),
    ),
    "a size through TopK": lambda: _sized_by(
        _node("TopK", ["a", "k"], ["size", "i"]), a=_whole(1 << 17, 1 << 17), k=_whole(2)
    ),
    "a size through BitShift": lambda: _sized_by(
        _node("BitShift", ["a", "b"], ["p"], direction="LEFT"),
        _node("Cast", ["p"], ["size"], to=TensorProto.INT64),
        a=np.array([1], np.uint64),
        b=np.array([34], np.uint64),
    ),
    "doubled, constant": lambda: _doubled("c"),
    "doubled, of the image": lambda: _doubled("line"),
    "Loop": lambda: bomb(
        [_node("Loop", ["m", "go", "c"], ["y"], body=_body(scan=False))],
        {"m": np.int64(36), "go": np.array(True), "c": _ones(4)},
    ),
    "Scan": lambda: bomb(
        [_node("Scan", ["c", "many"], ["last", "y"], body=_body(scan=True), num_scan_inputs=1)],
        {"c": _ones(1), "many": _ones(100_000), "large": _whole(1_000_000)},
    ),
    "If": _if,
    "a function": lambda: bomb(
        [_node("Outer", ["a", "b"], ["y"], domain="own")],
        {"a": _ones(_SIDE, 1), "b": _ones(1, _SIDE)},
        functions=[_function()],
    ),
    "products of the image": lambda: bomb(
        [
            _node("Reshape", ["images", "column"], ["a"]),
            _node("Tile", ["a", "times"], ["b"]),
            _node("Transpose", ["b"], ["t"]),
            _node("MatMul", ["b", "t"], ["y"]),
        ],
        {"column": _whole(-1, 1), "times": _whole(100, 1)},
    ),
}


if __name__ == "__main__":
    for name, write in BOMBS.items():
        Path(sys.argv[1], f"{name.replace(' ', '_')}.onnx").write_bytes(write())
