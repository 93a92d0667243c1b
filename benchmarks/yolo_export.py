"""Time of a proven YOLOv8n export next to Ultralytics' own, which proves nothing.

    python benchmarks/yolo_export.py [--rounds 3]

Each side runs in a fresh process, because that is how a user runs it: imports are part of the time.
Both write dynamic, simplified ONNX at 640 pixels from the same checkpoint; sides alternate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAKE = "from ultralytics import YOLO; YOLO('yolov8n.yaml').save({!r})"
THEIRS = "from ultralytics import YOLO; YOLO({!r}).export(format='onnx', dynamic=True, simplify=True)"


def seconds(*arguments: str) -> float:
    environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, env=environment, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, output = str(Path(folder, "yolov8n.pt")), str(Path(folder, "ours.onnx"))
        ours = ["-m", "deploykit", "export", checkpoint, "-o", output, "--dynamic"]
        seconds("-c", MAKE.format(checkpoint))
        times: dict[str, list[float]] = {"ultralytics": [], "deploykit": []}
        for _ in range(rounds):
            times["ultralytics"].append(seconds("-c", THEIRS.format(checkpoint)))
            times["deploykit"].append(seconds(*ours))
    for name, values in times.items():
        print(
            f"{name:12} median {statistics.median(values):6.2f} s  ({', '.join(f'{v:.2f}' for v in values)})"
        )
    gap = statistics.median(times["deploykit"]) - statistics.median(times["ultralytics"])
    print(f"deploykit, proof included, takes {gap:+.2f} s; allowed is +3 s")


if __name__ == "__main__":
    main()
