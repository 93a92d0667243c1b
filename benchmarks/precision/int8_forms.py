"""How fast the forms of one INT8 file are, on ONNX Runtime and OpenVINO, and what each does to its answers.

    python benchmarks/precision/int8_forms.py [CHECKPOINT ...] [--seconds 4] [--threads N] [--openings 3]

Each checkpoint is exported, and quantised without care by ONNX Runtime's ``quantize_static``: Conv, Gemm and
MatMul, signed and symmetric, weights per channel, min-max of noise. Without checkpoints: EfficientNet-B0,
ViT-S/16 and YOLOv8n with random weights, on which time does not depend. Two files are made, with weights of 8
bits and of 7.

The forms take turns, one call each; a ratio is of a call and of the float32 call in the same turn, and
the interval is the 95 % interval of its median. Two sessions of one file differ with where their memory
lies, so each is opened several times. ``off`` says how far the answer is from that of the same file
computed node for node, as a share of its largest value: where products saturate, it is large.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.machine.cpu import cpu_class
from deploykit_runtimes.ort.options import session_settings
from deploykit_runtimes.ort.saturation import SIGNED_PRODUCTS, widen_products
from deploykit_runtimes.ort.unsigned import make_unsigned
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from deploykit.api import export
from deploykit.benchmark.environment import read_environment
from deploykit.benchmark.timing import sample, warm_up

Feeds = dict[str, np.ndarray]
Call = Callable[[], list[np.ndarray]]
FLOAT = "ort float32"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each form and opening")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--openings", type=int, default=3)
    given = parser.parse_args()
    environment = read_environment()
    cores = f"{given.threads} of {environment.cpu.usable} cores"
    print(f"{environment.cpu.model} ({cpu_class()}), {cores}")
    print(", ".join(f"{name} {environment.packages.get(name, '-')}" for name in ("onnxruntime", "openvino")))
    for text in environment.warnings():
        print(f"note: {text}")
    with tempfile.TemporaryDirectory() as folder:
        for checkpoint in given.checkpoints or examples(Path(folder)):
            report(checkpoint, Path(folder), given.threads, given.seconds, given.openings)


def examples(folder: Path) -> list[Path]:
    import timm
    import torch
    from ultralytics import YOLO

    found = []
    for name in ("efficientnet_b0", "vit_small_patch16_224"):
        torch.manual_seed(0)
        found.append(folder / f"{name}.pth")
        torch.save({"arch": name, "state_dict": timm.create_model(name).state_dict()}, found[-1])
    found.append(folder / "yolov8n.pt")
    YOLO("yolov8n.yaml", verbose=False).save(found[-1])
    return found


class Noise(CalibrationDataReader):  # type: ignore[misc] # it has no types
    """Two inputs of a model."""

    def __init__(self, path: Path) -> None:
        self._feeds = [feeds_of(path, seed) for seed in (1, 2)]

    def get_next(self) -> Feeds | None:
        return self._feeds.pop() if self._feeds else None


def feeds_of(path: Path, seed: int = 0) -> Feeds:
    (image,) = onnx.load(path, load_external_data=False).graph.input
    shape = [dim.dim_value or 1 for dim in image.type.tensor_type.shape.dim]
    return {image.name: np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)}


def quantised(path: Path, *, bits: int) -> bytes:
    out = path.with_suffix(f".{bits}.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(
            path,
            out,
            Noise(path),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=bits == 7,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            extra_options={"ActivationSymmetric": True},
        )
    return out.read_bytes()


def forms_of(path: Path) -> dict[str, tuple[str, bytes, dict[str, str]]]:
    """By name: the engine, the file to open, settings of the session."""
    plain, signed, seven = path.read_bytes(), quantised(path, bits=8), quantised(path, bits=7)
    unsigned, reduced = make_unsigned(signed), make_unsigned(seven)
    assert unsigned is not None
    assert reduced is not None
    wide = widen_products(unsigned)
    assert wide is not None
    return {
        FLOAT: ("ort", plain, {}),
        "ort s8s8 by default": ("ort", signed, {}),
        "ort s8s8 kept signed": ("ort", signed, dict(SIGNED_PRODUCTS)),
        "ort u8s8": ("ort", unsigned, {}),
        "ort u8s8, weights of 7 bits": ("ort", reduced, {}),
        "ort u8u8": ("ort", wide, {}),
        "ort u8s8, x64quantprecision": ("ort", unsigned, {"session.x64quantprecision": "1"}),
        "ov float32": ("ov", plain, {}),
        "ov s8s8": ("ov", signed, {}),
        "ov s8s8, weights of 7 bits": ("ov", seven, {}),
    }


def opened(engine: str, model: bytes, settings: dict[str, str], threads: int, feeds: Feeds) -> Call:
    if engine == "ov":
        return on_openvino(model, threads, feeds)
    options = SessionOptions()
    session_settings(EngineOptions(threads=threads)).apply(options)
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def on_openvino(model: bytes, threads: int, feeds: Feeds) -> Call:
    import openvino

    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    settings |= {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    arrays = list(feeds.values())
    return lambda: list(request.infer(arrays, share_inputs=True).values())


def node_for_node(model: bytes, feeds: Feeds) -> list[np.ndarray]:
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    found: list[np.ndarray] = InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(
        None, feeds
    )
    return found


def report(checkpoint: Path, folder: Path, threads: int, seconds: float, openings: int) -> None:
    path = export(checkpoint, folder / f"{checkpoint.stem}.onnx").path
    forms, feeds = forms_of(path), feeds_of(path)
    wanted = {model: node_for_node(model, feeds) for model in {model for _, model, _ in forms.values()}}
    times: dict[str, list[float]] = {name: [] for name in forms}
    off: dict[str, float] = {}
    for _ in range(openings):
        calls = {name: opened(*form, threads, feeds) for name, form in forms.items()}
        for name, call in calls.items():
            warm_up(call)
            pairs = zip(call(), wanted[forms[name][1]], strict=True)
            off[name] = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
        for name, found in sample(calls, seconds=seconds).items():
            times[name] += found
    print(f"\n{checkpoint.stem}, batch 1, {len(times[FLOAT])} turns")
    print(f"  {'':30} {'median ms':>10} {'times faster than ' + FLOAT:>36} {'off':>9}")
    for name, spent in times.items():
        ratios = sorted(a / b for a, b in zip(times[FLOAT], spent, strict=True))
        low, high = interval(ratios)
        ratio = f"{statistics.median(ratios):.2f} ({low:.2f} - {high:.2f})"
        print(f"  {name:30} {1e3 * statistics.median(spent):10.2f} {ratio:>36} {off[name]:9.1e}")


def interval(ordered: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median, by the ranks of the sample."""
    half = 0.98 * math.sqrt(len(ordered))
    low = max(0, math.floor(len(ordered) / 2 - half))
    return ordered[low], ordered[len(ordered) - 1 - low]


if __name__ == "__main__":
    main()
