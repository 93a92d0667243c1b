"""Files of other exporters, right and wrong ones, for the golden vectors of C++."""

from __future__ import annotations

import numpy as np
from cpp_models import Case, head, spec
from deploykit_runtimes.contract.spec import OutputSpec

__all__ = ["foreign_cases", "wrong_cases"]


def foreign_cases() -> list[Case]:
    """Files whose metadata, shapes or declaration say what they mean."""
    told = {"task": "detect", "names": "{0: 'a', 1: 'b', 2: 'c'}", "imgsz": "[64, 64]", "stride": "32"}
    anchored = head(1, 252, seed=9).transpose(0, 2, 1).copy()
    rng = np.random.default_rng(11)
    anchored[..., 4:] = rng.uniform(0.2, 1, (1, 252, 4))
    rows = np.concatenate([head().transpose(0, 2, 1)[:, :7, :4], rng.uniform(0, 1, (1, 7, 2))], 2)
    rows[..., 2:4] += rows[..., :2]
    rows[..., 5] = rng.integers(0, 3, (1, 7))
    flat = np.concatenate([np.zeros((20, 1)), rng.uniform(0, 64, (20, 6))], 1).astype(np.float32)
    flat[:, 5], flat[:, 6] = rng.integers(0, 3, 20), rng.uniform(0, 1, 20)
    return [
        Case(name="foreign_plain", spec=None, outputs={"scores": np.array([[0.1, 3, 0.2, 1]], np.float32)}),
        Case(
            name="foreign_softmax",
            spec=None,
            outputs={"scores": np.array([[0.1, 3, 0.2, 1]], np.float32)},
            ends=("Softmax", "Identity"),
        ),
        Case(
            name="foreign_sigmoid",
            spec=None,
            outputs={"scores": np.array([[0.1, 3, -0.2, 1]], np.float32)},
            ends=("Sigmoid",),
        ),
        Case(
            name="foreign_ultralytics",
            spec=None,
            outputs={"output0": head()},
            extra_metadata={
                "task": "detect",
                "names": "{0: 'red thing', 1: \"it's\", 2: 'caf\\xe9 \\'x\\''}".replace("\\xe9", "é"),
                "imgsz": "[64, 64]",
                "stride": "32",
            },
        ),
        Case(
            name="foreign_nms",  # as many rows as a raw head of that many classes has values
            spec=None,
            outputs={"output0": rows.astype(np.float32)},
            extra_metadata={**told, "args": "{'nms': True, 'conf': 0.25}", "end2end": "False"},
            little=0,
        ),
        Case(
            name="foreign_yolov5",
            spec=None,
            outputs={"output0": anchored},
            extra_metadata={"names": "['red', 'green', 'blue']", "stride": "32"},
        ),
        Case(name="foreign_rows", spec=None, outputs={"output0": flat}, declared="yolov7-end2end", little=0),
        Case(name="foreign_declared", spec=None, outputs={"output0": head(anchors=84)}, declared="yolo"),
        Case(
            name="foreign_pose",
            spec=None,
            outputs={"output0": head(13, anchors=84, seed=4)},
            declared="yolo-pose:7x2",
        ),
    ]


def wrong_cases() -> list[Case]:
    """Files that are refused: it is not known what they mean, or their values are something else."""
    rows = np.zeros((1, 6, 6), np.float32)
    rows[..., 4:] = [0.5, 0.25]
    scores = rows.copy()
    scores[..., 4:] = [378, 1]
    flat = np.zeros((5, 7), np.float32)
    flat[:, 5:] = [0.5, 2]
    loud = head(anchors=84)
    loud[:, 4:] *= 10
    return [
        Case(name="foreign_unclear", spec=None, outputs={"output0": head(anchors=84)}),
        Case(name="foreign_unknown", spec=None, outputs={"output0": np.zeros((2, 6), np.float32)}),
        Case(name="foreign_fraction", spec=None, outputs={"output0": rows}, little=0),
        Case(name="foreign_scores", spec=None, outputs={"output0": scores}, little=0),
        Case(
            name="foreign_flat_order",
            spec=None,
            outputs={"output0": flat},
            declared="yolov7-end2end",
            little=0,
        ),
        Case(name="foreign_loud", spec=None, outputs={"output0": loud}, declared="yolo"),
        Case(
            name="foreign_objectness",
            spec=None,
            outputs={"output0": loud.transpose(0, 2, 1).copy()},
            declared="yolov5",
        ),
        Case(name="foreign_sums", spec=None, outputs={"output0": np.array([[0.5, 0.2, 0.3]], np.float32)}),
        Case(
            name="foreign_not_shares",
            spec=None,
            outputs={"output0": np.array([[0.5, 2, 0.3]], np.float32)},
            declared="probabilities",
        ),
        Case(name="foreign_misfit", spec=None, outputs={"output0": head(anchors=84)}, declared="end2end"),
        *_not_numbers(),
    ]


def _not_numbers() -> list[Case]:
    """One NaN among the scores of a detector, as of half precision that overflows: of the last class, of
    an objectness, of a class where there is an object, of a chosen row."""
    raw = head()
    raw[0, -1, 7] = np.nan
    rows = np.concatenate([head().transpose(0, 2, 1)[..., :4], np.full((1, 40, 4), 0.5, np.float32)], 2)
    nothing, classless, chosen = rows.copy(), rows.copy(), rows[..., :6].copy()
    nothing[0, 3, 4] = classless[0, 3, 6] = chosen[0, 9, 4] = np.nan
    chosen[..., 5] = 1
    flat = np.concatenate([np.zeros((40, 1), np.float32), chosen[0, :, [0, 1, 2, 3, 5, 4]].T], 1)
    made = {
        "yolo": ("yolo", raw),
        "objectness": ("yolov5", nothing),
        "class": ("yolov5", classless),
        "end2end": ("end2end", chosen),
        "flat": ("end2end_flat", flat),
    }
    return [
        Case(
            name=f"nan_{name}",
            spec=spec("detect", OutputSpec(names=("output0",), layout=layout)),
            outputs={"output0": values},
            little=0,
        )
        for name, (layout, values) in made.items()
    ]
