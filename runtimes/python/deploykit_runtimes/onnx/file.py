"""What an ONNX file says about itself, read without an engine and without the onnx package.

Engines other than ONNX Runtime drop the metadata and the names of the dynamic axes when they load
a file. Only the small fields are read; weights are skipped over in a memory map. Field numbers are
those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploykit_runtimes.contract.inferred_spec import read_spec
from deploykit_runtimes.contract.limits import ModelLimitError
from deploykit_runtimes.contract.metadata import has_metadata
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.onnx.graph_limits import check_graph_limits
from deploykit_runtimes.onnx.protobuf import Value, fields, numbers, text

__all__ = [
    "CompiledPart",
    "OnnxFile",
    "map_onnx",
    "read_onnx",
    "read_tensor_info",
]

_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTION, _FUNCTION_NODE = 7, 14, 25, 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TEXT = 1, 3, 4
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_PLACE = 1, 2, 8, 13, 14
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_LOCATION = b"location"
_SMALL = 4096  # bytes
_SAME_VALUES = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze"})
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}


@dataclass(frozen=True, kw_only=True)
class CompiledPart:
    """A node that stands for what an engine compiled already: EPContext, of ONNX Runtime
    (https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html).

    Attributes:
        source: Who compiled it, usually an execution provider; empty where the node does not say.
        location: The file that holds it, as the node names it; empty: the node itself, or another one, does.
    """

    source: str = ""
    location: str = ""


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """What a model file declares about itself.

    Attributes:
        metadata: The file's own keys.
        inputs, outputs: Of the graph, without inputs that have a stored value.
        weights: Number of stored values by numpy dtype name, of tensors with two axes or more.
        nodes: Number of nodes of the main graph.
        external: Files with weights beside the model, as it names them.
        compiled: Parts that only the engine runs that compiled them.
        makers: The operator that computes each output, in files of other exporters.
    """

    metadata: Mapping[str, str]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    weights: Mapping[str, int]
    nodes: int
    external: tuple[str, ...] = ()
    compiled: tuple[CompiledPart, ...] = ()
    makers: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> tuple[str, ...]:
        """All files that the model names, with weights or with what an engine compiled."""
        parts = (part.location for part in self.compiled if part.location)
        return tuple(dict.fromkeys((*self.external, *parts)))

    def spec(self, declared: str | None = None) -> ModelSpec:
        """The contract of the file, inferred where another exporter wrote it.

        Args:
            declared: What the outputs mean; see ``EngineOptions.outputs``.

        Raises:
            ModelError: the metadata is damaged, or the graph does not take one image tensor.
            OptionError: ``declared`` does not fit the file.
        """
        return read_spec(self.inputs, self.outputs, self.metadata, declared, self.makers)


def read_onnx(path: str | Path) -> OnnxFile:
    """Read what an ONNX file declares about itself, in time and memory that do not depend on its weights.

    Raises:
        ModelError: the file is missing, or not an ONNX model.
        ModelLimitError: it asks for more than ``limits`` allows.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path} is not a file.", hint="Write a model with: deploykit export CHECKPOINT")
    try:
        return _model(map_onnx(path))
    except ModelLimitError as error:
        raise ModelLimitError(
            f"{path} asks for more than deploykit allows a model: {error.problem}.",
            hint="The file is damaged, or made to exhaust memory: SECURITY.md says what is allowed.",
        ) from None
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"{path} is not a valid ONNX model: {error}.",
            hint="If it is a checkpoint, export it first: deploykit export CHECKPOINT",
        ) from error


def map_onnx(path: Path) -> memoryview:
    """The bytes of a file, mapped into memory.

    Raises:
        ValueError: it is empty.
        OSError: it cannot be read.
    """
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    with path.open("rb") as file:
        # Not closed by hand: an error while reading still refers to pieces of it.
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _model(view: memoryview) -> OnnxFile:
    check_graph_limits(view)
    metadata: dict[str, str] = {}
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    weights: dict[str, int] = {}
    stored: set[str] = set()
    external: dict[str, None] = {}  # in their order
    compiled: list[CompiledPart] = []
    nodes: list[Value] = []
    graphs = 0
    for number, value in fields(view):
        if number == _MODEL_METADATA:
            entry = dict(fields(value))
            metadata[text(entry.get(1, 0))] = text(entry.get(2, 0))
        elif number == _MODEL_FUNCTION:
            external.update(dict.fromkeys(_weights_of(value, _FUNCTION_NODE)))
        elif number == _MODEL_GRAPH:
            graphs += 1
            external.update(dict.fromkeys(_weights_of(value)))
            for part, content in fields(value):
                if part == _GRAPH_NODE:
                    nodes.append(content)
                    compiled += _compiled_part(content)
                elif part == _GRAPH_INITIALIZER:
                    name, dtype, shape = _initializer(content)
                    stored.add(name)
                    if len(shape) > 1:
                        weights[dtype] = weights.get(dtype, 0) + math.prod(shape)
                elif part in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                    (inputs if part == _GRAPH_INPUT else outputs).append(read_tensor_info(content))
    if not graphs:
        raise ValueError("it holds no graph")
    return OnnxFile(
        metadata=metadata,
        inputs=tuple(info for info in inputs if info.name not in stored),
        outputs=tuple(outputs),
        weights=weights,
        nodes=len(nodes),
        external=tuple(external),
        compiled=tuple(compiled),
        makers={} if has_metadata(metadata) else _makers(nodes, outputs),
    )


