"""What other exporters write about a model into its file: Ultralytics, and the repository of YOLOv5.

Ultralytics' keys are Python literals in texts: ``task``, ``names``, ``imgsz``, ``stride``, ``batch``,
``kpt_shape``, ``head``, ``end2end`` and ``args``, the arguments of the export, with ``nms``
(``ultralytics/engine/exporter.py``). Older releases lack the last three. YOLOv5 writes ``stride`` and
``names`` alone (``export.py``), and what is forked from it does so too.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploykit_runtimes.contract.limits import LITERAL, ModelLimitError
from deploykit_runtimes.contract.spec import Task
from deploykit_runtimes.errors import ModelError

__all__ = ["Told", "read_exporter_metadata"]

_TASKS: tuple[Task, ...] = ("detect", "segment", "pose", "obb", "classify")
_STRIDE = 32
_LARGEST = 8192
"""No stride or batch is larger."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the metadata tells.

    Attributes:
        origin: ``ultralytics``, ``yolov5``, or ``foreign`` if nothing is known.
        task: None where only the shapes tell.
        classes: Names in the order of their numbers.
        size: Height and width in pixels.
        stride: The sides of an image are multiples of it.
        keypoints: Their number, and the values of each.
        finished: The key that tells whether boxes are finished, as ``args nms=True``; empty: none does.
        rows: Whether they are, one in a row.
        most: Images of one run, where the graph handles each by nodes of its own; 0: any.
        shares: Boxes are shares of the image, as those of RT-DETR.
    """

    origin: str = "foreign"
    task: Task | None = None
    classes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    stride: int = _STRIDE
    keypoints: tuple[int, int] = (0, 0)
    finished: str = ""
    rows: bool = False
    most: int = 0
    shares: bool = False


def read_exporter_metadata(metadata: Mapping[str, str]) -> Told:
    """Read the keys of the exporters that are known; others are left alone.

    Raises:
        ModelError: a value cannot be used, or the task is not one that deploykit answers.
    """
    if "names" not in metadata or not {"task", "stride"} & metadata.keys():
        return Told()
    stride = _whole(metadata, "stride", _STRIDE)
    classes = _class_names(metadata)
    if "task" not in metadata:
        return Told(origin="yolov5", classes=classes, stride=stride)
    tasks = [task for task in _TASKS if task == metadata["task"]]
    if not tasks:
        raise ModelError(f"The metadata names the task {metadata['task']!r}; known are {', '.join(_TASKS)}.")
    arguments = _literal(metadata, "args", {})
    arguments = arguments if isinstance(arguments, dict) else {}
    nms = arguments.get("nms") is True
    end2end = _literal(metadata, "end2end", False) is True
    finished = f"end2end={end2end}" if "end2end" in metadata else ""
    return Told(
        origin="ultralytics",
        task=tasks[0],
        classes=classes,
        size=_pair(metadata, "imgsz", (640, 640)),
        stride=stride,
        keypoints=_pair(metadata, "kpt_shape", (0, 0), least=0),
        finished="args nms=True" if nms else finished,
        rows=nms or end2end,
        most=_whole(metadata, "batch", 1) if nms else 0,
        shares=metadata.get("head") == "RTDETRDecoder" or "rtdetr" in metadata.get("description", ""),
    )


def _class_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """From a list, or a dict from 0 on."""
    names = _literal(metadata, "names", ())
    if isinstance(names, dict):
        numbers = {int(key) if str(key).isdecimal() else key: name for key, name in names.items()}
        names = [numbers.get(number) for number in range(len(names))]
    if not isinstance(names, list | tuple) or any(isinstance(name, dict | list | None) for name in names):
        raise _damaged(metadata, "names")
    return tuple(str(name) for name in names)


def _whole(metadata: Mapping[str, str], key: str, default: int) -> int:
    number = _literal(metadata, key, default)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number <= _LARGEST:
        raise _damaged(metadata, key)
    return int(number)


def _pair(
    metadata: Mapping[str, str], key: str, default: tuple[int, int], *, least: int = 1
) -> tuple[int, int]:
    """One number for a square, or several of which the first and the last count."""
    value = _literal(metadata, key, default)
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    usable = [
        isinstance(n, int | float) and not isinstance(n, bool) and least <= n < 1 << 31 for n in numbers
    ]
    if not numbers or not all(usable):
        raise _damaged(metadata, key)
    return int(numbers[0]), int(numbers[-1])


def _literal(metadata: Mapping[str, str], key: str, default: Any) -> Any:
    if key not in metadata:
        return default
    size = len(metadata[key].encode("utf-8", "surrogatepass"))
    if size > LITERAL:
        raise ModelLimitError(f"Metadata {key} wants at most {LITERAL} bytes, found {size}.")
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _damaged(metadata, key) from error


def _damaged(metadata: Mapping[str, str], key: str) -> ModelError:
    return ModelError(
        f"Metadata {key} cannot be read: {metadata[key][:80]!r}.",
        hint="The file was altered: export it again.",
    )
