"""From a decoded photo to boxes: a self-contained YOLO11n against Ultralytics on its own ONNX export.

    python benchmarks/image_to_boxes.py [--turns 40]

Both sides run on ONNX Runtime's CPU provider with the same threads, each in a process of its own: two engines
in one process would fight over the cores. They take turns of six calls, of which the first warms up, so that
a busy neighbour hits both alike; ratios are taken of the medians of neighbouring turns. Both are exported
from the same checkpoint, whose weights are random and whose scores are spread so that about as many boxes are
found in the photo as it has objects, and once more so that there is a crowd for suppression. Each with a
fixed square, and with dynamic sizes, where both letterbox to the smallest rectangle.
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

BIASES = {"few": -13.5, "a crowd": -8.0}
SIDES = ("deploykit", "Ultralytics")
CALLS = 6
WARMUP = 3


def checkpoint(folder: Path, bias: float) -> Path:
    """A YOLO11n whose anchors score around the threshold; the higher the bias, the more of them pass."""
    import torch
    from ultralytics import YOLO

    def spread(conv: torch.nn.Conv2d, _: object, scores: torch.Tensor) -> None:
        gain = 1.5 / scores.std((0, 2, 3))
        conv.weight.mul_(gain[:, None, None, None])
        conv.bias.copy_((conv.bias - scores.mean((0, 2, 3))) * gain + bias)

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


def work(side: str, model: str) -> None:
    """One side's process: a turn for every line that comes, printed as times in ms and number of boxes."""
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

    for _ in sys.stdin:
        times, boxes = [], 0
        for _ in range(CALLS):
            start = time.perf_counter()
            boxes = run()
            times.append(1e3 * (time.perf_counter() - start))
        print(json.dumps({"times": times, "boxes": boxes}), flush=True)


class Side:
    """A process that takes turns."""

    def __init__(self, side: str, model: str) -> None:
        command = [sys.executable, __file__, "--side", side, "--model", model]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.boxes = 0

    def turn(self) -> float:
        """The median time of a call, in ms."""
        assert self._process.stdin
        assert self._process.stdout
        time.sleep(0.05)  # until the threads of the other side have stopped spinning
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith("{"):
            if not line:
                raise SystemExit("A side ended early; what it says is above.")
        answer = json.loads(line)
        self.boxes = answer["boxes"]
        return statistics.median(answer["times"][1:])

    def close(self) -> None:
        self._process.communicate()


def compare(models: dict[str, str], turns: int) -> str:
    sides = {name: Side(name, models[name]) for name in SIDES}
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    for turn in range(WARMUP + turns):
        for name in SIDES if turn % 2 else SIDES[::-1]:
            found = sides[name].turn()
            if turn >= WARMUP:
                times[name].append(found)
    for side in sides.values():
        side.close()
    ratios = sorted(ours / theirs for ours, theirs in zip(*(times[name] for name in SIDES), strict=True))
    quarter = len(ratios) // 4
    return (
        ", ".join(
            f"{name} {statistics.median(times[name]):.1f} ms ({sides[name].boxes} boxes)" for name in SIDES
        )
        + f": {statistics.median(ratios):.2f} of Ultralytics' time"
        + f" (half of the turns: {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        work(arguments.side, arguments.model)
        return
    with tempfile.TemporaryDirectory() as name:
        for boxes, bias in BIASES.items():
            folder = Path(name, boxes)
            folder.mkdir()
            pt = checkpoint(folder, bias)
            for dynamic in (False, True):
                models = exported(folder, pt, dynamic=dynamic)
                sizes = "dynamic" if dynamic else "fixed 640x640"
                print(f"{boxes}, {sizes}: {compare(models, arguments.turns)}", flush=True)


if __name__ == "__main__":
    main()
