"""What a checkpoint holds, and what a model file consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from deploykit_runtimes.spec import AxisRange, ModelSpec

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.onnx_export import GraphFacts, graph_facts

if TYPE_CHECKING:
    import onnx

__all__ = ["CheckpointReport", "GraphReport", "inspect_checkpoint", "inspect_graph"]

_OPERATIONS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


@dataclass(frozen=True, kw_only=True)
class CheckpointReport:
    """What a checkpoint holds.

    Attributes:
        path, container, sha256, weights_key: See ``Checkpoint``.
        entries: What else the file holds, by key.
        tensors, parameters: Number of tensors and of the elements of the built model's parameters.
        flops: Floating-point operations of one image at the model's own size, a multiply-add
            counted as two.
        spec: The spec of the model it would become.
        axes: What may become dynamic.
        notes: What was found and decided, in sentences.
    """

    path: Path
    container: str
    sha256: str
    weights_key: str
    entries: tuple[str, ...]
    tensors: int
    parameters: int
    flops: int
    spec: ModelSpec
    axes: Mapping[str, AxisRange]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GraphReport:
    """What an ONNX graph consists of; ``flops`` as in ``CheckpointReport``, None where the shapes of
    some layers cannot be inferred."""

    facts: GraphFacts
    flops: int | None


def inspect_checkpoint(
    source: str | Path, *, hints: Hints | None = None, trust: bool = False
) -> CheckpointReport:
    """Read, recognise and build a checkpoint, and say what it is.

    Raises:
        CheckpointError, OptionError, DependencyError: see ``load_checkpoint``.
    """
    loaded = load_checkpoint(source, hints or Hints(), trust=trust)
    checkpoint, built = loaded.checkpoint, loaded.built
    return CheckpointReport(
        path=checkpoint.path,
        container=checkpoint.container,
        sha256=checkpoint.sha256,
        weights_key=checkpoint.weights_key,
        entries=_entries(checkpoint),
        tensors=len(checkpoint.tensors),
        parameters=sum(parameter.numel() for parameter in built.module.parameters()),
        flops=_module_flops(built),
        spec=built.spec,
        axes=built.axes,
        notes=(*checkpoint.notes, *built.notes),
    )


def _entries(checkpoint: Checkpoint) -> tuple[str, ...]:
    return tuple(sorted(str(key) for key in checkpoint.meta))


def _module_flops(built: BuiltModel) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    image = built.spec.input
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        built.module.eval()(torch.zeros(1, image.channels, image.height, image.width))
    return int(counter.get_total_flops())


def inspect_graph(path: str | Path) -> GraphReport:
    """Read the graph of an .onnx file; its weights stay on disk when they are in a file beside it.

    Raises:
        ModelError: the file is not an ONNX model.
    """
    import onnx
    from deploykit_runtimes.errors import ModelError
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path} is not an ONNX model: {error}") from error
    return GraphReport(facts=graph_facts(model), flops=_graph_flops(model))


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
    from deploykit_runtimes.metadata import has_metadata, spec_from_metadata

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
