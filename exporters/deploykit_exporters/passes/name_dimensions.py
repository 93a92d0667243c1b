"""Give the inputs and outputs of a graph the sizes and names of axes that the spec has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, ModelSpec
from deploykit_runtimes.errors import ModelError

if TYPE_CHECKING:
    import onnx

__all__ = ["name_dimensions"]


def name_dimensions(model: onnx.ModelProto, spec: ModelSpec) -> bool:
    """Give the graph's input and outputs the spec's fixed sizes and axis names.

    The input must be the one that the spec names, followed only by thresholds; an axis of an output keeps
    a number only where it is fixed, and is called ``batch`` or ``{output}_{axis}`` otherwise.

    Raises:
        ModelError: the graph has other inputs or outputs than the spec.
    """
    graph = model.graph
    found = [value.name for value in graph.input], [value.name for value in graph.output]
    inputs = [spec.input.name, *(THRESHOLD_INPUTS if spec.output.runtime_thresholds else ())]
    if found != (inputs, list(spec.output.names)):
        raise ModelError(
            f"The exporter was to write {', '.join(inputs)} -> {', '.join(spec.output.names)}, "
            f"but the graph has {', '.join(found[0])} -> {', '.join(found[1])}."
        )
    values = [*graph.input, *graph.output]
    before = [value.SerializeToString() for value in values]
    for size, dim in zip(spec.input.shape, graph.input[0].type.tensor_type.shape.dim, strict=True):
        if isinstance(size, str):
            dim.dim_param = size
        else:
            dim.dim_value = size
    for output in graph.output:
        known = _known_axes(output.name, spec)
        for index, dim in enumerate(output.type.tensor_type.shape.dim):
            if index == 0:
                _set_batch(dim, spec)
            elif index <= len(known):
                dim.CopyFrom(known[index - 1])
            elif not dim.HasField("dim_value"):
                dim.dim_param = f"{output.name}_{index}"
    return before != [value.SerializeToString() for value in values]


def _known_axes(name: str, spec: ModelSpec) -> list[onnx.TensorShapeProto.Dimension]:
    """The axes after the batch of an output that ``docs/spec.md`` fixes; none for others."""
    from onnx import TensorShapeProto

    output = spec.output
    if not spec.is_postprocessed:
        return []
    rows = output.top_k if output.layout == "top_k" else output.max_det
    columns: dict[str, tuple[int | str, ...]] = {
        "probabilities": (),
        "scores": (),
        "classes": (),
        "boxes": (4,),
        "rotated_boxes": (5,),
        "keypoints": output.keypoints,
        "mask_coefficients": (output.mask_channels,),
        "masks": ("height", "width"),
    }
    if name not in columns:
        return []
    sizes = (rows, *columns[name])
    return [
        TensorShapeProto.Dimension(dim_value=size)
        if isinstance(size, int)
        else TensorShapeProto.Dimension(dim_param=size)
        for size in sizes
    ]


def _set_batch(dim: onnx.TensorShapeProto.Dimension, spec: ModelSpec) -> None:
    if "batch" in spec.input.dynamic:
        dim.dim_param = "batch"
    else:
        dim.dim_value = spec.input.batch
