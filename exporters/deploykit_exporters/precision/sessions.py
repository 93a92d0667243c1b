"""Running a graph in memory as it is written, node for node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.machine.scratch import scratch_folder
from deploykit_runtimes.optional import require
from deploykit_runtimes.ort.errors import failures
from deploykit_runtimes.text.printable import one_line

if TYPE_CHECKING:
    import onnx

__all__ = ["Arrays", "outputs_of"]

Arrays = Mapping[str, np.ndarray]

_LARGEST = 1_800_000_000
"""Bytes of a model that a session takes from memory."""


def outputs_of(model: onnx.ModelProto, feeds: Iterable[Arrays]) -> Iterator[dict[str, np.ndarray]]:
    """What a graph returns for each of some feeds, computed by ONNX Runtime without any rewriting.

    Args:
        model: The graph; its weights are inside.
        feeds: The inputs, by name.

    Raises:
        ModelError: ONNX Runtime cannot run it.
        DependencyError: onnxruntime is not installed.
    """
    ort = require("onnxruntime", extra="cpu", purpose="measure a model")
    names = [output.name for output in model.graph.output]
    try:
        session = _session(ort, model)
        for feed in feeds:
            yield dict(zip(names, session.run(names, dict(feed)), strict=True))
    except failures() as error:
        raise ModelError(f"ONNX Runtime {ort.__version__} cannot run the model: {one_line(error)}") from error


def _session(ort: Any, model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= _LARGEST:
        return ort.InferenceSession(model.SerializeToString(), options, providers=providers)
    import onnx

    with scratch_folder() as folder:
        path = folder / "measured.onnx"
        copy = onnx.ModelProto()  # saving takes the weights out of what is saved
        copy.CopyFrom(model)
        onnx.save_model(copy, path, save_as_external_data=True, location="measured.data")
        return ort.InferenceSession(str(path), options, providers=providers)
