"""From a decoded photo to boxes: a self-contained YOLO11n against Ultralytics on its own ONNX export.

    python benchmarks/image_to_boxes.py [--rounds 40] [--turns 3]

Both sides run on ONNX Runtime's CPU provider with the same threads, each in a process of its own, in turns:
two engines in one process would fight over the cores. Each is exported from the same checkpoint (random
weights, with scores spread so that dozens of boxes go through suppression), once with a fixed square and once
with dynamic sizes, where both letterbox to the smallest rectangle.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")

SIDES = ("deploykit", "Ultralytics")


def checkpoint(folder: Path) -> Path:
    """A YOLO11n whose anchors score around the threshold."""
    import torch
    from ultralytics import YOLO

    def spread(conv: torch.nn.Conv2d, _: object, scores: torch.Tensor) -> None:
        gain = 1.5 / scores.std((0, 2, 3))
        conv.weight.mul_(gain[:, None, None, None])
        conv.bias.copy_((conv.bias - scores.mean((0, 2, 3))) * gain - 8)

    torch.manual_seed(0)
    yolo = YOLO("yolo11n.yaml", task="detect", verbose=False)
    network = yolo.model.train()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0
    images = torch.from_numpy(photo()[:800, :800].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        network(images.repeat(2, 1, 1, 1))
        for norm in network.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_var.mul_(1.5)  # a random network of gain 1 amplifies rounding
        hooks = [branch[-1].register_forward_hook(spread) for branch in network.model[-1].cv3]
        network.eval()(images)
    for hook in hooks:
        hook.remove()
    path = folder / "yolo11n.pt"
    yolo.save(path)
    return path


def exported(folder: Path, pt: Path, *, dynamic: bool) -> dict[str, str]:
    from deploykit_exporters.options import ExportOptions
    from ultralytics import YOLO

    from deploykit.api import export

    options = ExportOptions(preprocess=True, postprocess=True, dynamic=("all",) if dynamic else ())
    ours = export(pt, folder / f"ours-{dynamic}.onnx", options=options).path
    theirs = Path(YOLO(pt).export(format="onnx", dynamic=dynamic, simplify=False, verbose=False))
    kept = theirs.rename(folder / f"theirs-{dynamic}.onnx")
    return {"deploykit": str(ours), "Ultralytics": str(kept)}


def photo() -> np.ndarray:
    import ultralytics
    from PIL import Image

    return np.asarray(Image.open(Path(ultralytics.__file__).parent / "assets" / "bus.jpg").convert("RGB"))


def work(side: str, model: str, rounds: int) -> None:
    """One side's process: prints the times in milliseconds and the number of boxes."""
    image = photo()
    if side == "deploykit":
        from deploykit import load

        predictor = load(model)

        def run() -> int:
            return len(predictor.predict(image))
    else:
        from ultralytics import YOLO

        yolo = YOLO(model, task="detect")
        bgr = np.ascontiguousarray(image[..., ::-1])

        def run() -> int:
            return len(yolo.predict(bgr, device="cpu", verbose=False)[0].boxes)

    times, boxes = [], 0
    for turn in range(rounds + 10):
        start = time.perf_counter()
        boxes = run()
        if turn >= 10:
            times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"times": times, "boxes": boxes}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        work(arguments.side, arguments.model, arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pt = checkpoint(folder)
        for dynamic in (False, True):
            models = exported(folder, pt, dynamic=dynamic)
            times: dict[str, list[float]] = {side: [] for side in SIDES}
            boxes = {}
            for _ in range(arguments.turns):
                for side in SIDES:
                    command = [sys.executable, __file__, "--side", side, "--model", models[side]]
                    command += ["--rounds", str(arguments.rounds)]
                    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    answer = json.loads(out.splitlines()[-1])
                    times[side] += answer["times"]
                    boxes[side] = answer["boxes"]
            medians = {side: statistics.median(values) for side, values in times.items()}
            ratio = medians["deploykit"] / medians["Ultralytics"]
            print(
                f"{'dynamic' if dynamic else 'fixed 640x640':14}"
                + ", ".join(f"{side} {medians[side]:.1f} ms ({boxes[side]} boxes)" for side in SIDES)
                + f": {ratio:.2f} of Ultralytics' time"
            )


if __name__ == "__main__":
    main()
