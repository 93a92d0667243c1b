"""What ``Predictor.predict`` takes: its sources and options, and what others have there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, Any, TypeAlias, TypedDict

import numpy as np
from PIL import Image

__all__ = ["ELSEWHERE", "OneImage", "PredictOptions", "Sources"]

# Invariant list types would refuse a list[str] here; Iterable would take a str too.
Sources: TypeAlias = list[Any] | tuple[Any, ...] | Iterator[Any]
OneImage: TypeAlias = bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray

ELSEWHERE = {
    "device": 'The model is opened on a device: deploykit.load(model, device="cuda").',
    "runtime": 'The model is opened in a runtime: deploykit.load(model, runtime="ort-cuda").',
    "save": 'Results are saved one by one: result.save("drawn.jpg").',
    "show": "Results are shown one by one: result.show().",
    "color": "Arrays are RGB, or OpenCV's order with bgr=True.",
    "stream": "One image at a time needs no option: (model.predict(path) for path in paths).",
    "verbose": "Nothing is printed; progress= takes a function of (done, total).",
    "half": 'The engine may compute lower: EngineOptions(precision="auto") of deploykit.load.',
    "classes": "Every class is answered; keep those that you want: [d for d in result if d.name in names].",
}
"""Where it is that other libraries have as an option of their ``predict``."""


class PredictOptions(TypedDict, total=False):
    """The options of ``Predictor.predict``, which explains them."""

    top_k: int | None
    conf: float | None
    iou: float | None
    max_det: int | None
    imgsz: int | tuple[int, int] | None
    batch: int | None
    bgr: bool
    progress: Callable[[int, int], None] | None
