"""What an ONNX graph consists of, read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.text.printable import one_line

if TYPE_CHECKING:
    import onnx

__all__ = ["GraphCounts", "GraphReport", "count_graph", "inspect_graph"]

_OPERATIONS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


@dataclass(frozen=True, kw_only=True)
class GraphCounts:
    """What a graph consists of; ``opset`` is 0 where no standard operator is used."""

    opset: int
    nodes: int
    operators: Mapping[str, int]
    parameters: int


@dataclass(frozen=True, kw_only=True)
class GraphReport:
    """A graph's make-up, and the floating-point operations of one image at the model's own size, a
    multiply-add counted as two; None where the shapes of some layers cannot be inferred."""

    facts: GraphCounts
    flops: int | None


def count_graph(model: onnx.ModelProto) -> GraphCounts:
    """Count the nodes, operators and parameters of a graph."""
    operators: dict[str, int] = {}
    for node in model.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    parameters = 0
    for tensor in model.graph.initializer:
        if tensor.data_type in (1, 10, 11, 16) and tensor.dims:
            count = 1
            for n in tensor.dims:
                count *= n
            parameters += count
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return GraphCounts(
        opset=max(opsets, default=0),
        nodes=len(model.graph.node),
        operators=dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        parameters=parameters,
    )


def inspect_graph(path: str | Path) -> GraphReport:
    """Read the graph of an .onnx file; its weights stay on disk when they are in a file beside it.

    Raises:
        ModelError: the file is not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path} is not an ONNX model: {one_line(error)}") from error
    return GraphReport(facts=count_graph(model), flops=_graph_flops(model))


def _graph_flops(model: onnx.ModelProto) -> int | None:
    """Operations of the convolutions and matrix products, from inferred shapes."""
    shapes = _inferred_shapes(model)
    total = 0
    for node in model.graph.node:
        if node.op_type not in _OPERATIONS:
            continue
        output, weight = shapes.get(node.output[0]), shapes.get(node.input[1])
        source = shapes.get(node.input[0])
        if output is None or weight is None or source is None:
            return None
        total += _node_flops(node, source, weight, output)
    return total


def _node_flops(
    node: onnx.NodeProto, source: tuple[int, ...], weight: tuple[int, ...], output: tuple[int, ...]
) -> int:
    if node.op_type == "ConvTranspose":
        return 2 * _product(source) * _product(weight[1:])
    if node.op_type == "Conv":
        return 2 * _product(output) * _product(weight[1:])
    return 2 * _product(output) * source[-1]


def _product(numbers: tuple[int, ...]) -> int:
    total = 1
    for n in numbers:
        total *= n
    return total


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors at the model's own input size with batch 1."""
    import onnx
    from deploykit_runtimes.contract.metadata import has_metadata, spec_from_metadata

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    image = spec_from_metadata(metadata).input if has_metadata(metadata) else None
    sizes = {"batch": 1, "height": image.height, "width": image.width} if image else {}
    for value in fixed.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes
