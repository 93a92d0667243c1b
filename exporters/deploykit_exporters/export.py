"""From a checkpoint to a proven ONNX file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from deploykit_runtimes.contract.axes import AXES
from deploykit_runtimes.contract.spec import AxisRange, ModelSpec, ParityRecord
from deploykit_runtimes.errors import OptionError, ParityError
from deploykit_runtimes.files import atomic_path
from deploykit_runtimes.machine.heap import return_freed_memory
from deploykit_runtimes.machine.scratch import scratch_folder
from deploykit_runtimes.text.printable import printable

from deploykit_exporters.families.base import BuiltModel
from deploykit_exporters.golden.file import read_golden
from deploykit_exporters.golden.prove import GoldenProof, with_labels
from deploykit_exporters.graph.onnx_export import DEFAULT_OPSET, export_graph, simplify_file
from deploykit_exporters.graph.report import GraphCounts, count_graph
from deploykit_exporters.graph.storage import check_room, save_model, store
from deploykit_exporters.load import LoadedCheckpoint, load_checkpoint
from deploykit_exporters.option_values import ExporterName
from deploykit_exporters.options import ExportOptions, hints_of
from deploykit_exporters.precheck import check_source, output_path
from deploykit_exporters.precision.feeds import folder_pictures
from deploykit_exporters.precision.file import write_fp16
from deploykit_exporters.proof.candidate import open_candidate
from deploykit_exporters.proof.float64 import Float64Reference
from deploykit_exporters.proof.golden_cases.keys import NO_CASES, Around, golden_keys
from deploykit_exporters.proof.own_forward import compare_forward
from deploykit_exporters.proof.tensors import proof_cases, prove
from deploykit_exporters.proof.torch_runner import TorchRunner
from deploykit_exporters.proof.witness import ask_witness
from deploykit_exporters.self_contained import (
    Composition,
    host_output,
    network_axes,
    refuse_unused,
    self_contained_spec,
)
from deploykit_exporters.sources.in_memory import Source, is_in_memory
from deploykit_exporters.torch_temporaries import no_compiler_cache

if TYPE_CHECKING:
    import onnx

__all__ = ["ExportResult", "export"]

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, repr=False)
class ExportResult:
    """The result of an export.

    Attributes:
        path: The .onnx file, or the device or pipe that it was written to.
        spec: What the file says about itself, including the proof.
        graph: Size of the graph.
        size_bytes: Size of the file.
        seconds: Wall-clock time of each stage.
        notes: Decisions made during the export, in sentences.
    """

    path: Path
    spec: ModelSpec
    graph: GraphCounts
    size_bytes: int
    seconds: dict[str, float]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        proof = "" if self.spec.parity is None else f", off by {self.spec.parity.max_rel:.1e}"
        return f"ExportResult({self.path}, {self.size_bytes:,} bytes, {self.spec!r}{proof})"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        from deploykit_runtimes.contract.metadata import spec_to_metadata

        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "opset": self.graph.opset,
            "nodes": self.graph.nodes,
            "operators": dict(self.graph.operators),
            "parameters": self.graph.parameters,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "notes": list(self.notes),
            "metadata": spec_to_metadata(replace(self.spec, golden={})),
        }


@no_compiler_cache()
def export(
    checkpoint: Source,
    options: ExportOptions | None = None,
    *,
    pictures: Sequence[Path] = (),
    report: Report | None = None,
) -> ExportResult:
    """Export a checkpoint to one ONNX file and prove that it gives the checkpoint's answers.

    Args:
        checkpoint: A file or folder, a name such as ``timm:vit_base_patch16_224``, or a module or weights in
            memory.
        options: See ``ExportOptions``.
        pictures: Pictures to measure a lower precision on; empty: those of ``options.calib``.
        report: Called with a sentence as each stage starts.

    Raises:
        ParityError: the ONNX file differs from the checkpoint beyond tolerance, or the checkpoint from the
            golden answers; nothing is written.
        CheckpointError, OptionError, DependencyError, DownloadError: see ``load_checkpoint``.
        OptionError: the target cannot be written, see ``output_path`` and ``check_room``.
        InputError: there are no calibration pictures, or none can be read.
    """
    options = options or ExportOptions()
    check_source(checkpoint)
    if options.precision == "fp16":
        return _in_fp16(checkpoint, options, pictures, report or (lambda _: None))
    output = output_path(checkpoint, options)
    clock = _Clock(report or (lambda _: None))
    with clock.stage("read", "Reading the checkpoint"):
        golden = None if options.golden is None else read_golden(options.golden)
        loaded = with_labels(load_checkpoint(checkpoint, hints_of(options), trust=options.trust), golden)
        built = loaded.built
        exporter = options.exporter or built.exporter
        opset = max(options.opset or DEFAULT_OPSET, built.min_opset)
        refuse_unused(built.spec, options)
        spec = _final_spec(loaded, options, exporter, opset)
        finished = self_contained_spec(spec, options)
    check_room(built.module, output)
    answers = None if golden is None else GoldenProof(golden, loaded, spec)
    if answers is not None:
        with clock.stage("golden", "Comparing with the answers of the training process"):
            answers.check_reading()
    notes = [*loaded.checkpoint.notes, *built.notes]
    own = partial(export_graph, exportable(built, spec), spec, exporter=exporter, opset=opset)
    with clock.stage("export", f"Exporting with the {exporter} exporter, opset {opset}"):
        graph = _Graph(own, own())
    if options.simplify:
        with clock.stage("simplify", "Simplifying"):
            graph.simplify(spec)
    with atomic_path(output) as draft:
        with clock.stage("prove", "Proving against the checkpoint"), _network_draft(draft, options) as core:
            record = _first_proven(core, output, graph, spec, built)
            notes += graph.notes
            record = replace(record, witness=_witness(checkpoint, built, spec, options, clock))
            record = record if answers is None else _golden(record, answers, core)
            proven = replace(spec, parity=record)
            if finished == spec and options.golden_cases:
                proven = replace(proven, golden=_golden_cases(built, spec, core, clock))
            save_model(graph.model, core, final=output, spec=proven)
        if finished != spec:
            finish = Composition(built=built, core=spec, finished=finished, options=options, opset=opset)
            with clock.stage("finish", "Putting pre- and post-processing inside, proving the whole"):
                proven, graph.model = finish.write(graph.model, draft, output, record)
        if options.golden_cases and not proven.golden:
            notes.append(NO_CASES)
        size = draft.stat().st_size
    return ExportResult(
        path=output,
        spec=proven,
        graph=count_graph(graph.model),
        size_bytes=size,
        seconds=clock.seconds,
        notes=tuple(notes),
    )


def _in_fp16(
    checkpoint: Source, options: ExportOptions, pictures: Sequence[Path], report: Report
) -> ExportResult:
    """Export in float32 first, and convert the proven file."""
    output = output_path(checkpoint, options)
    if options.calib is not None and not pictures:
        pictures = folder_pictures(options.calib)
    with scratch_folder() as folder:
        first = replace(options, precision="fp32", calib=None, output=folder / "float32.onnx")
        whole = export(checkpoint, first, report=report)
        data = "" if options.calib is None else options.calib.name
        half = write_fp16(whole.path, output, pictures, data=data, report=report)
    return replace(
        whole,
        path=output,
        spec=half.spec,
        graph=count_graph(half.graph.model),
        size_bytes=half.size_bytes,
        seconds={**whole.seconds, "float16": half.seconds},
        notes=(*whole.notes, *half.notes),
    )


def _witness(
    source: Source, built: BuiltModel, spec: ModelSpec, options: ExportOptions, clock: _Clock
) -> str:
    if not options.witness:
        return "none: left out by --no-witness"
    with clock.stage("witness", "Comparing with the training library's own model"):
        said = ask_witness(built, spec)
    if not is_in_memory(source):
        return said
    with clock.stage("forward", "Comparing with the module in memory"):
        own = compare_forward(source, built, spec)
    return f"{said}; {own}" if own else said


def _golden_cases(built: BuiltModel, spec: ModelSpec, file: Path, clock: _Clock) -> Mapping[str, str]:
    with clock.stage("golden cases", "Making the golden cases"), open_candidate(file) as candidate:
        return golden_keys(built, spec, spec, Around(), candidate)


def _golden(record: ParityRecord, answers: GoldenProof, file: Path) -> ParityRecord:
    with open_candidate(file) as candidate:
        return answers.on_record(record, candidate)


def exportable(built: BuiltModel, spec: ModelSpec) -> torch.nn.Module:
    """The form of the model that suits the axes that stay dynamic."""
    if built.fixed is not None and not {"height", "width"} & spec.input.dynamic.keys():
        return built.fixed(spec.input.height, spec.input.width).eval()
    return (built.exportable or built.module).eval()


def _first_proven(
    draft: Path, output: Path, graph: _Graph, spec: ModelSpec, built: BuiltModel
) -> ParityRecord:
    """The proof of the simplified graph or, if it fails, of the exporter's own, whose failure is raised."""
    try:
        return _prove(draft, output, graph.model, spec, built)
    except ParityError:
        if not graph.simplified:
            raise
    graph.replace(
        graph.own(), "The simplified graph did not pass the proof; the exporter's own graph is used."
    )
    return _prove(draft, output, graph.model, spec, built)


