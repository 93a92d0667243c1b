"""Time of the second witness (the training library's own model) beside the proof, by the stages that an
export reports; each export in a fresh process, with and without the witness in turns.

python benchmarks/witness.py [--rounds 5] [--only yolov8n]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

STAGES = ("read", "export", "simplify", "prove", "witness")


def yolov8n(folder: Path) -> Path:
    import torch
    from ultralytics import YOLO

    model = YOLO("yolov8n.yaml").model
    model.args = {"model": "yolov8n.yaml", "imgsz": 640, "task": "detect"}
    torch.save({"model": model.half(), "train_args": dict(model.args)}, folder / "yolov8n.pt")
    return folder / "yolov8n.pt"


def named(library: str, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import timm
        import torch
        import torchvision

        make = timm.create_model if library == "timm" else torchvision.models.get_model
        path = folder / f"{name}.pth"
        torch.save({"state_dict": make(name).state_dict(), "arch": name}, path)
        return path

    return make


FILES: dict[str, Callable[[Path], Path]] = {
    "yolov8n": yolov8n,
    "vit_small_patch16_224 (timm)": named("timm", "vit_small_patch16_224"),
    "efficientnet_b0 (timm)": named("timm", "efficientnet_b0"),
    "efficientnet_b0 (torchvision)": named("torchvision", "efficientnet_b0"),
}


def measured(path: Path, folder: Path, *options: str) -> dict[str, float]:
    """Seconds of each stage of one export in a fresh process."""
    command = [sys.executable, "-m", "deploykit", "export", str(path), "--dynamic", "--json"]
    command += ["-o", str(folder / "m.onnx"), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)["seconds"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    for name, make in FILES.items():
        if asked.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder))
            samples: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
            for _ in range(asked.rounds):
                samples["with"].append(measured(path, Path(folder)))
                samples["without"].append(measured(path, Path(folder), "--no-witness"))
        print(name)
        for side, found in samples.items():
            stages = {stage: statistics.median(one.get(stage, 0.0) for one in found) for stage in STAGES}
            proof = stages["prove"] - stages["witness"]
            told = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stages.items())
            print(f"  {side:8} {told}; witness / proof {stages['witness'] / proof:.2f}")


if __name__ == "__main__":
    main()
