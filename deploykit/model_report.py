"""What a model file holds, read without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.build_options import ENGINE_SUFFIXES
from deploykit_runtimes.builds.model_folder import built_with, is_model_folder, model_file, read_model
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DependencyError
from deploykit_runtimes.onnx.file import OnnxFile
from deploykit_runtimes.onnx.model_file import looks_like_onnx
from deploykit_runtimes.onnx.model_files import hash_model, model_bytes
from deploykit_runtimes.onnx.precompiled import compilers, runtimes_of_compiled
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.runner import Placement
from deploykit_runtimes.selftest.cases import cases_from_keys

if TYPE_CHECKING:
    from deploykit_exporters.graph.report import GraphReport

__all__ = ["ModelReport", "inspect_model", "is_model_file"]


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelReport:
    """What a model file holds.

    Attributes:
        path: Its file.
        size_bytes, sha256: Size and hash of the file, including the files that it refers to; see
            ``hash_model``.
        inputs, outputs: Of the graph.
        graph: Its operators and their cost; None if the package ``onnx`` is not installed.
        placement: What ran where on the CPU; None for compiled models, which only their own engine opens.
        compiled: Who compiled it, for what, and what opens it; empty for an ordinary model.
        built: Compiled forms stored next to it: engine files, and cache folders.
        spec: The contract; inferred from shapes if another exporter wrote the file.
    """

    path: Path
    size_bytes: int
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    graph: GraphReport | None
    placement: Placement | None
    spec: ModelSpec
    compiled: str = ""
    built: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        return f"ModelReport({self.path}: {self.size_bytes:,} bytes, {self.spec!r})"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "kind": "model",
            **asdict(replace(self, spec=replace(self.spec, golden={}))),
            "golden_cases": len(cases_from_keys(self.spec.golden)),
            "path": str(self.path),
            "built": [str(path) for path in self.built],
            "placement": self.placement and self.placement.to_dict(),
        }


def is_model_file(file: object) -> bool:
    """Whether the file is a model rather than a checkpoint: by suffix or first bytes, for a folder by its
    content.
    """
    if not isinstance(file, str | Path):
        return False
    path = Path(file)
    return (
        path.suffix.lower() in (".onnx", *ENGINE_SUFFIXES) or looks_like_onnx(path) or is_model_folder(path)
    )


def inspect_model(path: str | Path, *, outputs: str | None = None) -> ModelReport:
    """Open a model on the CPU and read its graph; for a compiled model, read its description.

    Args:
        path: The file, or a folder that ``deploykit build`` wrote.
        outputs: What its outputs mean; see ``EngineOptions``.

    Raises:
        ModelError: it is not an ONNX model or engine, its metadata is damaged, or a file that it needs
            is missing.
        OptionError: ``outputs`` does not fit the file.
        DependencyError, RuntimeUnavailableError: no engine can open it.
    """
    given = Path(path)
    path = model_file(given)
    holds_model = given.is_dir() and given / path.name == path
    built = tuple(each for each in built_with(given if holds_model else path) if each != path)
    file = read_model(path)
    is_engine = path.suffix in ENGINE_SUFFIXES
    if is_engine or file.compiled:
        return ModelReport(
            path=path,
            size_bytes=model_bytes(path),
            sha256=hash_model(path),
            inputs=file.inputs,
            outputs=file.outputs,
            graph=None if is_engine else _graph(path),
            placement=None,
            spec=file.spec(outputs),
            compiled=_engine_maker(path) if is_engine else _context_maker(file),
            built=built,
        )
    with open_runner(path, options=EngineOptions(outputs=outputs)) as runner:
        return ModelReport(
            path=path,
            size_bytes=model_bytes(path),
            sha256=hash_model(path),
            inputs=runner.inputs,
            outputs=runner.outputs,
            graph=_graph(path),
            placement=runner.placement(),
            spec=runner.spec,
            built=built,
        )


def _engine_maker(path: Path) -> str:
    """``tensorrt-rtx 1.7.1.14, for compute capability 8.6: --runtime trt-rtx``."""
    from deploykit_runtimes.trt.engine_file import read_sidecar

    sidecar = read_sidecar(path)
    if sidecar is None:
        return "TensorRT, by Ultralytics: --runtime trt"
    key = sidecar.key
    runtime = "trt-rtx" if key.flavour == "tensorrt-rtx" else "trt"
    targets = f"compute capability {', '.join(key.capabilities) or '8.0 and later'}"
    gpu = f"{key.gpu}, {targets}" if key.gpu else targets
    return f"{key.flavour} {key.version}, for {gpu}: --runtime {runtime}"


def _context_maker(file: OnnxFile) -> str:
    runtimes = " or ".join(runtimes_of_compiled(file))
    return f"{compilers(file)}: --runtime {runtimes}" if runtimes else f"{compilers(file)}: no runtime here"


def _graph(path: Path) -> GraphReport | None:
    """The graph; None on a machine without the export packages, which only runs models."""
    try:
        from deploykit_exporters.graph.report import inspect_graph
    except DependencyError:
        return None
    return inspect_graph(path)
