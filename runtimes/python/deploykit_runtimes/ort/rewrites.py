"""What becomes of a graph at load, in memory: the rewrites for ONNX Runtime on CPUs, and their names.

The proof is of the file, so whoever proves, or wants what was proven, opens with ``EngineOptions.exact``. For
everybody else ``Placement.rewrites`` names what was applied.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.machine.cpu import X86
from deploykit_runtimes.onnx.file import OnnxFile, read_onnx
from deploykit_runtimes.ort.gates import SMALL, repeat_gates, runs_in_blocks
from deploykit_runtimes.ort.late_cast import cast_late
from deploykit_runtimes.ort.options import session_settings
from deploykit_runtimes.ort.ranking import append_ranking
from deploykit_runtimes.ort.unsigned import make_unsigned

__all__ = ["APPEND_RANKING", "CAST_LATE", "REPEAT_GATES", "UNSIGNED_ACTIVATIONS", "Rewritten", "rewrite"]

UNSIGNED_ACTIVATIONS = "unsigned_activations"
REPEAT_GATES, CAST_LATE, APPEND_RANKING = "repeat_gates", "cast_late", "append_ranking"

_LARGEST = 256 << 20
"""Where a file is this large, a second copy of it matters more than what a rewritten graph saves."""


class Rewritten(NamedTuple):
    """A model in the form that is opened.

    Attributes:
        model: The bytes of the ONNX file to open; None: the file as it is.
        names: What was applied, in order.
    """

    model: bytes | None = None
    names: tuple[str, ...] = ()


def rewrite(path: Path, options: EngineOptions, file: OnnxFile | None = None) -> Rewritten:
    """Put a file into the form that ONNX Runtime's CPU provider computes faster.

    Left as they are: all files with ``options.exact``; files by other exporters, with weights beside them,
    with compiled parts, or of more than 256 MiB. What an INT8 file loses by that is time.

    Args:
        path: The .onnx file.
        options: How it is opened.
        file: What was read of it already.
    """
    if options.exact:
        return Rewritten()
    try:
        file = file or read_onnx(path)
        spec = file.spec(options.outputs)
    except ModelError:
        return Rewritten()  # for ONNX Runtime to refuse, in the same words as to C++
    if spec.inferred or file.external or file.compiled or path.stat().st_size > _LARGEST:
        return Rewritten()
    steps: dict[str, Callable[[bytes], bytes | None]] = {}
    quantised = bool(file.weights.get("int8"))
    if quantised and platform.machine().lower() in X86:
        steps[UNSIGNED_ACTIVATIONS] = make_unsigned
    if runs_in_blocks() and not quantised:  # quantised maps are not kept in blocks
        alone = session_settings(options).threads == 1
        steps[REPEAT_GATES] = lambda model: repeat_gates(model, largest=None if alone else SMALL)
    if spec.preprocess.included:
        steps[CAST_LATE] = lambda model: cast_late(model, spec.input.name)
    steps[APPEND_RANKING] = lambda model: append_ranking(model, file)
    model, applied = path.read_bytes(), []
    for name, step in steps.items():
        found = step(model)
        if found is not None:
            model = found
            applied.append(name)
    return Rewritten(model, tuple(applied)) if applied else Rewritten()
