"""The float32 part of a graph: its values and weights, the nodes that can be float16, and a choice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from deploykit_exporters.passes.edit import subgraphs

if TYPE_CHECKING:
    import onnx

__all__ = ["AROUND", "Choice", "FloatGraph", "HalfNode", "float_graph", "same_model"]

_ENDS = "postprocess/"
AROUND = ("preprocess/", _ENDS)
"""How the nodes of the pre- and post-processing in a file are named: they keep their types."""

_FLOAT, _FLOAT16 = 1, 10
_FOLLOWERS = ("Shape", "Size")
_SMALL = 4096
"""Bytes of a weight that shape inference may want to read."""


@dataclass(frozen=True)
class HalfNode:
    """A node that can compute in float16.

    Attributes:
        place: Its index among the nodes of the graph.
        node: The node.
        inputs, outputs: The places of those of its values that would be float16; what is float32 by the
            definition of the operator, such as the scales of a ``Resize``, is not among them.
    """

    place: int
    node: onnx.NodeProto
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """The values that it would read in float16."""
        return tuple(self.node.input[index] for index in self.inputs)

    @property
    def makes(self) -> tuple[str, ...]:
        """The values that it would make in float16."""
        return tuple(self.node.output[index] for index in self.outputs)


class FloatGraph:
    """What of a model can be float16.

    Attributes:
        model: The model; constants are initialisers.
        weights: The float32 initialisers that are not inputs, by name.
        able: The nodes that can compute in float16, by their places.
        followers: Nodes that look at the shape of a float32 value alone, by their places: they take it as it
            is made.
        watched: What the post-processing in the graph reads of the network, in the order of its making.
        fixed: Values that float32 nodes, bodies of loops and outputs read, whatever else is chosen.
    """

    def __init__(self, model: onnx.ModelProto, types: dict[str, int]) -> None:
        graph = model.graph
        self.model = model
        inputs = {value.name for value in graph.input}
        self.weights = {
            tensor.name: tensor
            for tensor in graph.initializer
            if tensor.data_type == _FLOAT and tensor.name not in inputs
        }
        floats = {name for name, kind in types.items() if kind == _FLOAT}
        version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
        found = (_half_node(place, node, floats, version) for place, node in enumerate(graph.node))
        every = [each for each in found if each is not None]
        self.able = {each.place: each for each in every if each.node.op_type not in _FOLLOWERS}
        self.followers = {each.place: each for each in every if each.node.op_type in _FOLLOWERS}
        self.watched = _watched(graph, floats)
        self.fixed = {output.name for output in graph.output}
        for place, node in enumerate(graph.node):
            half = self.able.get(place) or self.followers.get(place)
            self.fixed |= {
                name for index, name in enumerate(node.input) if half is None or index not in half.inputs
            }
            for body in subgraphs(node):
                self.fixed |= set(_read_in(body))

    @cached_property
    def makers(self) -> dict[str, int]:
        """The place of the node that makes a value."""
        return {name: place for place, node in enumerate(self.model.graph.node) for name in node.output}

    @cached_property
    def neighbours(self) -> dict[int, frozenset[int]]:
        """Of each node that can compute in float16 the others, and -1 for what cannot, that share a value
        with it; weights do not count."""
        near: dict[int, set[int]] = {place: set() for place in self.able}
        for place, half in self.able.items():
            for name in half.reads:
                maker = self.makers.get(name, -1)
                if name in self.weights:
                    continue
                if maker in self.able and name in self.able[maker].makes:
                    near[maker].add(place)
                    near[place].add(maker)
                else:
                    near[place].add(-1)
            if any(name in self.fixed for name in half.makes):
                near[place].add(-1)
        return {place: frozenset(others) for place, others in near.items()}

    def connected(self, places: Collection[int]) -> list[set[int]]:
        """Some of the nodes in groups: two that share a value are in one."""
        left, groups = set(places), []
        while left:
            group: set[int] = set()
            border = {left.pop()}
            while border:
                group |= border
                near = {other for place in border for other in self.neighbours[place]}
                border = near.intersection(places) - group
            left -= group
            groups.append(group)
        return groups

    def array(self, name: str) -> np.ndarray:
        """A weight, float32."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.weights[name])


def float_graph(model: onnx.ModelProto) -> FloatGraph:
    """Look at a model, whose ``Constant`` nodes become initialisers in place.

    Raises:
        onnx.shape_inference.InferenceError: the types of the graph contradict each other.
    """
    constants_to_weights(model)
    return FloatGraph(model, _element_types(model))