def _prove(
    draft: Path, output: Path, model: onnx.ModelProto, spec: ModelSpec, built: BuiltModel
) -> ParityRecord:
    save_model(model, draft, final=output, spec=spec)
    with open_candidate(draft) as candidate, TorchRunner(built, spec) as reference:
        exact = Float64Reference(built.module, spec.output.names)
        record = prove(reference, candidate, built.groups, proof_cases(spec), exact=exact)
    return_freed_memory()
    return record


@contextmanager
def _network_draft(draft: Path, options: ExportOptions) -> Iterator[Path]:
    """Where the network is written for its proof: the draft itself, if nothing else is written."""
    if not (options.preprocess or options.postprocess):
        yield draft
        return
    with scratch_folder() as folder:
        yield folder / "network.onnx"


@dataclass
class _Graph:
    """The network's graph on its way to the file; nothing else holds it, so that one copy is in memory.

    Attributes:
        own: Makes the exporter's own graph.
        model: The graph.
        simplified: Whether it is simplified, or the exporter's own.
        notes: What was done to it, in sentences.
    """

    own: Callable[[], onnx.ModelProto]
    model: onnx.ModelProto
    simplified: bool = False
    notes: list[str] = field(default_factory=list)

    def simplify(self, spec: ModelSpec) -> None:
        """Simplify and rewrite it, by way of a file."""
        import onnx

        from deploykit_exporters.passes.apply import apply_passes, clean_up

        with scratch_folder() as folder:
            path = folder / "own.onnx"
            store(self.model, path)
            del self.model
            return_freed_memory()
            simplified = simplify_file(path)
            if simplified is None:
                note = "onnxsim could not process the graph; the exporter's own graph is used."
                self.replace(onnx.load(path), note)
                return
        applied = apply_passes(simplified)
        clean_up(simplified, spec)
        self.model, self.simplified = simplified, True
        self.notes += [f"Rewritten after simplification: {'; '.join(applied)}."] if applied else []

    def replace(self, own: onnx.ModelProto, note: str) -> None:
        """Take the exporter's own graph instead."""
        self.model, self.simplified, self.notes = own, False, [note]


