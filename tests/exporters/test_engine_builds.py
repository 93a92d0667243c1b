"""TensorRT takes what export writes: every family, alone and with its processing inside, is built for two
GPU generations with dynamic profiles. Built, not run: TensorRT for RTX builds without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from deploykit_exporters.export import ExportResult, export
from deploykit_exporters.families.base import OutputGroup
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.candidate import open_candidate
from deploykit_exporters.proof.tensors import compare
from deploykit_runtimes.build_options import BuildOptions
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.nvidia import has_nvidia_driver, read_gpu
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.trt.engine_file import read_sidecar
from torch import nn

Perturb = Callable[[nn.Module, int], nn.Module]
Checkpoints = Callable[[str], tuple[Path, int]]

TARGETS = ("8.6", "12.0")
FILES = {
    "crossformer": ("golden/crossformer/crossformer.pth", 224),
    "crossformer++": ("golden/crossformer/crossformer_pp.pth", 224),
    "yolov5": ("fixtures/yolov5_detect.pt", 160),
    "yolox": ("fixtures/yolox_plain.pth", 160),
}
WHOLE: dict[str, Any] = {"dynamic": ("batch",), "preprocess": True, "postprocess": True}
FORMS: dict[str, dict[str, Any]] = {
    "dynamic": {"dynamic": ("all",)},
    "finished": WHOLE,
    "finished, any size": {"dynamic": ("all",), "preprocess": True, "postprocess": True},
    "preprocess": {"dynamic": ("batch",), "preprocess": True},
    "thresholds": {"dynamic": ("all",), "postprocess": True, "runtime_thresholds": True},
    "features": {"dynamic": ("all",), "features": True},
    "masks": {**WHOLE, "masks": True, "max_det": 8, "class_agnostic": True},
}


@pytest.fixture(scope="module")
def checkpoints(
    tmp_path_factory: pytest.TempPathFactory, perturb: Perturb, ultralytics_file: Any, golden: Path
) -> Checkpoints:
    """A small checkpoint of each family, and the size to export it at."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def get(name: str) -> tuple[Path, int]:
        if name in FILES:
            return golden.parent / FILES[name][0], FILES[name][1]
        if name.startswith("yolo"):
            return ultralytics_file(name)[0], 160
        models = {
            "efficientnet": ("efficientnet_lite0", {"num_classes": 3}),
            "vit": ("vit_tiny_patch16_224", {"num_classes": 3, "img_size": 64, "depth": 2}),
        }
        architecture, options = models[name]
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.manual_seed(0)
            model = timm.create_model(architecture, **options)
            torch.save(perturb(model, 0).state_dict(), path)
        return path, 64

    return get


def export_form(checkpoint: tuple[Path, int], form: str, folder: Path) -> ExportResult:
    path, side = checkpoint
    options = ExportOptions(output=folder / "m.onnx", imgsz=(side, side), **FORMS[form])
    return export(path, options)


CASES = pytest.mark.parametrize(
    ("family", "form"),
    [
        ("efficientnet", "dynamic"),
        ("efficientnet", "finished"),
        ("vit", "dynamic"),
        ("vit", "finished"),
        ("crossformer", "dynamic"),
        ("crossformer", "finished"),
        ("yolov5", "dynamic"),
        ("yolov5", "finished, any size"),
        ("yolox", "dynamic"),
        ("yolox", "finished"),
        ("yolo11n", "dynamic"),
        ("yolo11n", "finished, any size"),
        ("yolo26n", "dynamic"),
        ("yolo26n", "finished"),
        ("yolov8n-seg", "finished"),
        ("yolov8n-pose", "finished"),
        ("yolo11n-obb", "finished"),
        ("yolov8n-cls", "finished"),
        ("vit", "preprocess"),
        ("efficientnet", "features"),
        ("crossformer++", "features"),
        ("yolov8n", "thresholds"),
        ("yolo11n-seg", "masks"),
        ("yolov10n", "dynamic"),
        ("yolo12n", "dynamic"),
    ],
)


@CASES
def test_every_graph_that_export_writes_is_built(
    family: str, form: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    exported = export_form(checkpoints(family), form, tmp_path)
    result = build_engine(
        exported.path, runtime="trt-rtx", options=BuildOptions(compute_capabilities=TARGETS)
    )
    sidecar = read_sidecar(result.path)
    assert sidecar is not None
    assert sidecar.key.capabilities == TARGETS
    assert sidecar.file.spec() == exported.spec
    (profile,) = sidecar.key.profiles
    shapes = profile[exported.spec.input.name]
    assert shapes.min[0] == 1
    assert shapes.max[0] > 1
    moves = [low != high for low, high in zip(shapes.min, shapes.max, strict=True)]
    assert sum(moves) == (3 if form != "finished" or exported.spec.preprocess.included else 1)
    assert result.size_bytes > 10_000


@pytest.mark.gpu
@pytest.mark.skipif(not has_nvidia_driver(), reason="no GPU: on a machine with one, pytest -m gpu")
@pytest.mark.parametrize("runtime", ["ort-cuda", "ort-trt", "ort-rtx", "trt", "trt-rtx"])
@CASES
def test_every_engine_gives_the_answers_of_the_cpu(
    family: str, form: str, runtime: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    names = {"trt": "tensorrt", "trt-rtx": "tensorrt_rtx_bindings"}
    modules = {**names, "ort-rtx": "onnxruntime_ep_nv_tensorrt_rtx"}
    if runtime in modules:
        pytest.importorskip(modules[runtime], reason=f"{modules[runtime]} is not installed")
    elif "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed: pip install onnxruntime-gpu")
    if runtime.endswith("-rtx") and read_gpu().capability == "9.0":
        pytest.skip("TensorRT for RTX has no kernels for compute capability 9.0")
    exported = export_form(checkpoints(family), form, tmp_path)
    image = exported.spec.input
    generator = np.random.default_rng(0)
    # ONNX Runtime puts the arithmetic of shapes on the CPU, which strict refuses.
    options = EngineOptions(strict=runtime in names, cache=tmp_path / "cache")
    with (
        open_candidate(exported.path) as cpu,
        open_runner(exported.path, runtime=runtime, options=options) as gpu,
    ):
        placement = gpu.placement()
        on_gpu = {name: count for name, count in placement.providers.items() if "CPU" not in name}
        assert sum(on_gpu.values()) > 0
        assert placement.precision == "fp32"
        for batch in (1, 2):
            shape = [batch, image.channels, image.height, image.width]
            images = generator.random(shape, dtype=np.float32)
            if image.dtype == "uint8":
                images = (images.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
            feeds = {info.name: np.array(0.5, np.float32) for info in cpu.inputs if info.name != image.name}
            feeds[image.name] = images
            expected, found = cpu.infer(feeds), gpu.infer(feeds)
            # Answers of equal scores may change places.
            scored = [name for name in ("probabilities", "scores") if name in expected]
            rows = exported.spec.output.layout == "end2end" and not scored
            for name in scored or expected:
                kind: Any = "detections" if rows else "values"
                group = OutputGroup(output=name, kind=kind, floor=1.0)
                off = compare(expected[name], found[name], group)
                assert off.max_rel <= 1e-3, name
