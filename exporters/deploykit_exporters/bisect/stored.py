"""A graph with its weights in a separate file, so that its parts are small.

A part holds the nodes before a cut and names the bytes of their weights in that file. The only weights in
memory are those that an engine loads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec, OutputSpec

import deploykit_exporters
from deploykit_exporters.bisect.weights import WEIGHTS, move_weights
from deploykit_exporters.graph.metadata import set_metadata
from deploykit_exporters.passes.edit import subgraphs

if TYPE_CHECKING:
    import onnx

__all__ = ["Stored", "reads"]


class Stored:
    """A model file, taken apart.

    Attributes:
        nodes: Nodes of the main graph, in their order.
        inputs, outputs: Names of the graph's inputs without a stored value, and of its outputs.
        spec: The contract of the file.
        tensors: The stored tensors by name; those above 1 KB refer to their bytes in a file.

    Args:
        path: The .onnx file.
        folder: Where the weights and the parts go.
        spec: The contract of the file.
    """

    def __init__(self, path: Path, folder: Path, spec: ModelSpec) -> None:
        from onnx import shape_inference

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.spec = spec
        model = move_weights(path, folder / WEIGHTS)
        self._opsets, self._ir, self._functions = model.opset_import, model.ir_version, model.functions
        graph = shape_inference.infer_shapes(model).graph
        known = [*graph.value_info, *graph.input, *graph.output]
        self._values = {value.name: value for value in known}
        self.nodes = list(model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._inputs = {value.name: value for value in model.graph.input if value.name not in self.tensors}
        self.inputs = tuple(self._inputs)
        self.outputs = tuple(value.name for value in model.graph.output)

    def type_of(self, name: str) -> int:
        """The ONNX element type of a value; 0 if it is unknown."""
        value = self._values.get(name)
        return value.type.tensor_type.elem_type if value is not None else 0

    def values_of(self, name: str) -> np.ndarray:
        """The numbers of a stored tensor."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.tensors[name], base_dir=str(self.folder))

    def write_part(self, wanted: Sequence[str], given: Mapping[str, np.ndarray] | None = None) -> Path:
        """Write the part of the graph that computes some values, with these values as its outputs.

        Args:
            wanted: The values.
            given: Values that the part takes as inputs, in place of the nodes that compute them; their shapes
                and dtypes are those of the arrays. None: the part starts at the inputs of the graph.

        Returns:
            The file; the next part replaces it.
        """
        from onnx import helper

        given = given or {}
        nodes, needed = self._before(wanted, given)
        inputs = [value for name, value in self._inputs.items() if name in needed and name not in given]
        inputs += [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
        ]
        tensors = [self.tensors[name] for name in needed if name in self.tensors]
        graph = helper.make_graph(nodes, "part", inputs, [self._output(name) for name in wanted], tensors)
        model = helper.make_model(
            graph, opset_imports=self._opsets, ir_version=self._ir, functions=self._functions
        )
        output = OutputSpec(names=tuple(wanted), layout="features")
        spec = replace(self.spec, task="features", output=output, parity=None, golden={}, classes=())
        set_metadata(model, spec, deploykit_exporters.__version__)
        path = self.folder / "part.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    def _before(
        self, wanted: Sequence[str], given: Mapping[str, np.ndarray]
    ) -> tuple[list[onnx.NodeProto], dict[str, None]]:
        """The nodes that compute some values, in graph order, and every name that they read."""
        needed = dict.fromkeys(name for name in wanted if name not in given)
        nodes = []
        for node in reversed(self.nodes):
            if any(name in needed and name not in given for name in node.output):
                nodes.append(node)
                needed.update(dict.fromkeys(name for name in reads(node) if name))
        return nodes[::-1], needed

    def _output(self, name: str) -> onnx.ValueInfoProto:
        from onnx import helper

        return self._values.get(name) or helper.make_empty_tensor_value_info(name)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names of all values that a node reads, including those read inside loops and branches."""
    yield from node.input
    for body in subgraphs(node):
        own = {name for inner in body.node for name in inner.output}
        own |= {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        for inner in body.node:
            yield from (name for name in reads(inner) if name not in own)
        yield from (value.name for value in body.output if value.name not in own)