def _final_spec(
    loaded: LoadedCheckpoint, options: ExportOptions, exporter: ExporterName, opset: int
) -> ModelSpec:
    import onnx
    import onnxsim

    spec = loaded.built.spec
    tools = f"{exporter} opset {opset}, torch {torch.__version__}, onnx {onnx.__version__}"
    if options.simplify:
        tools += f", onnxsim {onnxsim.__version__}"
    dynamic = _dynamic_axes(loaded.built, options)
    if options.preprocess:
        dynamic = network_axes(dynamic, spec.preprocess)
    return replace(
        spec,
        output=host_output(spec.output, options),
        source=spec.source or printable(loaded.checkpoint.path.name),
        source_sha256=loaded.checkpoint.sha256,
        exporter=tools,
        input=replace(spec.input, batch=1 if "batch" in dynamic else options.batch, dynamic=dynamic),
    )


def _dynamic_axes(built: BuiltModel, options: ExportOptions) -> dict[str, AxisRange]:
    wanted = tuple(built.axes) if "all" in options.dynamic else options.dynamic
    impossible = [axis for axis in wanted if axis not in built.axes]
    if impossible:
        raise OptionError(
            f"{built.spec.variant} cannot have a dynamic {' and '.join(impossible)}; "
            f"its dynamic axes are {', '.join(built.axes) or 'none'}.",
            hint="Leave the axis out; --imgsz HEIGHT,WIDTH chooses another fixed size."
            if {"height", "width"} & set(impossible)
            else "Leave the axis out.",
        )
    return {axis: built.axes[axis] for axis in AXES if axis in wanted}


@dataclass
class _Clock:
    report: Report
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, sentence: str) -> Iterator[None]:
        self.report(sentence)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
