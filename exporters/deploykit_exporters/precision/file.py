"""A float32 file becomes a typed float16 file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import ModelSpec, PrecisionRecord
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.files import atomic_path
from deploykit_runtimes.onnx.file import OnnxFile, read_onnx
from deploykit_runtimes.onnx.model_files import model_bytes
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.selftest.run import require_self_test
from deploykit_runtimes.targets import check_target
from deploykit_runtimes.text.printable import one_line

from deploykit_exporters.graph.loading import load_graph
from deploykit_exporters.graph.metadata import renew_metadata
from deploykit_exporters.graph.storage import save_model
from deploykit_exporters.precision.convert import Fp16Graph, convert_fp16
from deploykit_exporters.precision.feeds import Calibration, calibration
from deploykit_exporters.precision.golden import with_fp16_tolerances
from deploykit_exporters.proof.candidate import open_candidate

if TYPE_CHECKING:
    import onnx

__all__ = ["Fp16File", "check_float32", "fp16_path", "write_fp16"]

_INT8 = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_SUFFIX = "-fp16"
_NO_CASES = (
    "The file carries no golden cases: the float32 file has none, or float16 gives other objects on them."
)
_FOREIGN = (
    "Another exporter wrote the file: its metadata stay as they are, without golden cases and without a "
    "record of the precision."
)

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, repr=False)
class Fp16File:
    """What a conversion wrote.

    Attributes:
        path: The .onnx file.
        spec: What it says of itself, the record of its precision included.
        size_bytes, source_bytes: Size of the file, and of the float32 file, with the weights beside them.
        graph: The graph, and how it was found.
        calibration: What it was measured on.
        seconds: Wall-clock time.
        notes: What should be known, in sentences.
    """

    path: Path
    spec: ModelSpec
    size_bytes: int
    source_bytes: int
    graph: Fp16Graph
    calibration: Calibration
    seconds: float
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Fp16File({self.path}, {self.size_bytes:,} bytes, {self.spec!r})"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        found = self.graph.found
        return {
            "path": str(self.path),
            "precision": "fp16",
            "size_bytes": self.size_bytes,
            "source_bytes": self.source_bytes,
            "nodes": {"fp16": self.graph.half, "could_be": self.graph.able},
            "products": {"fp16": self.graph.products[0], "of": self.graph.products[1]},
            "casts": self.graph.casts,
            "kept": list(self.graph.kept),
            "calibration": self.calibration.said,
            "images": self.calibration.images,
            "worst": found.where,
            "share_of_budget": found.share,
            "agreed": found.agreed,
            "answers": found.answers,
            "graphs_measured": self.graph.runs,
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            "metadata": spec_to_metadata(replace(self.spec, golden={})),
        }


def fp16_path(source: Path) -> Path:
    """Where the float16 file goes by default: ``best-fp16.onnx`` beside ``best.onnx``."""
    return source.with_name(f"{source.stem}{_SUFFIX}.onnx")


def write_fp16(
    source: Path,
    output: Path | None = None,
    pictures: Sequence[Path] = (),
    *,
    data: str = "",
    outputs: str | None = None,
    report: Report = lambda _: None,
) -> Fp16File:
    """Convert an ONNX file to float16, with what needs float32 kept, and prove it.

    Args:
        source: The float32 file.
        output: The file to write; None: ``fp16_path``.
        pictures: To measure activations on; none: the golden cases, a photo and noise.
        data: What the pictures are called.
        outputs: What the outputs of another exporter's file mean; see ``EngineOptions``.
        report: Called with a sentence as each stage starts.

    Raises:
        ModelError: the file is not an ONNX model of float32, or cannot be run.
        InputError: no picture can be read.
        OptionError: the target cannot be written, or is the source.
        ParityError: the float32 file fails its golden cases, or float16 does not give its answers; nothing is
            written.
    """
    started = time.perf_counter()
    report("Reading the model")
    file = check_float32(source)
    target = output or fp16_path(source)
    check_target(target)
    if target.exists() and target.samefile(source):
        raise OptionError(f"{target} is the float32 file itself.", hint="Name another file with -o.")
    model = _loaded(source)
    with Predictor(open_ort(source, options=EngineOptions(exact=True, outputs=outputs))) as predictor:
        spec = predictor.spec
        if spec.golden:
            require_self_test(predictor.runner)
        measured = calibration(predictor, pictures, name=data)
    graph = convert_fp16(model, measured.feeds, spec, report=report)
    del model
    report("Writing and proving the file")
    spec, notes = _described(spec, graph, measured, has_metadata=not spec.inferred)
    with atomic_path(target) as draft:
        if not spec.inferred:
            renew_metadata(graph.model, spec)
        written = save_model(graph.model, draft, final=target, spec=None)
        _check(draft, spec)
        size = sum(path.stat().st_size for path in written)
    return Fp16File(
        path=target,
        spec=spec,
        size_bytes=size,
        source_bytes=model_bytes(source, file),
        graph=graph,
        calibration=measured,
        seconds=time.perf_counter() - started,
        notes=(*measured.notes, *notes),
    )


def check_float32(source: Path) -> OnnxFile:
    """Refuse a file that is not in float32.

    Raises:
        ModelError: it is in float16 or quantised already, compiled, or not an ONNX model.
    """
    file = read_onnx(source)
    if file.compiled:
        raise ModelError(
            f"{source} is compiled for {file.compiled[0].source or 'an engine'}: it has no graph to convert.",
            hint="Give the .onnx file that it was built from.",
        )
    total = sum(file.weights.values())
    half = file.weights.get("float16", 0) + file.weights.get("bfloat16", 0)
    if half and half >= total // 100:
        raise ModelError(
            f"{source} is in float16 already: {half:,} of {total:,} weights.",
            hint="Give the float32 file: deploykit export CKPT",
        )
    return file


def _loaded(source: Path) -> onnx.ModelProto:
    model = load_graph(source)
    kinds = Counter(node.op_type for node in model.graph.node)
    quantised = sum(kinds[kind] for kind in _INT8)
    if quantised:
        raise ModelError(
            f"{source} is quantised already: {quantised} nodes of {', '.join(k for k in _INT8 if kinds[k])}.",
            hint="Give the float32 file: deploykit export CKPT",
        )
    return model


def _described(
    spec: ModelSpec, graph: Fp16Graph, measured: Calibration, *, has_metadata: bool
) -> tuple[ModelSpec, list[str]]:
    """The spec of the float16 file."""
    if not has_metadata:
        return spec, [_FOREIGN]
    golden = with_fp16_tolerances(spec, graph.rounded)
    found = graph.found
    record = PrecisionRecord(
        compute="fp16",
        data=measured.said,
        data_sha256=measured.sha256,
        images=measured.images,
        metric="agreement" if found.answers else "",
        budget=0.01,
        reference=1.0 if found.answers else 0.0,
        accuracy=found.agreed / found.answers if found.answers else 0.0,
        method=f"typed float16, proven by rounding after every node: {found.said}",
        kept=graph.kept,
    )
    return replace(spec, golden=golden, precision=record), [] if golden else [_NO_CASES]


def _check(draft: Path, spec: ModelSpec) -> None:
    """Check the file as ONNX defines it, and run its golden cases."""
    import onnx

    try:
        onnx.checker.check_model(str(draft), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"The float16 graph is not a valid ONNX model: {one_line(error)}") from error
    with open_candidate(draft) as candidate:
        if spec.golden:
            require_self_test(candidate)
