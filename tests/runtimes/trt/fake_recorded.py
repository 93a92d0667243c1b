"""The recorded API of real versions of TensorRT, and the ONNX file behind a pretended plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime

API = Path(__file__).parent / "api"
VERSIONS = ("tensorrt-10.16", "tensorrt-11.4", "tensorrt-rtx-1.7")
MAGIC = b"ftrt"


def recorded(name: str) -> dict[str, Any]:
    """The API of a real version: ``tensorrt-10.16``, ``tensorrt-11.4`` or ``tensorrt-rtx-1.7``."""
    found: dict[str, Any] = json.loads((API / f"{name}.json").read_text())
    return found


class Recorded:
    """A class of the bindings: only what is recorded of it can be called, read and set."""

    _api: ClassVar[dict[str, Any]] = {}

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in self._api.get(type(self).__name__, (name,)):
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        known = self._api.get(type(self).__name__)
        if not name.startswith("_") and known is not None and known.get(name) != "property":
            raise AttributeError(f"{type(self).__name__} has no property {name}")
        object.__setattr__(self, name, value)


class OnnxFile:
    """An ONNX file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        proto = onnx.load_from_string(data)
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.data_dependent = any(
            node.op_type in ("NonZero", "NonMaxSuppression") for node in proto.graph.node
        )

    def outputs(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs, -1 where only the data tells."""
        feeds = {n.name: np.zeros(shapes[n.name], numpy_type(n.type)) for n in self.session.get_inputs()}
        found = self.run(feeds)
        nodes = {node.name: node.shape for node in self.session.get_outputs()}
        return {
            name: tuple(
                -1 if self.data_dependent and not isinstance(wanted, int) else n
                for n, wanted in zip(array.shape, nodes[name], strict=True)
            )
            for name, array in found.items()
        }

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [node.name for node in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, feeds), strict=True))


def numpy_type(kind: str) -> Any:
    names = {"float": "float32", "float16": "float16", "uint8": "uint8", "int64": "int64", "int32": "int32"}
    return np.dtype(names[kind.removeprefix("tensor(").removesuffix(")")])
