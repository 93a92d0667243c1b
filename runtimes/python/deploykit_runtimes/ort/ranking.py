"""The best classes, found by the engine: softmax and top-k at the end of a classifier's own graph.

When a network has run, the caches hold its weights. numpy's first reduction waits 50 us for its code and
Python's, softmax and top-k 150 us, which is 2 % of an EfficientNet-B0; as nodes they take 20 us. The file
stays what it is. The nodes are appended to its bytes in memory: messages of protocol buffers merge where
their bytes are joined, and repeated fields, such as nodes and outputs, add up
(https://protobuf.dev/programming-guides/encoding/#last-one-wins).
"""

from __future__ import annotations

from importlib.resources import files
from math import isnan

import numpy as np

from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.onnx.file import OnnxFile
from deploykit_runtimes.runner import BestClasses

__all__ = ["ADDED", "CLASSES", "LOGITS", "RANKED", "RANKING", "SCORES", "append_ranking", "read_ranking"]

RANKED = 5
"""How many classes."""
LOGITS = "logits"
ADDED = "deploykit."
"""How the names of all that is added begin."""
RANKING = SCORES, CLASSES = f"{ADDED}scores", f"{ADDED}classes"
"""The added outputs: float32 [N, 5], all NaN where the logits hold NaN or infinity, and int64 [N, 5]."""


def append_ranking(model: bytes, file: OnnxFile) -> bytes | None:
    """The model with the added outputs; None where its scores are ranked on the host.

    Args:
        model: An ONNX file that ``deploykit export`` wrote.
        file: Its outside.
    """
    output = file.spec().output
    suits = (
        (output.names, output.layout, output.activation) == ((LOGITS,), "logits", "softmax")
        and [info.dtype for info in file.outputs] == ["float32"]
        and _columns(file.outputs[0]) >= RANKED
    )
    if not suits:
        return None
    return model + files("deploykit_runtimes").joinpath("assets", "ranking.pb").read_bytes()


def _columns(output: TensorInfo) -> int:
    """Of scores [N, C]; 0 where that is not known."""
    columns = output.shape[1] if len(output.shape) == 2 else 0
    return columns if isinstance(columns, int) else 0


def read_ranking(scores: np.ndarray, classes: np.ndarray) -> BestClasses | None:
    """The classes of the added outputs.

    Args:
        scores, classes: The added outputs.

    Returns:
        None: the logits are not finite.
    """
    found: list[list[float]] = scores.tolist()
    if isnan(found[0][0]):  # all are, or none
        return None
    return BestClasses(classes.tolist(), found)
