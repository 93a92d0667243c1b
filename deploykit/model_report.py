"""What a model file holds, read without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import DependencyError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.model_file import looks_like_onnx
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.runner import Placement, TensorInfo
from deploykit_runtimes.spec import ModelSpec

if TYPE_CHECKING:
    from deploykit_exporters.graph.facts import GraphReport

__all__ = ["ModelReport", "inspect_model", "is_model_file"]


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """What a model file holds.

    Attributes:
        path, size_bytes, sha256: The file.
        inputs, outputs: Of the graph.
        graph: Its operators and their cost; None where the package ``onnx`` is not installed.
        placement: What ran where on the CPU.
        spec: The contract; inferred from shapes where another exporter wrote the file.
    """

    path: Path
    size_bytes: int
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    graph: GraphReport | None
    placement: Placement
    spec: ModelSpec

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "kind": "model",
            **asdict(self),
            "path": str(self.path),
            "placement": self.placement.to_dict(),
        }


def is_model_file(file: object) -> bool:
    """Whether the file is a model rather than a checkpoint: by its suffix, or its first bytes."""
    if not isinstance(file, str | Path):
        return False
    path = Path(file)
    return path.suffix.lower() == ".onnx" or looks_like_onnx(path)


def inspect_model(path: str | Path) -> ModelReport:
    """Open a model on the CPU and read its graph.

    Raises:
        ModelError: it is not an ONNX model, or its metadata is damaged.
        DependencyError, RuntimeUnavailableError: no engine to open it with.
    """
    path = Path(path)
    with open_runner(path) as runner:
        return ModelReport(
            path=path,
            size_bytes=path.stat().st_size,
            sha256=sha256_of(path),
            inputs=runner.inputs,
            outputs=runner.outputs,
            graph=_graph(path),
            placement=runner.placement(),
            spec=runner.spec,
        )


def _graph(path: Path) -> GraphReport | None:
    """None on a machine without the export packages, where models only run."""
    try:
        from deploykit_exporters.graph.facts import inspect_graph
    except DependencyError:
        return None
    return inspect_graph(path)
