"""Whether a file of low precision runs where it was made for, in a sentence. C++ says the same
(``contract/suitability.cpp``)."""

from __future__ import annotations

from deploykit_runtimes.contract.spec import ModelSpec, PrecisionRecord
from deploykit_runtimes.machine.cpu import cpu_class
from deploykit_runtimes.runner import Placement

__all__ = ["advice", "record_advice"]

_ENGINES = {
    ("onnxruntime", "cpu"): "ort-cpu",
    ("onnxruntime", "cuda"): "ort-cuda",
    ("onnxruntime", "tensorrt"): "trt",
    ("tensorrt", ""): "trt",
    ("openvino", ""): "ov",
}
_PLUGINS = {"OpenVINO": "ov", "NvTensorRTRTX": "trt", "Tensorrt": "trt"}
"""How the names of ONNX Runtime's providers begin, and the engine that they are."""


def advice(spec: ModelSpec, placement: Placement) -> str:
    """What speaks against running a file here; empty: nothing."""
    if placement.joins_signed:
        return (
            f"{placement.engine} {placement.version} computes int8 values that a Concat joins wrongly, and "
            "the file keeps them signed (--exact, or weights beside the file): its answers are wrong. Run it "
            "with --runtime ort-cpu, or without --exact and with its weights inside."
        )
    said = "" if spec.precision is None else record_advice(spec.precision, placement, cpu_class())
    if not said and placement.saturates:
        return (
            f"Weights of the file go beyond [-64, 64], and {placement.engine} adds their products in 16 bits "
            "on this processor: its answers differ from those elsewhere. Run it with --runtime ort-cpu, "
            "which adds them in 32 bits."
        )
    return said


def record_advice(record: PrecisionRecord, placement: Placement, cpu: str) -> str:
    """What speaks against it.

    Args:
        record: What the file was made for.
        placement: What runs it.
        cpu: The class of this machine's processor, see ``cpu_class``.
    """
    engine = _engine(placement)
    if record.target not in ("any", engine):
        return (
            f"The {record.compute} file was made for {record.target} and runs on {engine}: its accuracy and "
            f"speed were not measured there. Quantise the float32 file for {engine}."
        )
    if record.compute == "fp16" and engine == "ort-cpu" and placement.precision == "fp32":
        return (
            "The fp16 file is computed in float32 on ort-cpu, and is not faster than the float32 file. "
            "Run that one here, and this one on a GPU."
        )
    on_cpu = placement.device == "cpu" and engine in ("ort-cpu", "ov")
    if on_cpu and record.cpus and cpu not in record.cpus:
        return (
            f"The accuracy of the {record.compute} file was shown for CPUs of the class "
            f"{' and '.join(record.cpus)}, and this one is of the class {cpu}. Compare with `deploykit eval` "
            "here."
        )
    return ""


def _engine(placement: Placement) -> str:
    for start, name in _PLUGINS.items():
        if any(provider.startswith(start) for provider in placement.providers):
            return name
    known = _ENGINES.get((placement.engine, placement.device)) or _ENGINES.get((placement.engine, ""))
    return known or placement.engine
