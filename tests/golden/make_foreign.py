"""Every shape in which an exporter may write a head, with what it really means; and what Python says of them.

    python tests/golden/make_foreign.py

The tests of Python go through all, and see that none is misread. ``cpp/foreign.txt`` has a part for those of
C++, a line each, with tabs between inputs, outputs, metadata (``key=value``, between ``|``), what is declared
(``-``: nothing), and what comes of it: ``summary`` or the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from deploykit_runtimes.contract.inferred_spec import infer_spec
from deploykit_runtimes.contract.readings import READINGS, Reading
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import DeploykitError

__all__ = ["KEYPOINTS", "MASKS", "Case", "cases", "golden"]

_CLASSES = (1, 2, 3, 7, 80, 296)
_SIZES = ((32, 32), (64, 64), (96, 160), (320, 320), (384, 640), (640, 640))
_ROWS = (6, 7, 20, 84, 100, 300, 1000)
_FREE = ("", "batch", "batch height width", "batch height width columns", "height width")
_TOLD = ("none", "ultralytics", "ultralytics without end2end", "ultralytics without args", "yolov5")
MASKS, KEYPOINTS = 32, (17, 3)

_ULTRALYTICS = ("yolo", "end2end", "probabilities")
_YOLOV5 = ("yolov5", "yolov5-segment", "yolo", "yolo-segment", "logits")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file that another exporter may write, and what it means.

    Attributes:
        truth: The reading that is right.
        free: Axes that it leaves open.
        told: Whose metadata it has.
    """

    truth: Reading
    classes: int
    free: str
    told: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str]

    @property
    def declared(self) -> str:
        """What ``--outputs`` takes for it."""
        points = f":{KEYPOINTS[0]}x{KEYPOINTS[1]}" if self.truth.task == "pose" else ""
        return f"{self.truth.name}{points}"

    def __str__(self) -> str:
        shapes = " ".join(map(str, (*self.inputs, *self.outputs)))
        return f"{self.truth.name} of {self.classes} classes, told {self.told}, {shapes}"


def cases() -> Iterator[Case]:
    """All of them."""
    for truth, classes, size, free, told in product(READINGS.values(), _CLASSES, _SIZES, _FREE, _TOLD):
        if told.startswith("ultralytics") and truth.name.split("-")[0] not in _ULTRALYTICS:
            continue
        if told == "yolov5" and truth.name not in _YOLOV5:
            continue
        if told.startswith("ultralytics without") and truth.layout == "end2end" and "columns" in free:
            continue  # those releases named no axis so: the first free columns came with nms=True
        several = _ROWS if truth.layout == "end2end" else (0,)
        for rows in several:
            axes = ["batch" if "batch" in free else 1, 3]
            axes += ["height", "width"] if "height" in free else list(size)
            image = TensorInfo(name="images", dtype="float32", shape=tuple(axes))
            yield Case(
                truth=truth,
                classes=classes,
                free=free,
                told=told,
                inputs=(image,),
                outputs=_outputs(truth, classes, size, free, rows),
                metadata=_metadata(truth, classes, size, told),
            )


