"""``bisect``: opens the two sides, and compares them on one case after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.machine.heap import return_freed_memory
from deploykit_runtimes.machine.scratch import scratch_folder
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_file import looks_like_onnx
from deploykit_runtimes.pixels.listing import list_images
from deploykit_runtimes.runtimes import canonical_runtime, runtime_named

from deploykit_exporters.bisect.anew import export_like, other_nodes, other_pixels
from deploykit_exporters.bisect.inputs import cases_of, tightest
from deploykit_exporters.bisect.result import BisectResult
from deploykit_exporters.bisect.search import Search
from deploykit_exporters.bisect.sides import UNOPTIMISED, Side, opener_of
from deploykit_exporters.bisect.stored import Stored
from deploykit_exporters.options import CHECKPOINT_ITSELF, ExportOptions
from deploykit_exporters.proof.tensors import FP32_TOLERANCE, looser
from deploykit_exporters.sources.in_memory import Source, source_name
from deploykit_exporters.torch_temporaries import no_compiler_cache

__all__ = ["bisect"]

Report = Callable[[str], None]


@no_compiler_cache()
def bisect(
    checkpoint: Source,
    model: str | Path,
    images: str | Path | Iterable[str | Path] = (),
    *,
    options: ExportOptions | None = None,
    runtime: str = "ort-cpu",
    engine: EngineOptions | None = None,
    against: str = CHECKPOINT_ITSELF,
    tolerance: float | None = None,
    report: Report | None = None,
) -> BisectResult:
    """Find the first layer at which an engine departs from the reference.

    The reference is the checkpoint, exported again with the options recorded in the file, proven against
    torch and run in ONNX Runtime node for node. If that graph has other nodes than the file, the file
    itself is the reference: this finds what an engine does wrong, not what is wrong in the file.

    Only one part of a graph is loaded in an engine at a time.

    Args:
        checkpoint: The checkpoint, its name, or the module.
        model: The .onnx file.
        images: Image files, folders or patterns, one or several; none: the golden cases of the file, or a
            photo.
        options: Export options that the file does not record.
        runtime: The engine in question, or ``ort-unoptimised``.
        engine: How it is opened; see ``EngineOptions``. Always ``exact``.
        against: ``torch``, the checkpoint; or what else runs the file: ``ort-unoptimised`` or a runtime.
        tolerance: Largest difference allowed, relative to the largest value of a tensor. None: 1e-4, or
            1e-2 for a float16 file; for outputs on a CPU half of what the golden cases allow, if that is
            less.
        report: Called with a sentence as each stage starts.

    Raises:
        OptionError: the model is not an .onnx file, or there is no such runtime.
        ParityError: the checkpoint exported again does not give the checkpoint's answers.
        DeploykitError: a file cannot be read, or an engine refuses a part of the graph.
    """
    path = Path(model)
    if not looks_like_onnx(path):
        raise OptionError(
            f"--bisect cuts the graph of an .onnx file, which {path} is not.",
            hint="Give the .onnx file that it was built from, and --runtime.",
        )
    say = report or (lambda _: None)
    engine = engine or EngineOptions()
    spec = read_onnx(path).spec(engine.outputs)
    work = _Work(
        checkpoint=checkpoint,
        model=path,
        spec=spec,
        options=options or ExportOptions(),
        engine=engine,
        runtime=_named(runtime),
        against=_named(against),
        tolerance=tolerance or FP32_TOLERANCE * looser(spec),
        at_outputs=math.inf if tolerance or not _in_float32(_named(runtime)) else tightest(spec),
        say=say,
    )
    paths = tuple(list_images(images))
    with scratch_folder() as folder:
        return work.result(folder, paths)


def _in_float32(runtime: str) -> bool:
    """Whether a runtime multiplies in float32 where nothing else was asked for: GPUs take TF32."""
    return runtime == UNOPTIMISED or runtime_named(runtime).device == "cpu"


def _named(runtime: str) -> str:
    own = (UNOPTIMISED, CHECKPOINT_ITSELF)
    return runtime if runtime in own else canonical_runtime(runtime)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The arguments of a bisection."""

    checkpoint: Source
    model: Path
    spec: ModelSpec
    options: ExportOptions
    engine: EngineOptions
    runtime: str
    against: str
    tolerance: float
    at_outputs: float
    say: Report

    def result(self, folder: Path, images: tuple[Path, ...]) -> BisectResult:
        candidate = Side(
            title=self.runtime,
            graph=Stored(self.model, folder / "model", self.spec),
            opener=opener_of(self.runtime, self.engine, folder / "model"),
        )
        reference, note = self._reference(candidate, folder)
        same: dict[str, Any] = {
            "checkpoint": source_name(self.checkpoint),
            "model": self.model,
            "engine": self.runtime,
            "reference": reference.title,
            "note": note,
        }
        at_outputs = math.inf if images else self.at_outputs
        compared, names, worst = 0, list[str](), 0.0
        for name, feeds in cases_of(self.spec, images):
            self.say(f"Comparing on {name}")
            search = Search(
                replace(reference, feeds=feeds), replace(candidate, feeds=feeds), self.tolerance, at_outputs
            )
            layer = search.first(sweep=not names)
            compared += search.compared
            if layer is not None:
                off = search.of_outputs()
                same["tolerance"] = search.tolerance
                return BisectResult(case=name, off=off, compared=compared, layer=layer, **same)
            names.append(name)
            worst = max(worst, search.of_outputs())
        same["tolerance"] = self.tolerance
        return BisectResult(case=", ".join(names), off=worst, compared=compared, layer=None, **same)

    def _reference(self, candidate: Side, folder: Path) -> tuple[Side, str]:
        """The reference side, and why it is not the checkpoint if that was requested."""
        if self.against != CHECKPOINT_ITSELF:
            return self._itself(candidate, self.against, folder), ""
        self.say("Exporting the checkpoint anew")
        file = folder / "anew.onnx"
        spec, why = export_like(self.checkpoint, self.spec, self.options, file)
        return_freed_memory()
        if not why:
            graph = Stored(file, folder / "anew", spec)
            file.unlink()
            why = other_nodes(graph, candidate.graph)
            if not why:
                opener = opener_of(UNOPTIMISED, self.engine, folder / "anew")
                title = f"the checkpoint, exported anew, proven against torch, in {UNOPTIMISED}"
                return Side(title=title, graph=graph, opener=opener), other_pixels(spec, self.spec)
        note = (
            f"The file is compared with itself, because {why}: this finds what the engine does wrong, not "
            f"what is wrong in the file. {other_pixels(spec, self.spec)}".rstrip()
        )
        return self._itself(candidate, UNOPTIMISED, folder), note

    def _itself(self, candidate: Side, runtime: str, folder: Path) -> Side:
        opener = opener_of(runtime, self.engine, folder / "model")
        return Side(title=f"the file in {runtime}", graph=candidate.graph, opener=opener)
