"""A runtime of another package: the reference implementation of ONNX, written to be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.runner import BaseRunner, Placement, check_feeds
from deploykit_runtimes.runtimes import Runtime


class ReferenceRunner(BaseRunner):
    """Evaluates the graph node by node, in numpy."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        from onnx.reference import ReferenceEvaluator

        file = read_onnx(path)
        self._spec, self._inputs, self._outputs = file.spec(options.outputs), file.inputs, file.outputs
        self._nodes = file.nodes
        self._evaluator = ReferenceEvaluator(str(path))

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        check_feeds(self._spec, self._inputs, feeds)
        answers = self._evaluator.run(None, dict(feeds))
        return dict(zip((each.name for each in self._outputs), answers, strict=True))

    def placement(self) -> Placement:
        import onnx

        nodes = {"numpy": self._nodes}
        return Placement(engine="onnx-reference", version=onnx.__version__, device="cpu", providers=nodes)


def open_reference(path: str | Path, *, options: EngineOptions) -> ReferenceRunner:
    """Load an ONNX file."""
    return ReferenceRunner(Path(path), options)


RUNTIME = Runtime(
    name="onnx-reference",
    engine="other",
    device="cpu",
    opener="reference_runtime:open_reference",
    packages=("onnx",),
)
