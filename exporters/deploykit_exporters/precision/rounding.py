"""A graph as an engine computes it that rounds to float16 after every node, as float32 nodes.

ONNX Runtime's CPU provider computes float16 graphs in float32 and puts casts around them, so that a value of
70000 passes. Here each value goes to float16 and back where it is made, with infinity above 65504, and so do
the weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from deploykit_exporters.precision.float_graph import Choice, FloatGraph, HalfNode, same_model

if TYPE_CHECKING:
    import onnx

__all__ = ["EXACT", "rounded_graph", "rounded_weight"]

EXACT = frozenset(
    {
        *(
            "Concat",
            "Expand",
            "Flatten",
            "Gather",
            "GatherElements",
            "GatherND",
            "Identity",
            "MaxPool",
            "Neg",
        ),
        *("Pad", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"),
        *("Abs", "DepthToSpace", "SpaceToDepth", "Max", "Min", "Clip", "ReduceMax", "ReduceMin"),
        *("GlobalMaxPool", "TopK", "ScatterND", "ScatterElements", "Sign", "Floor", "Ceil"),
    }
)
"""Operators whose results are float16 numbers where their inputs are."""

_FLOAT, _FLOAT16 = 1, 10


def rounded_weight(values: np.ndarray) -> np.ndarray:
    """Float32 values as float16 has them, infinity beyond its range."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def rounded_graph(graph: FloatGraph, half: Collection[int]) -> onnx.ModelProto:
    """The graph in float32, with the values of some nodes rounded to float16. What is watched is an output.

    Args:
        graph: The float32 graph.
        half: The places of the nodes that compute in float16.
    """
    from onnx import helper

    choice = Choice(graph, half)
    model = same_model(graph.model)
    out = model.graph
    renamed = {name: _rounded(name) for name in choice.read if choice.is_cast_down(name)}
    renamed.update({name: _rounded(name) for name in choice.read & choice.wide & graph.weights.keys()})
    choice.add_weights(out, renamed, rounded_weight)
    for value in graph.model.graph.input:
        if choice.is_cast_down(value.name):
            out.node.extend(_round(value.name, renamed[value.name]))
    for place, node in enumerate(graph.model.graph.node):
        out.node.extend(_nodes(node, choice.half.get(place), renamed))
        for name in node.output:
            if choice.is_cast_down(name):
                out.node.extend(_round(name, renamed[name]))
    out.output.extend(helper.make_tensor_value_info(name, _FLOAT, None) for name in graph.watched)
    return model


def _nodes(node: onnx.NodeProto, half: HalfNode | None, renamed: Mapping[str, str]) -> list[onnx.NodeProto]:
    """A node, and what rounds its results."""
    copy = type(node).FromString(node.SerializeToString())
    if half is None:
        return [copy]
    rounding: list[onnx.NodeProto] = []
    for index in half.inputs:
        copy.input[index] = renamed.get(node.input[index], node.input[index])
    if node.op_type not in EXACT:
        for index in half.outputs:
            copy.output[index] = f"{node.output[index]}/unrounded"
            rounding += _round(copy.output[index], node.output[index])
    return [copy, *rounding]


def _rounded(name: str) -> str:
    return f"{name}/rounded"


def _round(name: str, rounded: str) -> list[onnx.NodeProto]:
    from onnx import helper

    between = f"{rounded}/float16"
    return [
        helper.make_node("Cast", [name], [between], to=_FLOAT16),
        helper.make_node("Cast", [between], [rounded], to=_FLOAT),
    ]
