"""Whether a graph asks for more than ``limits`` allows, found without running it.

The nodes are walked in their order, with functions put in place of their calls, and the sizes that follow
from constants are worked out: a shape that is stored, or computed from stored ones. Sizes that depend on what
a caller feeds count as 1, so what is refused is at least as large as the message says.
"""

from __future__ import annotations

import struct
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from deploykit_runtimes.contract.limits import (
    AXES,
    ENTRIES,
    MADE,
    METADATA,
    NESTING,
    NODES,
    PARTS,
    PORTS,
    STORED,
    TENSOR,
    TEXT,
    check_limit,
    count_text,
)
from deploykit_runtimes.onnx.protobuf import Value, numbers, pieces, text
from deploykit_runtimes.onnx.tensor_sizes import ABSENT, FEW, UNKNOWN, Fact, Step, amount, infer

__all__ = ["check_graph_limits"]

_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTION = 7, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_FUNCTION_NAME, _FUNCTION_INPUT, _FUNCTION_OUTPUT, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 4, 5, 7, 10
_ATTRIBUTE_NAME, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = 1, 6, 11, 22
_ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS = 3, 5, 8
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_INT64S, _TENSOR_DOUBLES = 4, 5, 7, 10
_TYPED = {_TENSOR_FLOATS: "f", _TENSOR_DOUBLES: "d"}
_FORMATS = {1: "f", 6: "i", 7: "q", 11: "d"}
_SPARSE_DIMS = 3
_Scope = ChainMap[str, Fact]


@dataclass(kw_only=True)
class _Function:
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Value] = field(default_factory=list)


@dataclass(kw_only=True)
class _Attributes:
    ints: dict[str, list[float]] = field(default_factory=dict)
    tensors: dict[str, Fact] = field(default_factory=dict)
    graphs: list[Value] = field(default_factory=list)


def check_graph_limits(view: Value) -> None:
    """Refuse a model that asks for more memory or work than any that is known.

    Raises:
        ModelLimitError: of what it has too much, and how much is allowed.
        ValueError, IndexError: it is not an ONNX model.
    """
    _Walk().model(view)


