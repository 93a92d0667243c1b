"""What ``Predictor.predict`` takes besides pictures, and what others have there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from deploykit_runtimes.options.option import Options, declared, option

__all__ = ["ELSEWHERE", "PredictKeywords", "PredictOptions"]

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


class PredictKeywords(TypedDict, total=False):
    """The fields of ``PredictOptions`` as keywords, in every form that is understood."""

    top_k: int | None
    conf: float | None
    iou: float | None
    max_det: int | None
    imgsz: int | tuple[int, int] | None
    batch: int | None
    bgr: bool
    progress: Callable[[int, int], None] | None


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class PredictOptions(Options):
    """What ``Predictor.predict`` answers, and how many images it runs at once."""

    top_k: int | None = option(
        None, "Classes to name. Default: 5, or what the graph gives.", least=1, metavar="N"
    )
    conf: float | None = option(
        None,
        "Lowest score of a detection.",
        "It is exclusive; None: the model's own default.",
        least=0,
        most=1,
        metavar="P",
    )
    iou: float | None = option(
        None,
        "Overlap above which a box is suppressed.",
        "None: the model's own default.",
        least=0,
        most=1,
        metavar="P",
    )
    max_det: int | None = option(
        None,
        "Maximum number of detections per image.",
        "None: the model's own default.",
        least=1,
        metavar="N",
    )
    imgsz: tuple[int, int] | None = option(
        None,
        "Input size of a dynamic model.",
        "A side, or (height, width), in pixels; needs pre-processing outside the graph.",
        form="size",
        metavar="H[,W]",
    )
    batch: int | None = option(
        None,
        "Images per call of the engine.",
        "Images whose tensors have the same size run together. None: 8 if the batch is dynamic.",
        least=1,
        metavar="N",
    )
    bgr: bool = option(
        False,
        "Arrays, and those of .npy files, have OpenCV's order of colours, as ``cv2.imread`` and "
        "``VideoCapture.read`` give them. Other sources know their order.",
        flags=(),
    )
    progress: Callable[[int, int], None] | None = option(
        None, "Called as ``progress(done, total)`` while several images are answered.", form="own", flags=()
    )
