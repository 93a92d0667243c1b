"""What really runs: layers and their precision, as TensorRT's engine inspector lists them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping

from deploykit_runtimes.errors import RuntimeUnavailableError
from deploykit_runtimes.runner import Placement
from deploykit_runtimes.trt.engine import Engine
from deploykit_runtimes.trt.execution.context import Context

__all__ = ["Layers", "parse_layers", "read_placement", "refuse_lower_precision"]

# TensorRT writes formats for people: "Channel major FP16 format where channel % 8 == 0", "Half".
_FORMAT = re.compile(r"\b(FP32|FP16|BF16|FP8|FP4|INT8|INT4|Float|Half|BFloat16)\b", re.IGNORECASE)
_NAMES = {"float": "fp32", "half": "fp16", "bfloat16": "bf16"}
_OF_WEIGHTS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp32"}

Layers = tuple[int, Counter[str]]


def parse_layers(text: str) -> Layers:
    """Number of layers, and how many write each precision. Layers that write integers alone have none.

    Args:
        text: What the inspector gives as JSON.
    """
    try:
        layers = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return 0, Counter()
    precisions: Counter[str] = Counter()
    for layer in layers:
        outputs = layer.get("Outputs", []) if isinstance(layer, dict) else []
        found = [_FORMAT.search(str(output.get("Format/Datatype", ""))) for output in outputs]
        written = {match[1].lower() for match in found if match}
        precisions.update({_NAMES.get(name, name) for name in written})
    return len(layers), precisions


def read_placement(
    engine: Engine, context: Context, *, device: str, weights: Mapping[str, int], tf32: bool
) -> Placement:
    """Ask the inspector about the engine at its best shapes.

    If the inspector names no precision, it is the file's own: networks are strongly typed.
    """
    trt = engine.bindings.trt
    context.set_best_shapes()
    inspector = engine.handle.create_engine_inspector()
    inspector.execution_context = context.handle
    count, precisions = parse_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    names = [name for name, _ in precisions.most_common()] or [_file_precision(weights)]
    if tf32:
        names = ["tf32" if name == "fp32" else name for name in names]
    return Placement(
        engine=engine.bindings.flavour,
        version=engine.bindings.version,
        device=device,
        providers={"TensorRT": count},
        precision="+".join(names),
        precisions=dict(precisions.most_common()),
    )


def refuse_lower_precision(placement: Placement, weights: Mapping[str, int]) -> None:
    """Keep the promise of ``--strict``.

    Raises:
        RuntimeUnavailableError: layers run below the precision of the file, or nobody knows.
    """
    if not placement.providers.get("TensorRT"):
        raise RuntimeUnavailableError(
            "--strict wants to see every layer, but the engine holds no record of its layers.",
            hint="Build it with deploykit: other tools leave the record out.",
        )
    if "tf32" in placement.precision:
        raise RuntimeUnavailableError(
            "--strict wants the model's own precision, the engine was built with TF32.",
            hint="Build it without --precision auto, or drop --strict.",
        )
    lower = {name: n for name, n in placement.precisions.items() if name in ("fp16", "bf16", "fp8", "fp4")}
    if lower and _file_precision(weights) == "fp32" and not {"float16", "bfloat16"} & weights.keys():
        found = ", ".join(f"{count} layers in {name}" for name, count in lower.items())
        raise RuntimeUnavailableError(
            f"--strict wants the model's own precision, TensorRT runs {found}.",
            hint="Drop --strict to accept it.",
        )


def _file_precision(weights: Mapping[str, int]) -> str:
    """Of most weights; fp32 where there are none."""
    floats = {name: count for name, count in weights.items() if name in _OF_WEIGHTS}
    return _OF_WEIGHTS[max(floats, key=lambda name: floats[name])] if floats else "fp32"