class _Walk:
    """One walk over a model, with one budget for all of its parts."""

    def __init__(self) -> None:
        self._nodes = self._bodies = self._stored = self._text = self._parts = 0
        self._made = 0.0
        self._functions: dict[tuple[str, str], _Function] = {}

    def model(self, view: Value) -> None:
        graphs = []
        entries = metadata = functions = 0
        for number, value in self._fields(view):
            if number == _MODEL_GRAPH:
                graphs.append(value)
            elif number == _MODEL_METADATA:
                entries, metadata = entries + 1, metadata + _length(value)
                check_limit("keys of metadata", entries, ENTRIES)
                check_limit("bytes of metadata", metadata, METADATA)
                for _ in self._fields(value):
                    pass
            elif number == _MODEL_FUNCTION:
                functions += 1
                check_limit("functions", functions, NODES)
                self._function(value)
            else:
                self._count_text(value)
        for graph in graphs:
            self._graph(graph, ChainMap(), 0)

    def _fields(self, view: Value) -> Iterator[tuple[int, Value]]:
        for number, value, _ in pieces(view):
            self._parts += 1
            check_limit("fields", self._parts, PARTS)
            if value is not None:
                yield number, value

    def _count_text(self, value: Value) -> None:
        self._text += _length(value)
        check_limit("bytes of names and comments", self._text, TEXT)

    def _count_body(self) -> None:
        self._bodies += 1
        check_limit("nodes", self._bodies, NODES)

    def _count_stored(self) -> None:
        self._stored += 1
        check_limit("stored tensors", self._stored, STORED)

    def _function(self, view: Value) -> None:
        found = _Function()
        name = domain = ""
        for number, value in self._fields(view):
            if number == _FUNCTION_NODE:
                found.nodes.append(value)
                self._count_body()
                continue
            self._count_text(value)
            if number == _FUNCTION_NAME:
                name = text(value)
            elif number == _FUNCTION_DOMAIN:
                domain = text(value)
            elif number == _FUNCTION_INPUT:
                found.inputs.append(text(value))
            elif number == _FUNCTION_OUTPUT:
                found.outputs.append(text(value))
        self._functions[domain, name] = found

    def _graph(self, view: Value, outer: _Scope, depth: int) -> None:
        check_limit("graphs within one another", depth, NESTING)
        scope = outer.new_child()
        nodes = []
        inputs = outputs = 0
        for number, value in self._fields(view):
            if number == _GRAPH_NODE:
                nodes.append(value)
                check_limit("nodes", self._nodes + len(nodes), NODES)
            elif number == _GRAPH_INITIALIZER:
                self._count_stored()
                name, fact = self._tensor(value)
                scope[name] = fact
            elif number == _GRAPH_SPARSE:
                self._count_stored()
                self._sparse(value)
            elif number == _GRAPH_INPUT:
                inputs += 1
                check_limit("inputs", inputs, PORTS)
                name, fact = self._port(value)
                scope.setdefault(name, fact)
            elif number == _GRAPH_OUTPUT:
                outputs += 1
                check_limit("outputs", outputs, PORTS)
                self._port(value)
            else:
                self._count_text(value)
        self._run(nodes, scope, depth)

    def _run(self, nodes: Iterable[Value], scope: _Scope, depth: int) -> None:
        for view in nodes:
            self._nodes += 1
            check_limit("nodes", self._nodes, NODES)
            self._node(view, scope, depth)

    def _node(self, view: Value, scope: _Scope, depth: int) -> None:
        inputs: list[str] = []
        outputs: list[str] = []
        attributes = _Attributes()
        operator = domain = ""
        for number, value in self._fields(view):
            if number == _NODE_ATTRIBUTE:
                self._attribute(value, attributes)
                continue
            self._count_text(value)
            if number == _NODE_INPUT:
                inputs.append(text(value))
            elif number == _NODE_OUTPUT:
                outputs.append(text(value))
            elif number == _NODE_OPERATOR:
                operator = text(value)
            elif number == _NODE_DOMAIN:
                domain = text(value)
        for graph in attributes.graphs:
            self._graph(graph, scope, depth + 1)
        facts = [scope.get(name, UNKNOWN) if name else ABSENT for name in inputs]
        function = self._functions.get((domain, operator))
        if function is not None:
            found = self._call(function, facts, depth)
        else:
            step = Step(inputs=facts, ints=attributes.ints, tensors=attributes.tensors)
            found = [infer(operator, step)]
            self._count_made(operator, dict(zip(inputs, facts, strict=True)), found[0])
        scope.update(zip(outputs, found, strict=False))

    def _call(self, function: _Function, facts: list[Fact], depth: int) -> list[Fact]:
        check_limit("graphs within one another", depth + 1, NESTING)
        scope: _Scope = ChainMap(dict(zip(function.inputs, facts, strict=False)))
        self._run(function.nodes, scope, depth + 1)
        return [scope.get(name, UNKNOWN) for name in function.outputs]

    def _count_made(self, operator: str, inputs: Mapping[str, Fact], made: Fact) -> None:
        count = amount(made)
        check_limit("values in a tensor", count, TENSOR, f"{operator} makes {count_text(count)}")
        if made.constant:
            more = max(0.0, count - sum(map(amount, inputs.values())))  # each input once
            self._count(more, operator)

    def _sparse(self, view: Value) -> None:
        """A sparse tensor is laid out in full when it is loaded."""
        count = 1.0
        for axis, n in enumerate(
            n for number, value in self._fields(view) if number == _SPARSE_DIMS for n in numbers(value)
        ):
            check_limit("axes of a tensor", axis + 1, AXES)
            count *= _size(n)
        self._count(count, "a sparse tensor")

    def _count(self, more: float, maker: str) -> None:
        self._made += more
        check_limit("values made of constants", self._made, MADE, f"{maker} makes {count_text(more)} of them")

    def _attribute(self, view: Value, found: _Attributes) -> None:
        name = ""
        ints: list[float] = []
        tensor: Fact | None = None
        for number, value in self._fields(view):
            if number == _ATTRIBUTE_NAME:
                name = text(value)
            elif number in (_ATTRIBUTE_INT, _ATTRIBUTE_INTS):
                ints += _signed_numbers(value) if len(ints) < FEW else []
            elif number == _ATTRIBUTE_TENSOR:
                self._count_stored()
                tensor = self._tensor(value)[1]
            elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                found.graphs.append(value)
            elif number == _ATTRIBUTE_SPARSE:
                self._sparse(value)
        if tensor is not None:
            found.tensors[name] = tensor
        if 0 < len(ints) <= FEW:
            found.ints[name] = ints

    def _port(self, view: Value) -> tuple[str, Fact]:
        """Name and shape of an input or output of a graph."""
        name = ""
        shape: list[float] = []
        exact = True
        for number, value in self._fields(view):
            if number == 1:
                name = text(value)
            elif number == 2:
                for part in self._messages(value, 1):  # of the type: a tensor
                    for dims in self._messages(part, 2):
                        for dim in self._messages(dims, 1):
                            size = dict(self._fields(dim)).get(1)
                            exact = exact and isinstance(size, int) and size >> 63 == 0
                            shape.append(_size(size) if isinstance(size, int) else 1.0)
                            check_limit("axes of a tensor", len(shape), AXES)
        return name, Fact(shape=tuple(shape) or None, exact=exact and bool(shape))

    def _messages(self, view: Value, wanted: int) -> Iterable[Value]:
        return (value for number, value in self._fields(view) if number == wanted)

    def _tensor(self, view: Value) -> tuple[str, Fact]:
        """Name of a stored tensor, and what is known of it."""
        name, kind = "", 0
        shape: list[float] = []
        raw: memoryview = memoryview(b"")
        values: list[float] = []
        for number, value in self._fields(view):
            if number == _TENSOR_DIMS:
                for n in numbers(value):
                    shape.append(_size(n))
                    check_limit("axes of a tensor", len(shape), AXES)
            elif number == _TENSOR_TYPE and isinstance(value, int):
                kind = value
            elif number == _TENSOR_NAME:
                name = text(value)
            elif number == _TENSOR_RAW and isinstance(value, memoryview):
                raw = value
            elif number in _TYPED and isinstance(value, memoryview) and len(value) <= 8 * FEW:
                values += _unpacked(value, _TYPED[number])
            elif number in (_TENSOR_INT32S, _TENSOR_INT64S) and len(values) < FEW:
                values += _signed_numbers(value)
        known = Fact(shape=tuple(shape), exact=True, constant=True)
        check_limit(
            "values in a tensor", amount(known), TENSOR, f"{count_text(amount(known))} are to be stored"
        )
        if len(raw) and kind in _FORMATS and len(raw) <= 8 * FEW:
            values = _unpacked(raw, _FORMATS[kind])
        if amount(known) == len(values):
            known = replace(known, values=tuple(values))
        return name, known


def _length(value: Value) -> int:
    return len(value) if isinstance(value, memoryview) else 0


def _signed(n: int) -> float:
    return float(n - (1 << 64) if n >> 63 else n)


def _signed_numbers(value: Value) -> list[float]:
    if isinstance(value, memoryview) and len(value) > FEW * 10:
        return []
    return [_signed(n) for n in numbers(value)]


def _size(n: int) -> float:
    """Of an axis; one that is negative or open counts as 1."""
    return float(n) if n >> 63 == 0 else 1.0


def _unpacked(data: memoryview, code: str) -> list[float]:
    count = len(data) // struct.calcsize(code)
    return [float(n) for n in struct.unpack_from(f"<{count}{code}", data)]
