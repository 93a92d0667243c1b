"""The proof that no product of a file saturates on CPUs without VNNI.

These add two neighbouring products of an unsigned and a signed 8-bit number in 16 bits (``vpmaddubsw``) and
clip the sum, which changes the answers of the file. Weights within [-64, 64] rule it out, 2 x 255 x 64 =
32,640; for other weights, the two largest with the same sign in each row decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["may_saturate"]

_LARGEST_ACTIVATION = 255
_LIMIT = 32_767


def may_saturate(model: onnx.ModelProto) -> tuple[str, ...]:
    """The products for which a sum of two neighbours can exceed 16 bits with some activations.

    Any two weights of a row count as neighbours, since engines order weights differently: a product not
    listed cannot saturate on any engine.

    Args:
        model: A graph with QuantizeLinear and DequantizeLinear.
    """
    from onnx import TensorProto, numpy_helper

    weights = {each.name: each for each in model.graph.initializer if each.data_type == TensorProto.INT8}
    stored = {
        node.output[0]: weights[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in stored:
            continue
        values = numpy_helper.to_array(stored[node.input[1]]).astype(np.int64)
        if _beyond(_rows(values, node)):
            found.append(node.name)
    return tuple(found)


def _rows(values: np.ndarray, node: onnx.NodeProto) -> np.ndarray:
    """The weights that are summed for one output, as a row each."""
    if node.op_type == "Conv":
        return values.reshape(len(values), -1)
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return values.reshape(-1, values.shape[-1]) if transposed else values.reshape(-1, values.shape[-1]).T


def _beyond(rows: np.ndarray) -> bool:
    if rows.shape[1] < 2:
        return False
    ordered = np.sort(rows, axis=1)
    highest = np.clip(ordered[:, -2:], 0, None).sum(1).max()
    lowest = np.clip(ordered[:, :2], None, 0).sum(1).min()
    return bool(highest * _LARGEST_ACTIVATION > _LIMIT or -lowest * _LARGEST_ACTIVATION > _LIMIT + 1)
