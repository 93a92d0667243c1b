"""Make the pictures of the README: python docs/pictures.py [FOLDER]

The ImageNet-trained EfficientNet-Lite0 of the demonstration is exported, and answers the photo of a cat that
comes with scikit-image (CC0, by Stefan van der Walt). Needs `pip install -e '.[demo]'`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from deploykit_runtimes.answers.results import Classification
from PIL import Image

import deploykit
from deploykit.demonstration import check_cat, find_weights, write_photo

NAME = "predict.jpg"


def make(folder: Path) -> Path:
    """Write the picture into a folder, and return its path."""
    with TemporaryDirectory() as scratch:
        photo = write_photo(Path(scratch) / "cat.png")
        exported = deploykit.export(find_weights(), Path(scratch) / "model.onnx", dynamic="batch")
        with deploykit.load(exported.path) as model:
            result = model.predict(photo, top_k=3)
    if not isinstance(result, Classification):
        raise TypeError(type(result))
    check_cat(result)
    target = folder / NAME
    Image.fromarray(result.plot(photo)).save(target, quality=85, optimize=True)
    return target


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