def _outputs(
    truth: Reading, classes: int, size: tuple[int, int], free: str, rows: int
) -> tuple[TensorInfo, ...]:
    batch: int | str = "batch" if "batch" in free else 1
    is_free, columns_free = "height" in free, "columns" in free
    extra = {"segment": MASKS, "pose": KEYPOINTS[0] * KEYPOINTS[1], "obb": 1}.get(truth.task, 0)
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
    shape: tuple[int | str, ...]
    if truth.task == "features":
        shape = (batch, 64, *(("rows", "columns") if is_free else (size[0] // 8, size[1] // 8)))
    elif truth.task == "classify":
        shape = (batch, classes)
    elif truth.layout == "end2end_flat":
        shape = ("n", 7)
    elif truth.layout == "end2end":
        shape = (batch, rows, 6 + extra) if not columns_free else (batch, "dim_1", "dim_2")
    elif truth.layout == "yolo":
        columns: int | str = "dim_1" if columns_free else 4 + classes + extra
        shape = (batch, columns, "anchors" if is_free else cells)
    else:
        columns = "dim_2" if columns_free else 5 + classes + extra
        several = 1 if truth.name.startswith("yolox") else 3
        shape = (batch, "anchors" if is_free else several * cells, columns)
    first = TensorInfo(name="output0", dtype="float32", shape=shape)
    if truth.task != "segment":
        return (first,)
    sides: tuple[int | str, ...] = ("h", "w") if is_free else (size[0] // 4, size[1] // 4)
    return first, TensorInfo(name="output1", dtype="float32", shape=(batch, MASKS, *sides))


def _metadata(truth: Reading, classes: int, size: tuple[int, int], told: str) -> dict[str, str]:
    if told == "none":
        return {}
    metadata = {"names": str({n: f"c{n}" for n in range(classes)}), "stride": "32"}
    if told == "yolov5":
        return metadata
    metadata |= {"task": truth.task, "imgsz": str(list(size)), "batch": "1"}
    if truth.task == "pose":
        metadata["kpt_shape"] = str(list(KEYPOINTS))
    if told == "ultralytics without end2end":  # of YOLOv10 too, whose boxes need no suppression
        metadata["args"] = str({"batch": 1, "nms": False, "half": False})
    if told == "ultralytics":
        nms = truth.layout == "end2end"
        metadata |= {"args": str({"batch": 1, "nms": nms or None, "half": False}), "end2end": "False"}
    return metadata


def summary(spec: ModelSpec) -> str:
    """All that is decided about a foreign file."""
    output, image, how = spec.output, spec.input, spec.preprocess
    free = [f"{axis} {image.dynamic[axis]}" for axis in ("batch", "height", "width") if axis in image.dynamic]
    crop = " ".join(map(str, how.crop or ()))
    parts = (
        f"{spec.task} {spec.family} {spec.origin} {spec.num_classes} {' '.join(spec.classes[:2])}",
        f"{output.layout} {output.activation} {int(output.decoded)} {int(output.nms)} "
        f"{' '.join(output.names)}",
        f"{output.iou:g} {output.max_det} {int(output.class_agnostic)} {output.keypoints[0]} "
        f"{output.keypoints[1]} {output.mask_channels} {' '.join(map(str, output.strides))}",
        f"{image.batch} {image.channels} {image.height} {image.width} {', '.join(free)}",
        f"{how.resize} {' '.join(map(str, how.resize_to))} {how.resampler} {how.color} {how.anchor} {crop} "
        f"{how.stride} {how.pad_value} {how.scale:g} {how.pre_crop:g} {how.mean[0]:g}",
        "known" if spec.readings is None else " or ".join(spec.readings),
        " / ".join(spec.assumed),
    )
    return " | ".join(parts)


def _verdict(
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    metadata: Mapping[str, str],
    declared: str | None,
) -> str:
    try:
        return summary(infer_spec(inputs, outputs, metadata, declared))
    except DeploykitError as error:
        return f"{type(error).__name__}: {error.problem} / {error.hint}"


def _tensors(*shapes: tuple[int | str, ...], dtype: str = "float32") -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(name=f"output{n}", dtype=dtype, shape=shape) for n, shape in enumerate(shapes))


def _odd_files() -> Iterator[
    tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], dict[str, str], str | None]
]:
    """Shapes and metadata that no exporter should write."""
    image = _tensors((1, 3, 640, 640))
    free = _tensors(("batch", 3, "h", "w"))
    told = {"task": "detect", "names": "{0: 'cat', 1: 'dog'}", "stride": "32", "imgsz": "[640, 640]"}
    rows = _tensors((1, 300, 6))
    for outputs in (
        _tensors(("n", 4), ("n",)),
        _tensors((1, 100, 4)) + _tensors((1, 100), dtype="int64"),
        _tensors((1, 3, 80, 80, 85), (1, 3, 40, 40, 85)),
        _tensors((1, 25200, 85), (1, 3, 80, 80, 85)),
        _tensors((1, 197, 768), (1, 768)),
        _tensors(("n", 7)),
        _tensors(("n", 6)),
        _tensors((1, 7)),
        _tensors((2, 7)),
        _tensors((5,)),
        _tensors(()),
        _tensors((1, 6, 8400)),
        _tensors((1, 8400, 85)),
        _tensors((1, 84, 9999)),
    ):
        yield image, outputs, {}, None
        yield free, outputs, {}, None
        yield image, outputs, told, None
        for name in (*READINGS, "yolo-pose:17x3", "yolo:17x3", "yolo-pose:0x3", "yolov4"):
            yield image, outputs, {}, name
    changes = (
        {"names": "['cat', 'dog']"},
        {"names": "('cat', 3)"},
        {"names": "{'0': 'cat', '1': 2}"},
        {"names": "{1: 'cat', 2: 'dog'}"},
        {"names": "{0: ['cat']}"},
        {"names": "{0: None, 1: 'a'}"},
        {"names": "{0: True, 1: 1.5}"},
        {"names": "5"},
        {"names": "{}"},
        {"names": "{0: open('x')}"},
        {"stride": "0"},
        {"stride": "'32'"},
        {"stride": "[32]"},
        {"stride": "32.0"},
        {"stride": "100000"},
        {"kpt_shape": "[2000000000, 2000000000]", "task": "pose"},
        {"imgsz": "640"},
        {"imgsz": "[]"},
        {"imgsz": "[-1, 5]"},
        {"imgsz": "None"},
        {"imgsz": "True"},
        {"task": "depth"},
        {"task": "segment"},
        {"task": "pose", "kpt_shape": "[17]"},
        {"task": "pose", "kpt_shape": "[0, 'x']"},
        {"task": "classify"},
        {"head": "RTDETRDecoder"},
        {"description": "Ultralytics rtdetr-l model"},
        {"args": "{'nms': True, 'conf': 0.25, 'data': None, 'x': [1, {'y': (2,)}]}"},
        {"args": "{'nms': 1}"},
        {"args": "[1, 2]"},
        {"args": "{'nms': True"},
        {"args": "{'nms': False}"},
        {"args": "{'nms': True}", "batch": "0"},
        {"args": "{'nms': True}", "batch": "4"},
        {"end2end": "True"},
        {"end2end": "False"},
        {"end2end": "yes"},
    )
    for change in changes:
        for declared in (None, "end2end", "features"):
            yield image, rows, {**told, **change}, declared
            yield free, rows, {**told, **change}, declared


def golden() -> str:
    """The text of ``cpp/foreign.txt``."""
    files = list(_odd_files())
    for number, case in enumerate(cases()):
        if number % 71 == 0 and case.classes < 200:
            files.append((case.inputs, case.outputs, case.metadata, None))
        if number % 139 == 0 and case.classes < 200:
            files += [(case.inputs, case.outputs, case.metadata, name) for name in (case.declared, "yolo")]
    lines = []
    for inputs, outputs, metadata, declared in files:
        columns = (
            "; ".join(map(str, inputs)),
            "; ".join(map(str, outputs)),
            "|".join(f"{key}={value}" for key, value in metadata.items()),
            "-" if declared is None else declared,
            _verdict(inputs, outputs, metadata, declared),
        )
        lines.append("\t".join(columns) + "\n")
    return "".join(dict.fromkeys(lines))


if __name__ == "__main__":
    (Path(__file__).parent / "cpp" / "foreign.txt").write_text(golden(), encoding="utf-8")