class Choice:
    """A choice of float16 nodes.

    Attributes:
        graph: The float32 graph.
        half: The nodes, by their places.
        made, read: The values that they make, and read, in float16.
        wide: The values and weights that anything else reads in float32.
    """

    def __init__(self, graph: FloatGraph, places: Collection[int]) -> None:
        self.graph = graph
        self.half: dict[int, HalfNode] = {place: graph.able[place] for place in places}
        self.made = {name for each in self.half.values() for name in each.makes}
        self.half |= {
            place: each for place, each in graph.followers.items() if self.made.issuperset(each.reads)
        }
        self.read = {name for each in self.half.values() for name in each.reads}
        every = {**graph.able, **graph.followers}
        others = (each for place, each in every.items() if place not in self.half)
        self.wide = graph.fixed | {name for each in others for name in each.reads}

    def is_half_weight(self, name: str) -> bool:
        """Whether a weight is read in float16."""
        return name in self.graph.weights and name in self.read

    def is_cast_down(self, name: str) -> bool:
        """Whether a value is made in float32 and read in float16."""
        return name in self.read and name not in self.made and name not in self.graph.weights

    def add_weights(
        self,
        out: onnx.GraphProto,
        names: Mapping[str, str],
        stored: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """Write the weights into a graph: as they are where float32 nodes read them, and for float16.

        Args:
            out: The graph.
            names: What float16 nodes call them.
            stored: What is stored of a float32 weight that float16 nodes read.
        """
        from onnx import numpy_helper

        for tensor in self.graph.model.graph.initializer:
            name = tensor.name
            if not self.is_half_weight(name) or name in self.wide:
                out.initializer.append(tensor)
            if self.is_half_weight(name):
                values = stored(self.graph.array(name))
                out.initializer.append(numpy_helper.from_array(values, names.get(name, name)))


def same_model(source: onnx.ModelProto) -> onnx.ModelProto:
    """A model with the inputs, outputs and metadata of another, without nodes and weights."""
    import onnx

    model = onnx.ModelProto()
    for part in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(model, part, getattr(source, part))
    for part in ("opset_import", "metadata_props", "functions"):
        getattr(model, part).extend(getattr(source, part))
    model.graph.name, model.graph.doc_string = source.graph.name, source.graph.doc_string
    for part in ("input", "output", "sparse_initializer"):
        getattr(model.graph, part).extend(getattr(source.graph, part))
    return model


def _half_node(place: int, node: onnx.NodeProto, floats: set[str], version: int) -> HalfNode | None:
    import onnx

    standard = node.domain in ("", "ai.onnx") and not node.name.startswith(AROUND) and not subgraphs(node)
    if not standard or not any(name in floats for name in (*node.input, *node.output)):
        return None
    try:
        schema = onnx.defs.get_schema(node.op_type, version)
    except onnx.defs.SchemaError:
        return None
    allowed = {each.type_param_str: each.allowed_type_strs for each in schema.type_constraints}

    def halved(names: Sequence[str], formal: Sequence[onnx.defs.OpSchema.FormalParameter]) -> dict[int, str]:
        kinds = (
            [formal[min(index, len(formal) - 1)].type_str for index in range(len(names))] if formal else []
        )
        return {
            index: kind
            for index, (name, kind) in enumerate(zip(names, kinds, strict=False))
            if name in floats and "tensor(float16)" in allowed.get(kind, ())
        }

    inputs, outputs = halved(node.input, schema.inputs), halved(node.output, schema.outputs)
    always_float32 = any(name in floats and index not in outputs for index, name in enumerate(node.output))
    typed_by_inputs = bool(inputs) and set(outputs.values()) <= set(inputs.values())
    if always_float32 or not (typed_by_inputs or node.op_type == "Cast"):
        return None
    return HalfNode(place, node, tuple(inputs), tuple(outputs))


def constants_to_weights(model: onnx.ModelProto) -> None:
    """Make initialisers of the ``Constant`` nodes of a model, in place."""
    from onnx import helper, numpy_helper

    kept = []
    for node in model.graph.node:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            kept.append(node)
            continue
        given = node.attribute[0]
        if given.name == "value":
            tensor = type(given.t).FromString(given.t.SerializeToString())
        elif given.name in ("value_float", "value_floats"):
            numbers = np.asarray(helper.get_attribute_value(given), np.float32)
            tensor = numpy_helper.from_array(numbers)
        else:
            kept.append(node)
            continue
        tensor.name = node.output[0]
        model.graph.initializer.append(tensor)
    if len(kept) != len(model.graph.node):
        copies = [type(node).FromString(node.SerializeToString()) for node in kept]
        del model.graph.node[:]
        model.graph.node.extend(copies)


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every value at the top of the graph, as far as it can be told."""
    import onnx

    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph = light.graph
    graph.name = "types"
    for part in ("node", "input", "output", "value_info"):
        getattr(graph, part).extend(getattr(model.graph, part))
    known = {value.name for value in graph.input}
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= _SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in known:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    inferred = onnx.shape_inference.infer_shapes(light).graph
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.HasField("tensor_type"):
            types[value.name] = value.type.tensor_type.elem_type
    return types


def _watched(graph: onnx.GraphProto, floats: set[str]) -> tuple[str, ...]:
    ends = [node for node in graph.node if node.name.startswith(_ENDS)]
    read = {name for node in ends for name in node.input}
    read |= {name for node in ends for body in subgraphs(node) for name in _read_in(body)}
    made = [name for node in graph.node if not node.name.startswith(AROUND) for name in node.output]
    return tuple(name for name in made if name in read and name in floats)


def _read_in(graph: onnx.GraphProto) -> Iterator[str]:
    for output in graph.output:
        yield output.name
    for node in graph.node:
        yield from node.input
        for body in subgraphs(node):
            yield from _read_in(body)
