"""Time that `predict` adds to the raw session run, image decoding apart.

    python benchmarks/overhead.py [MODEL] [--size H,W] [--rounds 200]

Sides, interleaved in one run: the bare ONNX Runtime session on a ready tensor; `predict` on a decoded
photo of the model's own size; `predict` on a decoded photo of --size, where resizing adds its
unavoidable share; and Pillow's resize alone, for scale. Without MODEL, EfficientNet-B0 with random
weights is exported first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from deploykit import load
from deploykit.api import export


def efficientnet_b0(folder: Path) -> Path:
    import timm
    import torch

    path = folder / "efficientnet_b0.pth"
    torch.save(
        {"arch": "efficientnet_b0", "state_dict": timm.create_model("efficientnet_b0").state_dict()}, path
    )
    return export(path, dynamic=["batch"]).path


def interleaved(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 20):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if turn >= 20:
                samples[name].append(1e3 * (time.perf_counter() - start))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--size", default="810,1080")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split(","))
    with tempfile.TemporaryDirectory() as folder:
        model = load(arguments.model or efficientnet_b0(Path(folder)))
        image = model.spec.input
        cat = Image.fromarray(skimage.data.chelsea())
        own = np.asarray(cat.resize((image.width, image.height)))
        photo = cat.resize((width, height))
        large = np.asarray(photo)
        session = model.runner._session
        tensor = np.random.default_rng(0).random((1, 3, image.height, image.width), dtype=np.float32)
        sides = {
            "session.run": lambda: session.run(None, {image.name: tensor}),
            f"predict {image.height}x{image.width}": lambda: model.predict(own),
            f"predict {height}x{width}": lambda: model.predict(large),
            "Pillow's resize alone": lambda: photo.resize(
                (image.width, image.height), Image.Resampling.BICUBIC
            ),
        }
        samples = interleaved(sides, arguments.rounds)
    raw = statistics.median(samples["session.run"])
    for name, values in samples.items():
        median = statistics.median(values)
        share = f"{100 * (median / raw - 1):+6.1f} % of the raw run" if name.startswith("predict") else ""
        print(f"{name:24} median {median:7.2f} ms  {share}")


if __name__ == "__main__":
    main()