def _makers(nodes: Iterable[Value], outputs: Iterable[TensorInfo]) -> dict[str, str]:
    """The operator behind each output, seen through those that leave its values as they are."""
    made: dict[str, tuple[str, str]] = {}
    for node in nodes:
        operator, source = "", ""
        names = []
        for number, value in fields(node):
            if number == _NODE_OPERATOR:
                operator = text(value)
            elif number == _NODE_OUTPUT:
                names.append(text(value))
            elif number == _NODE_INPUT and not source:
                source = text(value)
        made.update(dict.fromkeys(names, (operator, source)))
    found = {}
    for info in outputs:
        operator, source = made.get(info.name, ("", ""))
        for _ in range(len(made)):
            if operator not in _SAME_VALUES or source not in made:
                break
            operator, source = made[source]
        found[info.name] = operator
    return found


def _compiled_part(node: Value) -> list[CompiledPart]:
    """The part that a node stands for, where it is an EPContext."""
    operator = next((text(value) for number, value in fields(node) if number == _NODE_OPERATOR), "")
    if operator != "EPContext":
        return []
    attributes: dict[str, Value] = {}
    for number, value in fields(node):
        if number == _NODE_ATTRIBUTE:
            entry = dict(fields(value))
            given = entry.get(_ATTRIBUTE_TEXT, entry.get(_ATTRIBUTE_INT, 0))
            attributes[text(entry.get(_ATTRIBUTE_NAME, 0))] = given
    outside = attributes.get("embed_mode", 1) == 0
    location = text(attributes.get("ep_cache_context", 0)) if outside else ""
    return [CompiledPart(source=text(attributes.get("source", 0)), location=location)]


def _initializer(value: Value) -> tuple[str, str, list[int]]:
    """Name, dtype and shape."""
    name, dtype, shape = "", 0, list[int]()
    for number, content in fields(value):
        if number == _TENSOR_NAME:
            name = text(content)
        elif number == _TENSOR_TYPE and isinstance(content, int):
            dtype = content
        elif number == _TENSOR_DIMS:
            shape.extend(numbers(content))
    return name, _DTYPES.get(dtype, f"type {dtype}"), shape


def _weights_of(owner: Value, field_of_nodes: int = _GRAPH_NODE) -> Iterator[str]:
    """The files in which a graph or function, and the graphs inside its nodes, keep their tensors."""
    waiting = [(owner, field_of_nodes)]
    while waiting:
        owner, field_of_nodes = waiting.pop()
        for part, content in fields(owner):
            if part == field_of_nodes:
                for attribute, value in _parts_of_attributes(content):
                    if attribute in _ATTRIBUTE_TENSORS:
                        yield from _location(value)
                    elif attribute in _ATTRIBUTE_SPARSE:
                        yield from _locations_of_sparse(value)
                    elif attribute in _ATTRIBUTE_GRAPHS:
                        waiting.append((value, _GRAPH_NODE))
            elif field_of_nodes != _GRAPH_NODE:
                continue
            elif part == _GRAPH_INITIALIZER:
                yield from _location(content)
            elif part == _GRAPH_SPARSE:
                yield from _locations_of_sparse(content)


def _parts_of_attributes(node: Value) -> Iterator[tuple[int, Value]]:
    """The fields of a node's attributes; none of a small node in which no tensor lies elsewhere."""
    if isinstance(node, memoryview) and len(node) < _SMALL and _LOCATION not in bytes(node):
        return
    for part, attribute in fields(node):
        if part == _NODE_ATTRIBUTE:
            yield from fields(attribute)


def _locations_of_sparse(tensor: Value) -> Iterator[str]:
    for part, content in fields(tensor):
        if part in (_SPARSE_VALUES, _SPARSE_INDICES):
            yield from _location(content)


def _location(tensor: Value) -> Iterator[str]:
    """The file that holds a tensor, where it is another one."""
    location, outside = "", False
    for number, content in fields(tensor):
        if number == _TENSOR_PLACE:
            outside = content == 1
        elif number == _TENSOR_EXTERNAL:
            entry = dict(fields(content))
            if text(entry.get(1, 0)) == _LOCATION.decode():
                location = text(entry.get(2, 0))
    if location and outside:
        yield location


def read_tensor_info(value: Value) -> TensorInfo:
    """Name, dtype and shape of an encoded value info.

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    name, dtype = "", 0
    shape: list[int | str] = []
    for number, content in fields(value):
        if number == 1:
            name = text(content)
        elif number == 2:
            tensor = dict(fields(content)).get(1, memoryview(b""))
            for field, part in fields(tensor):
                if field == 1 and isinstance(part, int):
                    dtype = part
                elif field == 2:
                    shape = [_dimension(dim) for axis, dim in fields(part) if axis == 1]
    return TensorInfo(name=name, dtype=_DTYPES.get(dtype, f"type {dtype}"), shape=tuple(shape))


def _dimension(value: Value) -> int | str:
    entry = dict(fields(value))
    size = entry.get(1)
    if isinstance(size, int) and size < 1 << 63:  # above are negative numbers: "any size" to some writers
        return size
    return text(entry.get(2, 0)) or "?"
