"""Products of bytes that saturate, and how INT8 files give correct answers on x86 processors without VNNI.

Their vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits: 255 * 127 + 255 * 127 gives
32767 instead of 64770, and an INT8 file gives other answers than with VNNI, on Arm and on GPUs. Weights
within [-64, 64] cannot get there. Others become unsigned at load, exactly like activations (``unsigned``):
products of unsigned bytes take 32 bits. ONNX Runtime's own setting for that, ``session.x64quantprecision``,
does not open files in which two weights share a zero point (1.32).

ONNX Runtime itself makes activations unsigned that stay signed, as with ``EngineOptions.exact``, unless
``session.qdqisint8allowed`` is set; with it products stay signed, which is correct but slow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deploykit_runtimes.machine.cpu import cpu_class
from deploykit_runtimes.onnx.edit import Node, edit_graph
from deploykit_runtimes.onnx.file import OnnxFile, map_onnx
from deploykit_runtimes.onnx.quantised import (
    QuantisedGraph,
    dequantises,
    is_in_blocks,
    makes_signed,
    quantised_graphs,
    quantises,
    read_quantised,
    shift,
)
from deploykit_runtimes.onnx.stored import INT8, UINT8, Stored

__all__ = [
    "SIGNED_PRODUCTS",
    "goes_beyond",
    "keeps_signed",
    "processor_saturates",
    "saturates",
    "widen_products",
]

SIGNED_PRODUCTS = {"session.qdqisint8allowed": "1"}
_LEAST, _MOST = -64, 64
"""2 * 255 * 64 fits into 16 bits."""
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def processor_saturates() -> bool:
    """Whether this processor adds products of bytes in 16 bits."""
    return cpu_class() == "no-vnni"


def widen_products(model: bytes) -> bytes | None:
    """Make weights beyond [-64, 64] unsigned where they are multiplied with unsigned activations.

    Args:
        model: An ONNX file with QuantizeLinear and DequantizeLinear nodes, and no weights beside it.

    Returns:
        None: it has no such weights.
    """
    return edit_graph(model, lambda graph: _widened(read_quantised(graph)))


def saturates(path: Path, file: OnnxFile) -> bool:
    """Whether products of a file saturate on this processor, in an engine that takes it as it is.

    Args:
        path: The .onnx file.
        file: What was read of it.
    """
    if not file.weights.get("int8") or not processor_saturates():
        return False
    try:
        graphs = quantised_graphs(map_onnx(path))
        return any(goes_beyond(tensor) for graph in graphs for tensor in graph.stored.values())
    except (ValueError, IndexError, OSError):
        return False  # for the engine to refuse


def keeps_signed(model: memoryview) -> bool:
    """Whether a model quantises activations to int8 and has weights beyond [-64, 64].

    Raises:
        ValueError, IndexError: it is not a valid protobuf message.
    """
    for graph in quantised_graphs(model):
        signed = any(quantises(node) and makes_signed(node, graph) for node in graph.nodes)
        if signed and any(map(goes_beyond, graph.stored.values())):
            return True
    return False


def goes_beyond(tensor: Stored) -> bool:
    """Whether sums of two products of these weights may leave 16 bits. Those in another file may."""
    if tensor.dtype != INT8 or len(tensor.shape) < 2:  # zero points have one axis at most
        return False
    values = np.frombuffer(tensor.bytes(), np.int8)
    return tensor.beside or bool(values.size and (values.min() < _LEAST or values.max() > _MOST))


def _widened(graph: QuantisedGraph) -> bytes | None:
    restored = {node.outputs[0]: node for node in graph.nodes if dequantises(node)}
    readers: dict[str, list[tuple[Node, int]]] = {}
    for node in graph.nodes:
        for index, name in enumerate(node.inputs):
            readers.setdefault(name, []).append((node, index))
        for name in node.inside:
            readers.setdefault(name, []).append((node, -1))

    def meets_signed(node: Node, index: int) -> bool:
        """Whether a node multiplies signed activations by this: no kernel takes unsigned weights there."""
        other = restored.get(node.inputs[0])
        return (
            node.operator in _PRODUCTS and index == 1 and other is not None and not _is_unsigned(other, graph)
        )

    chosen = set()
    for name, tensor in graph.stored.items():
        if name in graph.inputs or name in graph.outputs or not tensor.bytes() or not goes_beyond(tensor):
            continue
        found = readers.get(name, [])
        plain = all(
            dequantises(node) and index == 0 and graph.zero(node) is not None and not is_in_blocks(node)
            for node, index in found
        )
        behind = (each for node, _ in found for each in readers.get(node.outputs[0], []))
        if plain and not any(meets_signed(*each) for each in behind):
            chosen.add(name)
    return shift(graph, chosen)


def _is_unsigned(node: Node, graph: QuantisedGraph) -> bool:
    """Whether a DequantizeLinear reads uint8 values."""
    point = graph.stored.get(node.inputs[2] if len(node.inputs) > 2 else "")
    return point is not None and point.dtype == UINT8
