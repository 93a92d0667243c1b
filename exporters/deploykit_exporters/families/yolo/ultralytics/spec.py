"""What the file of an Ultralytics model says about itself: task, names, sizes, outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from deploykit_runtimes.contract.spec import AxisRange, OutputSpec, Task

from deploykit_exporters.containers.pickles.inert import children, class_path
from deploykit_exporters.families.base import OutputGroup
from deploykit_exporters.families.yolo.ultralytics.network import YoloNetwork

__all__ = ["axes", "max_stride", "output_groups", "output_spec", "trained_size", "variant_of"]

# A module that only one generation has, newest first; C3k2 is shared by 11 and 26.
_GENERATIONS = (
    ("A2C2f", "yolo12"),
    ("C2fCIB", "yolov10"),
    ("SCDown", "yolov10"),
    ("C3k2", "yolo11"),
    ("RepNCSPELAN4", "yolov9"),
    ("ELAN1", "yolov9"),
    ("C2f", "yolov8"),
    ("C3", "yolov5"),
)
# width_multiple of the releases that had one yaml file per size (YOLOv3 has 1.0 and no sizes).
_SCALES = {0.25: "n", 0.5: "s", 0.75: "m", 1.25: "x"}
_SUFFIXES: dict[Task, str] = {"classify": "-cls", "segment": "-seg", "pose": "-pose", "obb": "-obb"}
# Sigmoid scores of an image without objects are all tiny; below this, differences do not matter.
_SCORE_FLOOR = 0.01
_MAX_BATCH = 1024
_MAX_SIDE = 4096


def variant_of(tree: Any, task: Task) -> str:
    """``yolov8n-seg``: from the name of the yaml file and the scale of the model, or from its modules if
    neither is stored.
    """
    config = getattr(tree, "yaml", None)
    config = config if isinstance(config, Mapping) else {}
    stem = PureWindowsPath(str(config.get("yaml_file") or "")).stem  # reads both kinds of separator
    scale = str(config.get("scale") or _scale(config.get("width_multiple")))
    suffix = _SUFFIXES.get(task, "")
    # The anchor-free heads on YOLOv3 and YOLOv5 are called yolov3-tinyu and yolov5nu.
    named = re.fullmatch(r"(yolov?\d+)([nstmblcex]?)((?:-\w+?)*)u?", stem.removesuffix(suffix))
    if named is None:
        return _generation(tree) + scale + suffix
    name, size, rest = named.groups()
    update = "u" if name in ("yolov3", "yolov5") else ""
    return f"{name}{size or scale}{rest}{update}{suffix}"


def _scale(width: object) -> str:
    return _SCALES.get(width, "") if isinstance(width, float) else ""


def _generation(tree: Any) -> str:
    layers = children(children(tree)["model"]).values()
    names = {class_path(layer).rpartition(".")[2] for layer in layers}
    found = next((name for module, name in _GENERATIONS if module in names), "yolo")
    head = list(layers)[-1]
    return "yolo26" if found == "yolo11" and "one2one_cv2" in children(head) else found


def trained_size(*places: Any) -> tuple[int, int] | None:
    """(height, width) in pixels from the training arguments: the first place that has it, or None."""
    for arguments in places:
        size = arguments.get("imgsz") if isinstance(arguments, Mapping) else getattr(arguments, "imgsz", None)
        if isinstance(size, int) and size > 0:
            return size, size
        if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size):
            return int(size[0]), int(size[1])
    return None


def max_stride(network: YoloNetwork) -> int:
    """The divisor of the input's sides: the coarsest stride of a detector, or 32 for a classifier, as in
    Ultralytics.
    """
    return max([32, *strides(network)])


def strides(network: YoloNetwork) -> list[int]:
    """Downsampling of each level of a detection head; empty for a classifier."""
    stride = getattr(network.head, "stride", None)
    return [] if stride is None else [int(s) for s in stride.tolist()]


def axes(network: YoloNetwork, imgsz: tuple[int, int]) -> dict[str, AxisRange]:
    """The sizes that a dynamic graph accepts: multiples of the coarsest stride."""
    step = max_stride(network)
    side = AxisRange(min=step, max=max(_MAX_SIDE, *imgsz), step=step)
    return {"batch": AxisRange(min=1, max=_MAX_BATCH), "height": side, "width": side}


def is_end2end(network: YoloNetwork) -> bool:
    """Whether the head selects detections by itself (YOLOv10, YOLO26)."""
    return bool(getattr(network.head, "end2end", False))


def output_spec(network: YoloNetwork, task: Task) -> OutputSpec:
    """Names and layout of what the network returns, with the defaults of Ultralytics' predictor."""
    head = network.head
    if task == "classify":
        return OutputSpec(names=("probabilities",), layout="probabilities")
    first = "detections" if is_end2end(network) else "predictions"
    return OutputSpec(
        names=(first, "protos") if task == "segment" else (first,),
        layout="end2end" if is_end2end(network) else "yolo",
        nms=is_end2end(network),
        conf=0.25,
        iou=0.7,
        max_det=int(head.max_det) if is_end2end(network) else 300,
        keypoints=(int(head.kpt_shape[0]), int(head.kpt_shape[1])) if task == "pose" else (0, 0),
        mask_channels=int(head.nm) if task == "segment" else 0,
    )


def output_groups(output: OutputSpec, num_classes: int, task: Task) -> tuple[OutputGroup, ...]:
    """The parts of the outputs with their own scale: boxes and keypoints are in hundreds of pixels, scores
    and visibilities below one.
    """
    name = output.names[0]
    if task == "classify":
        return (OutputGroup(output=name, kind="scores", axis=1),)
    protos = (OutputGroup(output="protos"),) if task == "segment" else ()
    if output.layout == "end2end":
        return (OutputGroup(output=name, kind="detections"), *protos)
    start = 4 + num_classes
    values, scores = [(0, 4)], [(4, start)]
    if task == "segment":
        values.append((start, start + output.mask_channels))
    if task == "obb":
        values.append((start, start + 1))
    if task == "pose":
        count, each = output.keypoints
        values += [(start + each * k, start + each * k + 2) for k in range(count)]
        scores += [(start + each * k + 2, start + each * k + 3) for k in range(count) if each == 3]
    return (
        *(OutputGroup(output=name, axis=1, start=a, stop=b) for a, b in values),
        *(OutputGroup(output=name, axis=1, start=a, stop=b, floor=_SCORE_FLOOR) for a, b in scores),
        *protos,
    )
