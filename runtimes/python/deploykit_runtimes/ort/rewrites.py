"""What becomes of a graph at load, in memory: the rewrites for ONNX Runtime on CPUs, and their names.

The proof is of the file, so whoever proves, or wants what was proven, opens with ``EngineOptions.exact``. For
everybody else ``Placement.rewrites`` names what was applied.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.machine.cpu import X86
from deploykit_runtimes.onnx.file import OnnxFile, map_onnx, read_onnx
from deploykit_runtimes.ort.gates import SMALL, repeat_gates, repeating_pays
from deploykit_runtimes.ort.late_cast import cast_late
from deploykit_runtimes.ort.options import session_settings
from deploykit_runtimes.ort.ranking import append_ranking
from deploykit_runtimes.ort.saturation import (
    SIGNED_PRODUCTS,
    keeps_signed,
    processor_saturates,
    widen_products,
)
from deploykit_runtimes.ort.unsigned import make_unsigned

__all__ = [
    "APPEND_RANKING",
    "CAST_LATE",
    "REPEAT_GATES",
    "SEPARATE_BIASES",
    "UNSIGNED_ACTIVATIONS",
    "UNSIGNED_WEIGHTS",
    "Rewritten",
    "rewrite",
    "rewrite_for_openvino",
]

UNSIGNED_ACTIVATIONS, UNSIGNED_WEIGHTS = "unsigned_activations", "unsigned_weights"
REPEAT_GATES, CAST_LATE, APPEND_RANKING = "repeat_gates", "cast_late", "append_ranking"

_LARGEST = 256 << 20
"""Where a file is this large, a second copy of it matters more than what a rewritten graph saves."""


class Rewritten(NamedTuple):
    """A model in the form that is opened.

    Attributes:
        model: The bytes of the ONNX file to open; None: the file as it is.
        names: What was applied, in order.
        settings: What the session is asked for because of the file; see ``Placement``.
    """

    model: bytes | None = None
    names: tuple[str, ...] = ()
    settings: Mapping[str, str] = MappingProxyType({})


SEPARATE_BIASES = {"optimization.disable_specified_optimizers": "MatMulAddFusion"}
"""A product of bytes with its float bias has a kernel (MatMulIntegerToFloat), and the Gemm that ONNX Runtime
would make of the two has none."""

Steps = dict[str, Callable[[bytes], bytes | None]]


def rewrite(path: Path, options: EngineOptions, file: OnnxFile | None = None) -> Rewritten:
    """Put a file into the form that ONNX Runtime's CPU provider computes faster.

    Left as they are: all files with ``options.exact``; files with weights beside them, with compiled parts,
    or of more than 256 MiB; and files by other exporters, but for weights whose products would saturate. What
    an INT8 file in TensorRT's form loses by that is time: settings keep its answers right.

    Args:
        path: The .onnx file.
        options: How it is opened.
        file: What was read of it already.
    """
    try:
        file = file or read_onnx(path)
        left = options.exact or file.external or file.compiled or path.stat().st_size > _LARGEST
        steps = {} if left else _steps(options, file)
    except ModelError:
        return Rewritten()  # for ONNX Runtime to refuse, in the same words as to C++
    model, applied = path.read_bytes() if steps else b"", []
    for name, step in steps.items():
        found = step(model)
        if found is not None:
            model = found
            applied.append(name)
    form = Rewritten(model if applied else None, tuple(applied))
    if UNSIGNED_ACTIVATIONS in applied:
        form = form._replace(settings=SEPARATE_BIASES)
    if _is_quantised(file) and processor_saturates() and _is_signed(form.model, path):
        form = form._replace(settings={**form.settings, **SIGNED_PRODUCTS})
    return form


def rewrite_for_openvino(path: Path, options: EngineOptions, file: OnnxFile) -> Rewritten:
    """Put any exporter's INT8 file into a form that OpenVINO computes correctly: unsigned around a Concat.

    Left as they are: all files with ``options.exact``, and those with weights beside them or compiled parts.
    """
    if options.exact or file.external or file.compiled or not file.weights.get("int8"):
        return Rewritten()
    found = make_unsigned(path.read_bytes(), joined=True)
    return Rewritten() if found is None else Rewritten(found, (UNSIGNED_ACTIVATIONS,))


def _steps(options: EngineOptions, file: OnnxFile) -> Steps:
    """What applies to a file, in order."""
    spec = file.spec(options.outputs)
    quantised = _is_quantised(file)
    steps: Steps = {}
    if quantised and not spec.inferred:
        steps[UNSIGNED_ACTIVATIONS] = make_unsigned
    if quantised and processor_saturates():
        steps[UNSIGNED_WEIGHTS] = widen_products
    if spec.inferred:
        return steps
    if repeating_pays() and not quantised:  # quantised maps are not kept in blocks
        alone = session_settings(options).threads == 1
        steps[REPEAT_GATES] = lambda model: repeat_gates(model, largest=None if alone else SMALL)
    if spec.preprocess.included:
        steps[CAST_LATE] = lambda model: cast_late(model, spec.input.name)
    steps[APPEND_RANKING] = lambda model: append_ranking(model, file)
    return steps


def _is_quantised(file: OnnxFile) -> bool:
    """Whether a file has weights of int8, and this machine is of the kind that their rewrites are for."""
    return bool(file.weights.get("int8")) and platform.machine().lower() in X86


def _is_signed(model: bytes | None, path: Path) -> bool:
    """Whether products of signed values are left, in a model or else in the file."""
    try:
        return keeps_signed(map_onnx(path) if model is None else memoryview(model))
    except (ValueError, IndexError, OSError):
        return False  # for ONNX Runtime to refuse
