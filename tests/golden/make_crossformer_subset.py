"""Reduce the full CrossFormer golden vectors to what is kept in the repository.

    python make_crossformer_subset.py FOLDER_OF_THE_FULL_VECTORS

The vectors are the official code's answers (2023 main branch, eval mode, float32) for random weights
in the official file forms. Checkpoints, images and logits are copied as they are, because random
numbers do not compress; of the feature maps only some rows and columns are kept.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

COPIED = (
    "crossformer.pth",
    "crossformer_pp.pth",
    "crossformer_backbone.pth",
    "crossformer.npz",
    "crossformer_pp.npz",
)
# Further steps along height and width; the full vectors hold every 4th row and column of stage 0.
STEPS = {"stage0": 1, "stage1": 4, "stage2": 2, "stage3": 1}


def main(source: Path) -> None:
    target = Path(__file__).parent / "crossformer"
    target.mkdir(exist_ok=True)
    for name in (*COPIED, "input_224.npz"):
        shutil.copyfile(source / name, target / name)
    with np.load(source / "crossformer_backbone.npz") as full:
        kept = {}
        for name, array in full.items():
            step = STEPS.get(name.partition("_")[0], 1)
            kept[name] = array[..., ::step, ::step]
    np.savez_compressed(target / "crossformer_backbone.npz", **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
