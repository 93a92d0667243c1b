"""How far a candidate's tensors are from float32: cheap, and precise enough to rank layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec

from deploykit.quantization.int8.graph.network import Network
from deploykit.quantization.int8.measuring.sessions import session_returning

if TYPE_CHECKING:
    import onnx

__all__ = ["TensorError"]

_ROWS = {"yolo": (0, 4), "yolov5": (0, 5)}
"""Where boxes end and scores begin, which have scales of their own."""

Feeds = Mapping[str, np.ndarray]


class TensorError:
    """Compares candidates on a few pictures.

    Args:
        network: The float32 network.
        feeds: The graph's inputs for each of the pictures.
    """

    def __init__(self, network: Network, feeds: Sequence[Feeds]) -> None:
        self._heads, self._feeds, self._spec = network.heads, feeds, network.spec
        self._wanted = self._run(network.model)

    def of(self, model: onnx.ModelProto) -> float:
        """The root mean square of the differences relative to that of the values, averaged over the
        network's outputs and the pictures.
        """
        found = self._run(model)
        shares = [
            _share(part, other)
            for wanted, values in zip(self._wanted, found, strict=True)
            for part, other in zip(_parts(wanted, self._spec), _parts(values, self._spec), strict=True)
        ]
        return float(np.mean(shares))

    def _run(self, model: onnx.ModelProto) -> list[np.ndarray]:
        session = session_returning(model, self._heads)
        names = [output.name for output in session.get_outputs()]
        return [value for feeds in self._feeds for value in session.run(names, dict(feeds))]


def _parts(value: np.ndarray, spec: ModelSpec) -> list[np.ndarray]:
    """Boxes and scores separately, because no single scale fits both."""
    if value.ndim != 3 or spec.output.layout not in (*_ROWS, "detections") or spec.task == "classify":
        return [value]
    if spec.output.layout == "yolov5":
        return [value[:, :, :4], value[:, :, 4:]]
    return [value[:, :4], value[:, 4:]]


def _share(wanted: np.ndarray, found: np.ndarray) -> float:
    scale = float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64))))
    off = float(np.sqrt(np.mean(np.square(wanted.astype(np.float64) - found))))
    return off / scale if scale else (0.0 if off == 0 else 1.0)
