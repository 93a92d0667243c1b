"""A candidate: which layers compute in 8 bits, with which ranges, and which other operators do so too."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from deploykit_exporters.passes.drop_unused import drop_unused, reads

from deploykit.quantization.int8.graph.network import ELEMENTWISE, MOVEMENT, PRODUCTS, Network

if TYPE_CHECKING:
    import onnx

__all__ = ["FORMS", "Choice", "Form", "quantised"]

_LARGEST = 127
"""Of a symmetric signed activation."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What is quantised besides the products.

    Attributes:
        name: For reports.
        operators: Further operators that compute in 8 bits between quantised products.
        float_outputs: Products whose sums are not rounded to 8 bits.
        portable: Whether TensorRT accepts it; TensorRT refuses some constants in 8 bits.
    """

    name: str
    operators: tuple[str, ...] = ()
    float_outputs: tuple[str, ...] = ()
    portable: bool = True


FORMS = (
    Form(name="inputs", float_outputs=PRODUCTS),
    Form(name="convolutions whole", float_outputs=("Gemm", "MatMul")),
    Form(name="products whole"),
    Form(name="with movement", operators=MOVEMENT),
    Form(name="with elementwise operators", operators=(*MOVEMENT, *ELEMENTWISE), portable=False),
)
"""From the fewest to the most roundings."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A candidate.

    Attributes:
        nodes: The products that compute in 8 bits.
        method: How ranges are derived from the histograms; see ``activations.METHODS``.
        form: See ``Form``.
        weight_bits: 7: weights within [-64, 64], whose products never saturate; 8: all of int8.
    """

    nodes: frozenset[str]
    method: str
    form: Form
    weight_bits: int = 7

    @property
    def key(self) -> str:
        """A short name that is the same in every run."""
        text = json.dumps([sorted(self.nodes), self.method, self.form.name, self.weight_bits])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def quantised(network: Network, choice: Choice, ranges: Mapping[str, float]) -> onnx.ModelProto:
    """The graph of a candidate, by ONNX Runtime's quantiser: signed and symmetric, weights by channel.

    Args:
        network: The float32 graph; it is not changed.
        choice: The candidate.
        ranges: The largest magnitude of each tensor.
    """
    from onnx import ModelProto, TensorProto, numpy_helper
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import QuantType

    model = ModelProto()
    model.CopyFrom(network.model)
    known = {
        name: TensorData(lowest=np.float32(-most), highest=np.float32(most)) for name, most in ranges.items()
    }
    followers = _between(network, choice)
    quantiser = QDQQuantizer(
        model,
        True,  # weights by channel
        choice.weight_bits < 8,
        QuantType.QInt8,
        QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, known),
        [*sorted(choice.nodes), *followers],
        [],
        [*PRODUCTS, *choice.form.operators],
        {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "OpTypesToExcludeOutputQuantization": list(choice.form.float_outputs),
            "QDQKeepRemovableActivations": True,
            "QuantizeBias": False,  # TensorRT takes float biases alone; ONNX Runtime makes its own of them
        },
    )
    with _quiet():
        quantiser.quantize_model()
    found: onnx.ModelProto = quantiser.model.model
    _sort_nodes(found.graph)
    drop_unused(found)
    assert all(
        np.abs(numpy_helper.to_array(tensor).astype(np.int16)).max(initial=0) <= _most(choice.weight_bits)
        for tensor in found.graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
    )
    return found


def _between(network: Network, choice: Choice) -> list[str]:
    """The form's further operators that lead to a product in 8 bits. Those after the last product, where
    boxes and scores meet, would give both one scale.
    """
    if not choice.form.operators:
        return []
    reaching: set[str] = set()
    needed: set[str] = set()
    for node in reversed(network.model.graph.node):
        if node.name in choice.nodes or needed.intersection(node.output):
            reaching.add(node.name)
            needed |= reads(node)
    return [
        node.name
        for node in network.nodes(choice.form.operators)
        if node.name in reaching and node.name not in choice.nodes
    ]


def _most(bits: int) -> int:
    return 1 << (bits - 1)


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Sort nodes after those whose outputs they read, in loops and branches too; if that is impossible,
    leave them.
    """
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    waiting: list[set[int]] = []
    readers: dict[int, list[int]] = {}
    for place, node in enumerate(graph.node):
        before = {makers[name] for name in reads(node) if name in makers} - {place}
        waiting.append(before)
        for other in before:
            readers.setdefault(other, []).append(place)
    ready = [place for place, before in enumerate(waiting) if not before]
    heapq.heapify(ready)
    order = []
    while ready:
        place = heapq.heappop(ready)
        order.append(place)
        for reader in readers.get(place, ()):
            waiting[reader].discard(place)
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    nodes = [type(graph.node[place]).FromString(graph.node[place].SerializeToString()) for place in order]
    del graph.node[:]
    graph.node.extend(nodes)


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """Silence ONNX Runtime's quantiser, which prints, and warns about what is done on purpose here."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
