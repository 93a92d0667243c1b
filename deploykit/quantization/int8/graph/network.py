"""The parts of a graph that can be quantised: products, and other operators that may compute in 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from deploykit_exporters.graph.loading import load_graph
from deploykit_exporters.precision.float_graph import constants_to_weights
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_files import model_bytes
from deploykit_runtimes.text.printable import one_line

if TYPE_CHECKING:
    import onnx

__all__ = ["ELEMENTWISE", "MOVEMENT", "PRODUCTS", "Network", "read_network"]

PRODUCTS = ("Conv", "Gemm", "MatMul")
MOVEMENT = ("Concat", "MaxPool", "Resize", "Reshape", "Transpose", "Split", "Slice", "Squeeze", "Unsqueeze")
"""Operators that only move values: in 8 bits where what they take is."""
ELEMENTWISE = ("Add", "Mul", "Sigmoid", "Softmax", "AveragePool", "GlobalAveragePool")

_AROUND = ("preprocess/", "postprocess/")
_TWO_GIB = 2 << 30
_INTEGERS = {
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "MatMulInteger",
    "ConvInteger",
}


@dataclass(frozen=True, kw_only=True)
class Network:
    """A float32 graph.

    Attributes:
        path: The file.
        spec: Its contract.
        model: Its graph, with the known shapes; constants are initialisers.
    """

    path: Path
    spec: ModelSpec
    model: onnx.ModelProto

    @cached_property
    def sha256(self) -> str:
        """Hash of the file."""
        return sha256_of(self.path)

    @cached_property
    def constants(self) -> frozenset[str]:
        """The names of all initialisers."""
        return frozenset(tensor.name for tensor in self.model.graph.initializer)

    @cached_property
    def weights(self) -> Mapping[str, onnx.TensorProto]:
        """All initialisers by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def floats(self) -> frozenset[str]:
        """The tensors that are known to be float32."""
        graph = self.model.graph
        infos = [*graph.value_info, *graph.input, *graph.output]
        return frozenset(info.name for info in infos if info.type.tensor_type.elem_type == 1)

    def nodes(self, operators: tuple[str, ...] = PRODUCTS) -> Iterator[onnx.NodeProto]:
        """The nodes of these kinds in the network, on float32 tensors, in graph order."""
        for node in self.model.graph.node:
            inside = not node.name.startswith(_AROUND)
            if inside and node.op_type in operators and node.output[0] in self.floats:
                yield node

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that may be quantised: the inputs and outputs of these nodes."""
        found: dict[str, None] = {}
        for node in self.nodes((*PRODUCTS, *MOVEMENT, *ELEMENTWISE)):
            for name in (*node.input, *node.output):
                if name in self.floats and name not in self.constants:
                    found[name] = None
        return tuple(found)

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The network's outputs: those of the graph, or the inputs of its post-processing."""
        made = {
            name
            for node in self.model.graph.node
            if not node.name.startswith(_AROUND)
            for name in node.output
        }
        behind = [node for node in self.model.graph.node if node.name.startswith("postprocess/")]
        found = {name: None for node in behind for name in node.input if name in made and name in self.floats}
        for output in self.model.graph.output:
            if output.name in made:
                found[output.name] = None
        return tuple(found)

    @cached_property
    def macs(self) -> Mapping[str, float]:
        """Multiplications of each product, by node; with unknown sizes, those of one position."""
        shapes = _shapes(self.model)
        found = {}
        for node in self.nodes():
            weight = self.weights.get(node.input[1])
            size = float(np.prod(weight.dims)) if weight is not None else 0.0
            out = shapes.get(node.output[0], ())
            if node.op_type == "Conv":
                size *= float(np.prod(out[2:])) if len(out) > 2 else 1.0
            elif weight is not None:
                size *= float(np.prod(out[:-1])) if len(out) > 1 else 1.0
            else:
                inner = shapes.get(node.input[0], (1,))
                size = float(np.prod(out)) * inner[-1] if out and inner else 1.0
            found[node.name] = size
        return found


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    found = {}
    for info in (*model.graph.value_info, *model.graph.output, *model.graph.input):
        dims = info.type.tensor_type.shape.dim
        found[info.name] = tuple(max(dim.dim_value, 1) for dim in dims)
    return found


def read_network(path: Path) -> Network:
    """Read a float32 model file.

    Raises:
        ModelError: it cannot be read, or has no layer that could be quantised.
        OptionError: it is not float32, is compiled, or is larger than 2 GB.
    """
    file = read_onnx(path)
    spec = file.spec(None)
    if file.compiled:
        raise OptionError(
            f"{path.name} was compiled for one engine.", hint="Quantise the file that export wrote."
        )
    _refuse_other_precisions(path, file.weights)
    if model_bytes(path, file) > _TWO_GIB:
        raise OptionError(
            f"{path.name} has more than 2 GB of weights, which ONNX Runtime's quantiser cannot hold.",
            hint="deploykit quantize MODEL --fp16 halves it.",
        )
    model = _prepared(path)
    network = Network(path=path, spec=spec, model=model)
    operators = {node.op_type for node in model.graph.node}
    if operators & _INTEGERS:
        raise OptionError(
            f"{path.name} is quantised already: {', '.join(sorted(operators & _INTEGERS))}.",
            hint="Give the float32 file that export wrote.",
        )
    if next(network.nodes(), None) is None:
        raise ModelError(f"{path.name} has no convolution and no matrix product to quantise.")
    return network


def _prepared(path: Path) -> onnx.ModelProto:
    """The graph as the quantiser takes it.

    Raises:
        ModelError: it is not a valid model.
    """
    import onnx

    model = load_graph(path)
    try:
        constants_to_weights(model)  # the quantiser takes weights from initialisers alone
        model = onnx.shape_inference.infer_shapes(model)
        return _with_names(_biases_added(model))
    except (ValueError, TypeError, LookupError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(
            f"{path} is not a valid ONNX model: {one_line(error).rstrip('.')[:1000]}."
        ) from error


def _refuse_other_precisions(path: Path, weights: Mapping[str, int]) -> None:
    total = sum(weights.values())
    if total and weights.get("float32", 0) < 0.5 * total:
        kind = max(weights, key=weights.__getitem__)
        raise OptionError(
            f"{path.name} has weights of {kind}, wanted float32.",
            hint="Give the float32 file that export wrote.",
        )


def _biases_added(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn each Gemm into MatMul and Add: with float biases, which TensorRT needs, ONNX Runtime multiplies
    bytes only in this form.
    """
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    graph, nodes = model.graph, []
    for node in graph.node:
        settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        plain = settings.get("alpha", 1) == settings.get("beta", 1) == 1 and not settings.get("transA")
        if node.op_type != "Gemm" or not plain or len(node.input) < 3 or node.input[1] not in weights:
            nodes.append(node)
            continue
        weight, product = node.input[1], f"{node.output[0]}/product"
        if settings.get("transB"):
            values = numpy_helper.to_array(weights[weight])
            weight = f"{weight}/transposed"
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.T), weight))
        nodes += [
            helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name),
            helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}/bias"),
        ]
        shapes = [info for info in (*graph.value_info, *graph.output) if info.name == node.output[0]]
        for info in shapes[:1]:
            known = graph.value_info.add()
            known.CopyFrom(info)
            known.name = product
    nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every node a unique name, by which it is chosen."""
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.name or node.op_type}#{number}"
        seen.add(node.name)
    return model
