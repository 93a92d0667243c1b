"""Time to read honest checkpoints: python benchmarks/reading.py [--gigabytes 2] [--rounds 3] [--against DIR]

A state dict of that size, a training's checkpoint with its optimiser, and a whole pickled YOLO, each
read in fresh processes in turns: by deploykit, by the deploykit of another checkout (--against), and by
``torch.load(weights_only=True)`` where that reads it. The hash that deploykit takes of a file is timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

OURS = """
import sys, time, json
from importlib import import_module
try:
    home = hashes = import_module("deploykit_exporters.containers.read")
except ImportError:  # a checkout from before the reader had a module of its own
    home = import_module("deploykit_exporters.checkpoint")
    hashes = import_module("deploykit_exporters.containers")
home.read_checkpoint(sys.argv[2])  # all that is imported for it
spent = 0.0
whole = hashes._sha256
def timed(files):
    global spent
    start = time.perf_counter(); found = whole(files); spent += time.perf_counter() - start
    return found
hashes._sha256 = timed
start = time.perf_counter()
home.read_checkpoint(sys.argv[1])
print(json.dumps({"read": time.perf_counter() - start - spent, "hash": spent}))
"""
TORCH = """
import sys, time, json, torch
start = time.perf_counter()
torch.load(sys.argv[1], mmap=True, weights_only=True)
print(json.dumps({"read": time.perf_counter() - start, "hash": 0.0}))
"""


def write(folder: Path, gigabytes: float) -> dict[str, Path]:
    import torch
    from torchvision.models import vit_b_16
    from ultralytics.nn.tasks import DetectionModel

    block = torch.randn(1 << 20)
    tensors = {f"blocks.{index}.weight": block.clone() for index in range(int(gigabytes * 256))}
    model = vit_b_16()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 3, 224, 224)).sum().backward()
    optimizer.step()
    history = [{"epoch": epoch, "loss": epoch / 7, "lr": 1e-3} for epoch in range(20_000)]
    training = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
    contents = {
        f"state dict, {gigabytes:g} GB": tensors,
        "ViT-B/16 with AdamW and 20,000 log entries": training,
        "YOLO11-m, a pickled module": {"model": DetectionModel("yolo11m.yaml", verbose=False)},
    }
    paths = {}
    for index, (name, content) in enumerate(contents.items()):
        paths[name] = folder / f"{index}.pth"
        torch.save(content, paths[name])
    return paths


def write_small(path: Path) -> None:
    import torch

    torch.save({"fc.weight": torch.ones(2, 2)}, path)


def seconds(code: str, path: Path, small: Path, checkout: Path | None) -> dict[str, float] | None:
    """What one reading took; None where torch refuses the file."""
    environment = dict(os.environ)
    if checkout is not None:
        floors = (checkout, checkout / "exporters", checkout / "runtimes" / "python")
        environment["PYTHONPATH"] = os.pathsep.join(map(str, floors))
    command = [sys.executable, "-c", code, str(path), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode and code == TORCH:
        return None
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path)
    arguments = parser.parse_args()
    sides: dict[str, tuple[str, Path | None]] = {"deploykit": (OURS, None), "torch.load": (TORCH, None)}
    if arguments.against:
        sides["deploykit before"] = (OURS, arguments.against)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.pth")
        write_small(small)
        for name, path in write(Path(folder), arguments.gigabytes).items():
            print(f"{name}, {path.stat().st_size >> 20} MB", flush=True)
            taken: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            for _ in range(arguments.rounds):
                for side, (code, checkout) in sides.items():
                    if (found := seconds(code, path, small, checkout)) is not None:
                        taken[side].append(found)
            for side, rounds in taken.items():
                if not rounds:
                    print(f"  {side:18s} refuses it")
                    continue
                read = statistics.median(one["read"] for one in rounds)
                hashed = statistics.median(one["hash"] for one in rounds)
                print(f"  {side:18s} {read:7.3f} s, and {hashed:.3f} s for the hash", flush=True)


if __name__ == "__main__":
    main()
