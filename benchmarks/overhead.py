"""Time that `predict` adds to the raw session run, image decoding apart.

    python benchmarks/overhead.py [--rounds 300]

EfficientNet-B0 (random weights: the time does not depend on them), batch 1 and 8. Sides, interleaved in one
run: the bare ONNX Runtime session on a ready tensor; `predict` on decoded photos whose short edge has the
256 pixels that the model's pipeline resizes to, so that nothing is resampled (batch 8 too); `predict` on
larger photos, where resampling adds its share; Pillow's resampling alone, for scale; and a self-contained
file, which resamples inside, on the largest photo.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
from deploykit_exporters.options import ExportOptions
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


def self_contained(folder: Path) -> Path:
    whole = ExportOptions(preprocess=True, postprocess=True, dynamic=("batch",))
    return export(folder / "efficientnet_b0.pth", folder / "whole.onnx", options=whole).path


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
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        model = load(efficientnet_b0(Path(folder)))
        cat = Image.fromarray(skimage.data.chelsea())
        photos = {f"{w}x{h}": cat.resize((w, h)) for w, h in ((384, 256), (451, 300), (1080, 810))}
        session = model.runner._session
        tensor = np.random.default_rng(0).random((8, 3, 224, 224), dtype=np.float32)
        sides: dict[str, Callable[[], object]] = {
            "session.run": partial(session.run, None, {"images": tensor[:1]}),
            "session.run batch 8": partial(session.run, None, {"images": tensor}),
            "predict batch 8": partial(model.predict, [np.asarray(photos["384x256"])] * 8),
        }
        for name, photo in photos.items():
            sides[f"predict {name}"] = partial(model.predict, np.asarray(photo))
        for name, photo in list(photos.items())[1:]:
            sides[f"Pillow alone {name}"] = partial(photo.resize, (384, 256), Image.Resampling.BICUBIC)
        whole = load(self_contained(Path(folder)))
        large = np.asarray(photos["1080x810"])
        sides["whole session.run"] = partial(whole.runner._session.run, None, {"images": large[None]})
        sides["whole predict 1080x810"] = partial(whole.predict, large)
        samples = interleaved(sides, rounds)
    for name, values in samples.items():
        raw = samples["session.run batch 8" if name.endswith("batch 8") else "session.run"]
        if name.startswith("whole"):
            raw = samples["whole session.run"]
        gap = statistics.median(a - b for a, b in zip(values, raw, strict=True))
        share = f"adds {gap:5.2f} ms, {100 * gap / statistics.median(raw):5.1f} %"
        print(f"{name:24} median {statistics.median(values):7.2f} ms  {share if 'predict' in name else ''}")


if __name__ == "__main__":
    main()
