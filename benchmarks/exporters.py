"""Compare the TorchScript-based and the torch.export-based exporter on one model of each family.

For each: time to export, nodes after simplification, and the median latency in ONNX Runtime on the
CPU, both graphs interleaved in one run.

    python benchmarks/exporters.py [CHECKPOINT ...]

Without arguments, randomly initialised models are used: the graphs do not depend on the values.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.ort.runner import open_ort

ROUNDS = 40


def checkpoints(folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """One checkpoint per family, and which axes to free.

    CrossFormer is measured at a fixed size alone: torch.export does not come to an end on its dynamic form.
    """
    import timm
    from ultralytics import YOLO

    for name in ("tf_efficientnet_b0", "vit_tiny_patch16_224"):
        path = folder / f"{name}.pth"
        torch.save({"arch": name, "state_dict": timm.create_model(name).state_dict()}, path)
        yield path, ()
        yield path, ("all",)
    path = folder / "yolov8n.pt"
    YOLO("yolov8n.yaml").save(path)
    yield path, ("all",)
    yield Path(__file__).parents[1] / "tests/golden/crossformer/crossformer.pth", ()


def measure(path: Path, dynamic: tuple[str, ...], folder: Path) -> None:
    models, rows = {}, {}
    for exporter in ("torchscript", "dynamo"):
        output = folder / f"{path.stem}-{exporter}.onnx"
        options = ExportOptions(output=output, dynamic=dynamic, exporter=exporter)
        start = time.perf_counter()
        try:
            result = export(path, options)
        except (DeploykitError, RuntimeError, torch.onnx.OnnxExporterError) as error:
            reason = str(error).strip().splitlines()[0][:90]
            print(f"{path.stem:24} {','.join(dynamic) or 'fixed':14} {exporter:12} failed: {reason}")
            continue
        rows[exporter] = (time.perf_counter() - start, result.seconds["export"], result.graph.nodes)
        models[exporter] = open_ort(output, options=EngineOptions(exact=True))
    latencies = interleaved(models)
    for exporter, (total, alone, nodes) in rows.items():
        print(
            f"{path.stem:24} {','.join(dynamic) or 'fixed':14} {exporter:12} export {alone:6.2f} s, "
            f"with proof {total:6.2f} s, {nodes:5} nodes, {latencies[exporter]:8.2f} ms"
        )


def interleaved(models: dict) -> dict[str, float]:
    samples: dict[str, list[float]] = {name: [] for name in models}
    feeds = {}
    for name, runner in models.items():
        image = runner.spec.input
        feeds[name] = {image.name: np.zeros((1, 3, image.height, image.width), np.float32)}
    for turn in range(ROUNDS + 5):
        for name, runner in models.items():
            start = time.perf_counter()
            runner.infer(feeds[name])
            if turn >= 5:
                samples[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in samples.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="*", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = [(path, ()) for path in arguments.checkpoints]
        for path, dynamic in given or checkpoints(folder):
            measure(path, dynamic, folder)


if __name__ == "__main__":
    main()
