"""Engines that Ultralytics exports: a description in JSON, then the plan, in one file.

The file begins with the length of the JSON as a little-endian number of 4 bytes. Other TensorRT tools do
not know this and take the file for damaged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.onnx.file import OnnxFile

__all__ = ["described", "split_engine"]

_LENGTH = 4
_LONGEST = 1 << 24
_MASKS = 32


def split_engine(path: Path) -> tuple[dict[str, str], memoryview]:
    """The description, as Ultralytics writes it into ONNX files, and the plan.

    A file that begins with no description is all plan, and the description is empty.
    """
    data = memoryview(path.read_bytes())
    header = _header(bytes(data[:_LENGTH]), bytes(data[_LENGTH : _LENGTH + _LONGEST]))
    if header is None:
        return {}, data
    length, entries = header
    return _metadata(entries), data[_LENGTH + length :]


def described(path: Path) -> OnnxFile | None:
    """What an engine takes and returns, by its own description; None where it begins with none.

    The engine itself is not opened: the tensors are those that Ultralytics' exporter makes of such a model.
    """
    with path.open("rb") as stream:
        header = _header(stream.read(_LENGTH), stream.read(_LONGEST))
    if header is None:
        return None
    entries = header[1]
    arguments = entries.get("args")
    arguments = arguments if isinstance(arguments, dict) else {}
    return OnnxFile(
        metadata=_metadata(entries),
        inputs=(_input(entries, arguments),),
        outputs=_outputs(entries, arguments),
        weights={},
        nodes=0,
    )


def _header(first: bytes, rest: bytes) -> tuple[int, dict[str, Any]] | None:
    """Length and entries of the description that a file begins with."""
    length = int.from_bytes(first, "little")
    if len(first) < _LENGTH or not 2 <= length <= len(rest):
        return None
    try:
        entries = json.loads(rest[:length])
    except (ValueError, RecursionError):
        return None
    return (length, entries) if isinstance(entries, dict) else None


def _metadata(entries: Mapping[str, Any]) -> dict[str, str]:
    """The texts that an ONNX file of the same model has: Python literals. Class numbers are texts in JSON."""
    names = entries.get("names")
    if isinstance(names, dict):
        numbered = {int(key) if key.isdecimal() else key: name for key, name in names.items()}
        entries = {**entries, "names": numbered}
    return {key: value if isinstance(value, str) else repr(value) for key, value in entries.items()}


def _input(entries: Mapping[str, Any], arguments: Mapping[str, Any]) -> TensorInfo:
    sizes = entries.get("imgsz")
    sides = sizes if isinstance(sizes, list) and len(sizes) == 2 else [sizes, sizes]
    shape = (entries.get("batch"), entries.get("channels", 3), *sides)
    names = ("batch", "channels", "height", "width")
    free = ("batch", "height", "width") if arguments.get("dynamic") else ()
    half = arguments.get("half") is True or arguments.get("quantize") == 16
    return TensorInfo(
        name="images",
        dtype="float16" if half else "float32",
        shape=tuple(
            n if isinstance(n, int) and name not in free else name
            for name, n in zip(names, shape, strict=True)
        ),
    )


def _outputs(entries: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[TensorInfo, ...]:
    task = entries.get("task")
    names = entries.get("names")
    classes = len(names) if isinstance(names, dict) else 0
    keypoints = entries.get("kpt_shape")
    more = {"segment": _MASKS, "obb": 1}.get(str(task), 0)
    if task == "pose" and isinstance(keypoints, list) and [type(n) for n in keypoints] == [int, int]:
        more = keypoints[0] * keypoints[1]
    shape: tuple[int | str, ...] = ("batch", 4 + classes + more, "anchors")
    if task == "classify":
        shape = ("batch", classes)
    elif entries.get("end2end") is True or arguments.get("nms") is True:
        shape = ("batch", "rows", 6 + more)
    first = TensorInfo(name="output0", dtype="float32", shape=shape)
    masks = TensorInfo(name="output1", dtype="float32", shape=("batch", _MASKS, "rows", "columns"))
    return (first, masks) if task == "segment" else (first,)
