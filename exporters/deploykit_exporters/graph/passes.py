"""Small rewrites of an ONNX graph. Each says whether it changed anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.spec import THRESHOLD_INPUTS, ModelSpec

from deploykit_exporters.graph.gates import note_gates

if TYPE_CHECKING:
    import onnx

__all__ = ["bodies", "clean_up", "drop_unused", "name_dimensions"]


def clean_up(model: onnx.ModelProto, spec: ModelSpec) -> bool:
    """Apply every pass; True when the graph changed."""
    changed = [drop_unused(model), name_dimensions(model, spec), note_gates(model)]
    return any(changed)


def drop_unused(model: onnx.ModelProto) -> bool:
    """Remove nodes and weights that no output needs, in the bodies of loops too, and value infos, which go
    stale."""
    return _drop_unused(model.graph)


def _drop_unused(graph: onnx.GraphProto) -> bool:
    changed = False
    for node in graph.node:
        for body in bodies(node):
            changed |= _drop_unused(body)
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed.update(_reads(node))
    dead = len(graph.node) - len(kept)
    unused = [tensor for tensor in graph.initializer if tensor.name not in needed]
    for tensor in unused:
        graph.initializer.remove(tensor)
    if dead:
        kept.reverse()
        nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
    del graph.value_info[:]
    return bool(changed or dead or unused)


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node takes, those that the bodies of its sub-graphs take from outside included."""
    names = set(node.input)
    for body in bodies(node):
        for inner in body.node:
            names |= _reads(inner)
        names.update(output.name for output in body.output)
    return names


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The sub-graphs of a loop or a branch; none for other nodes."""
    return [
        body
        for attribute in node.attribute
        for body in ([attribute.g] if attribute.HasField("g") else list(attribute.graphs))
    ]


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
        known = _finished_axes(output.name, spec)
        for index, dim in enumerate(output.type.tensor_type.shape.dim):
            if index == 0:
                _set_batch(dim, spec)
            elif index <= len(known):
                dim.CopyFrom(known[index - 1])
            elif not dim.HasField("dim_value"):
                dim.dim_param = f"{output.name}_{index}"
    return before != [value.SerializeToString() for value in values]


def _finished_axes(name: str, spec: ModelSpec) -> list[onnx.TensorShapeProto.Dimension]:
    """The axes behind the batch of an output that ``docs/spec.md`` fixes; none for others."""
    from onnx import TensorShapeProto

    output = spec.output
    if not spec.is_finished:
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
