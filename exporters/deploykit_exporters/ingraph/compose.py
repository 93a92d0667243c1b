"""One graph out of three: pre-processing, network, post-processing.

Each part is traced and simplified on its own, so that the network inside is node for node the one that
was proven, and the parts are then joined by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, ModelSpec
from deploykit_runtimes.machine.scratch import scratch_folder
from torch import nn

from deploykit_exporters.passes.apply import clean_up
from deploykit_exporters.passes.edit import subgraphs
from deploykit_exporters.passes.fold_normalisation import fold_normalisation

if TYPE_CHECKING:
    import onnx

__all__ = ["NETWORK", "Part", "compose", "rename", "trace"]

NETWORK = "network/"
"""Prefix of the network's outputs inside a graph, whose own outputs may have the same names."""

_TENSOR = "preprocess/tensor"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A module to be traced, with example inputs by name and the axes that stay free.

    Attributes:
        module: In eval mode; called with the examples in their order.
        examples: Inputs by name.
        outputs: Names of what it returns.
        dynamic: The names of the free axes of each input, by index.
    """

    module: nn.Module
    examples: Mapping[str, torch.Tensor]
    outputs: Sequence[str]
    dynamic: Mapping[str, Mapping[int, str]]


def trace(part: Part, opset: int) -> onnx.ModelProto:
    """Trace a part with the TorchScript exporter, which keeps shape arithmetic as it is written."""
    import onnx

    with scratch_folder() as folder:
        path = folder / "part.onnx"
        torch.onnx.export(
            part.module.eval(),
            tuple(part.examples.values()),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=list(part.examples),
            output_names=list(part.outputs),
            dynamic_axes={name: dict(axes) for name, axes in part.dynamic.items()},
        )
        return onnx.load(path)


def compose(
    network: onnx.ModelProto,
    spec: ModelSpec,
    finished: ModelSpec,
    *,
    before: onnx.ModelProto | None,
    after: onnx.ModelProto | None,
) -> onnx.ModelProto:
    """Join the parts into one model with the inputs and outputs of ``finished``.

    Args:
        network: Takes the tensor; ``spec`` names its input and outputs. Not modified.
        spec: The contract of the network alone.
        finished: The contract of the whole.
        before: Pre-processing: one input, one output.
        after: Post-processing: takes ``finished.input.name`` (for its shape), the network's outputs by
            name with the prefix ``NETWORK``, and the thresholds.

    Returns:
        The model, cleaned up, without metadata.
    """
    model = type(network)()
    model.CopyFrom(network)  # unlike serialising, without a limit of 2 GB
    renamed = {}
    if before is not None:
        renamed[spec.input.name] = _TENSOR
    if after is not None:
        renamed.update({name: NETWORK + name for name in spec.output.names})
    rename(model.graph, renamed)
    images = finished.input.name
    if before is not None:
        names = {before.graph.input[0].name: images, before.graph.output[0].name: _TENSOR}
        front = _prefixed(before.graph, "preprocess/", names)
        nodes = [*front.node, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(front.initializer)
        del model.graph.input[:]
        model.graph.input.extend(front.input)
    if after is not None:
        names = {images: images, **{name: name for name in THRESHOLD_INPUTS}}
        names |= {NETWORK + name: NETWORK + name for name in spec.output.names}
        names |= {name: name for name in finished.output.names}
        back = _prefixed(after.graph, "postprocess/", names)
        model.graph.node.extend(back.node)
        model.graph.initializer.extend(back.initializer)
        present = {value.name for value in model.graph.input}
        model.graph.input.extend(
            value for value in back.input if value.name in THRESHOLD_INPUTS and value.name not in present
        )
        del model.graph.output[:]
        model.graph.output.extend(back.output)
    fold_normalisation(model)
    clean_up(model, finished)
    return model


def _prefixed(graph: onnx.GraphProto, prefix: str, names: Mapping[str, str]) -> onnx.GraphProto:
    """A copy in which every name has the prefix, except those at the border, which become ``names``."""
    copy = type(graph).FromString(graph.SerializeToString())
    rename(copy, {name: prefix + name for name in _defined(copy)} | dict(names))
    _name_nodes(copy, prefix)
    return copy


def _defined(graph: onnx.GraphProto) -> set[str]:
    """Names of every value of a graph, those inside the bodies of its loops included."""
    names = {value.name for value in graph.input} | {weights.name for weights in graph.initializer}
    for node in graph.node:
        names.update(name for name in node.output if name)
        for body in subgraphs(node):
            names |= _defined(body)
    return names


def _name_nodes(graph: onnx.GraphProto, prefix: str, first: int = 0) -> int:
    """Call the nodes ``preprocess/Slice_12``; returns the next number."""
    for node in graph.node:
        node.name = f"{prefix}{node.op_type}_{first}"
        first += 1
        for body in subgraphs(node):
            first = _name_nodes(body, prefix, first)
    return first


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values wherever they are defined or read, in the bodies of loops too."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for body in subgraphs(node):
            rename(body, names)
    for values in (graph.input, graph.output, graph.value_info):
        for value in values:
            value.name = names.get(value.name, value.name)
    for weights in graph.initializer:
        weights.name = names.get(weights.name, weights.name)
