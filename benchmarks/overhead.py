"""Time that `predict` adds to the raw session run, image decoding apart.

    python benchmarks/overhead.py [--turns 12] [--openings 5]

EfficientNet-B0 (random weights: the time does not depend on them), batch 1 and 8. Sides, which take turns
of eight calls, of which the first two warm up: one after the other at every call, they would clear each
other's weights from the caches, as no program does that serves one model. A bare ONNX Runtime session of
the same file and settings on a ready tensor; `predict` on decoded photos whose short edge has the 256
pixels that the model's pipeline resizes to, so that nothing is resampled; of larger photos, where
resampling adds its share; Pillow's resampling alone, for scale; and a self-contained file, which resamples
inside, on the largest photo. What a side adds is the median over the turns, each against the bare session's
turn beside it. Two sessions of one file differ by 1 % with where their memory lies, so each side is opened
several times.
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
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.ort.options import session_settings
from onnxruntime import InferenceSession, SessionOptions
from PIL import Image

from deploykit import load
from deploykit.api import export

CALLS, WARM_UP = 8, 2


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


def bare(path: Path) -> InferenceSession:
    """The file in ONNX Runtime, with the settings of ours."""
    options = SessionOptions()
    session_settings(EngineOptions()).apply(options)
    return InferenceSession(path, options, providers=["CPUExecutionProvider"])


def sides_of(plain: Path, whole: Path) -> dict[str, Callable[[], object]]:
    cat = Image.fromarray(skimage.data.chelsea())
    photos = {f"{w}x{h}": cat.resize((w, h)) for w, h in ((384, 256), (451, 300), (1080, 810))}
    model, session = load(plain), bare(plain)
    tensor = np.random.default_rng(0).random((8, 3, 224, 224), dtype=np.float32)
    sides: dict[str, Callable[[], object]] = {
        "session.run": partial(session.run, None, {"images": tensor[:1]}),
    }
    for name, photo in photos.items():
        sides[f"predict {name}"] = partial(model.predict, np.asarray(photo))
    sides["session.run batch 8"] = partial(session.run, None, {"images": tensor})
    sides["predict batch 8"] = partial(model.predict, [np.asarray(photos["384x256"])] * 8)
    for name, photo in list(photos.items())[1:]:
        sides[f"Pillow alone {name}"] = partial(photo.resize, (384, 256), Image.Resampling.BICUBIC)
    large = np.asarray(photos["1080x810"])
    sides["whole session.run"] = partial(bare(whole).run, None, {"images": large[None]})
    sides["whole predict 1080x810"] = partial(load(whole).predict, large)
    return sides


def turns_of(sides: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """The median time of a call in each turn, in ms."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            times = []
            for _ in range(CALLS):
                start = time.perf_counter()
                side()
                times.append(1e3 * (time.perf_counter() - start))
            samples[name].append(statistics.median(times[WARM_UP:]))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--openings", type=int, default=5)
    given = parser.parse_args()
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = efficientnet_b0(folder)
        whole = self_contained(folder)
        for _ in range(given.openings):
            for side, values in turns_of(sides_of(plain, whole), given.turns).items():
                samples.setdefault(side, []).extend(values)
    for side, values in samples.items():
        raw = samples["session.run batch 8" if side.endswith("batch 8") else "session.run"]
        if side.startswith("whole"):
            raw = samples["whole session.run"]
        gap = statistics.median(a - b for a, b in zip(values, raw, strict=True))
        share = f"adds {gap:5.2f} ms, {100 * gap / statistics.median(raw):5.1f} %"
        print(f"{side:24} median {statistics.median(values):7.2f} ms  {share if 'predict' in side else ''}")


if __name__ == "__main__":
    main()
