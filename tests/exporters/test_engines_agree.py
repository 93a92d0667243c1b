"""Every family on OpenVINO: the answers of ONNX Runtime at several shapes, also with processing inside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.families.base import OutputGroup
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.answers import prove_answers
from deploykit_exporters.proof.tensors import FP32_TOLERANCE, compare
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.runner import Runner
from torch import nn

from deploykit.benchmark.run import feeds_for

Perturb = Callable[..., nn.Module]
FILES = {
    "crossformer": "golden/crossformer/crossformer.pth",
    "yolov5": "fixtures/yolov5_detect.pt",
    "yolox": "fixtures/yolox_plain.pth",
}
ULTRALYTICS = ("yolov8n", "yolo11n-seg", "yolo11n-obb", "yolo26n")


def timm_file(folder: Path, perturb: Perturb, name: str) -> Path:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    if name == "vit":
        model = VisionTransformer(
            img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=7
        )
        torch.save(perturb(model, 1).state_dict(), folder / "vit.pth")
        return folder / "vit.pth"
    network = perturb(timm.create_model(name, num_classes=5), 1)
    torch.save({"arch": name, "state_dict": network.state_dict()}, folder / f"{name}.pth")
    return folder / f"{name}.pth"


@pytest.fixture(params=["vit", "efficientnet_b0", *FILES, *ULTRALYTICS])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path: Path, perturb: Perturb, ultralytics_file: Callable[..., Any]
) -> Path:
    if request.param in FILES:
        return Path(__file__).parents[1] / FILES[request.param]
    if request.param in ULTRALYTICS:
        path: Path = ultralytics_file(request.param)[0]
        return path
    return timm_file(tmp_path, perturb, request.param)


def sizes(spec: ModelSpec) -> list[tuple[int, tuple[int, int]]]:
    """Batch and (height, width): the model's own, a smaller one and an oblong one."""
    low = {axis: max(allowed.min, 2 * allowed.step) for axis, allowed in spec.input.dynamic.items()}
    own = (spec.input.height, spec.input.width)
    if "height" not in low:
        return [(1, own), (3, own)]
    small = (low["height"], low["width"])
    return [(1, own), (3, small), (2, (small[0], 2 * small[1]))]


def group_of(spec: ModelSpec, name: str) -> OutputGroup:
    return OutputGroup(output=name, kind="detections" if spec.output.layout == "end2end" else "values")


def test_the_network_alone(checkpoint: Path, tmp_path: Path) -> None:
    path = export(checkpoint, ExportOptions(output=tmp_path / "m.onnx", dynamic=("all",))).path
    with (
        open_runner(path, options=EngineOptions(threads=1, exact=True)) as oracle,
        open_runner(path, runtime="ov", threads=1, strict=True) as runner,
    ):
        cases = [feeds_for(runner.spec, batch, size) for batch, size in sizes(runner.spec)]
        expected = [oracle.infer(feeds) for feeds in cases]
        for feeds, wanted in zip(cases, expected, strict=True):
            found = runner.infer(feeds)
            for name in wanted:
                off = compare(wanted[name], found[name], group_of(runner.spec, name)).max_rel
                assert off < FP32_TOLERANCE, (name, feeds[runner.spec.input.name].shape)
        assert wrong_of_threads(runner, cases, expected) == []


def wrong_of_threads(
    runner: Runner, cases: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]
) -> list[str]:
    """Eight callers at once, each with its own shape; what any of them got wrong."""
    wrong: list[str] = []

    def work(number: int) -> None:
        feeds, wanted = cases[number % len(cases)], expected[number % len(cases)]
        for _ in range(2):
            found = runner.infer(feeds)
            off = {name: compare(wanted[name], found[name], group_of(runner.spec, name)) for name in wanted}
            wrong.extend(name for name in off if off[name].max_rel > FP32_TOLERANCE)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def test_from_image_to_answer(checkpoint: Path, tmp_path: Path, photos: dict[str, np.ndarray]) -> None:
    options = ExportOptions(output=tmp_path / "m.onnx", dynamic=("all",), preprocess=True, postprocess=True)
    path = export(checkpoint, options).path
    images = {name: photos[name] for name in ("cat", "rocket", "cat_small")}
    with open_runner(path, threads=1) as oracle, open_runner(path, runtime="ov", threads=1) as runner:
        found = prove_answers(Predictor(oracle), Predictor(runner), images, runner.spec.output)
    assert found.images == len(images)
    assert found.score < FP32_TOLERANCE
    assert found.box < 0.01
