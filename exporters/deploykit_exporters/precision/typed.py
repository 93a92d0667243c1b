"""The typed graph: float16 nodes and weights, float32 inputs and outputs, and a ``Cast`` where they meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from deploykit_exporters.precision.float_graph import Choice, FloatGraph, HalfNode, same_model

if TYPE_CHECKING:
    import onnx

__all__ = ["cast_count", "typed_graph"]

_FLOAT, _FLOAT16 = 1, 10


def typed_graph(graph: FloatGraph, half: Collection[int]) -> onnx.ModelProto:
    """The model with some nodes in float16.

    A value keeps its name in float32, so that inputs, outputs and what loops read are found by it; in float16
    it is ``NAME/fp16``. A weight that is read in float16 alone keeps its name.

    Args:
        graph: The float32 graph.
        half: The places of the nodes that compute in float16.
    """
    choice = Choice(graph, half)
    model = same_model(graph.model)
    out = model.graph
    names = {name: _half(name) for name in choice.made | choice.read}
    names.update({name: name for name in choice.read & graph.weights.keys() - choice.wide})
    choice.add_weights(out, names, lambda values: values.astype(np.float16))
    for value in graph.model.graph.input:
        if choice.is_cast_down(value.name):
            out.node.append(_cast(value.name, names[value.name], _FLOAT16))
    for place, node in enumerate(graph.model.graph.node):
        out.node.append(_node(node, choice.half.get(place), names))
        for name in node.output:
            if name in choice.made and name in choice.wide:
                out.node.append(_cast(names[name], name, _FLOAT))
            elif choice.is_cast_down(name):
                out.node.append(_cast(name, names[name], _FLOAT16))
    for info in graph.model.graph.value_info:
        if info.name in choice.made:
            copied = out.value_info.add()
            copied.CopyFrom(info)
            copied.name = names[info.name]
            copied.type.tensor_type.elem_type = _FLOAT16
        if info.name not in choice.made or info.name in choice.wide:
            out.value_info.append(info)
    return model


def _node(node: onnx.NodeProto, half: HalfNode | None, names: Mapping[str, str]) -> onnx.NodeProto:
    copy = type(node).FromString(node.SerializeToString())
    if half is not None:
        for index in half.inputs:
            copy.input[index] = names[node.input[index]]
        for index in half.outputs:
            copy.output[index] = names[node.output[index]]
        if node.op_type == "Cast" and half.outputs:
            next(each for each in copy.attribute if each.name == "to").i = _FLOAT16
    return copy


def cast_count(model: onnx.ModelProto) -> int:
    """How many casts between float32 and float16 a typed graph has."""
    return sum(
        node.op_type == "Cast" and node.name.startswith((_HALVED, _WIDENED)) for node in model.graph.node
    )


_HALVED, _WIDENED = "to_fp16/", "to_fp32/"


def _half(name: str) -> str:
    return f"{name}/fp16"


def _cast(name: str, result: str, to: int) -> onnx.NodeProto:
    from onnx import helper

    value = name if to == _FLOAT16 else result
    return helper.make_node(
        "Cast", [name], [result], name=f"{_HALVED if to == _FLOAT16 else _WIDENED}{value}", to=to
    )
