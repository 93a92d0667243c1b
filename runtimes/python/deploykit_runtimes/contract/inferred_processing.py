"""What follows from the meaning of a foreign file's outputs: pre-processing, thresholds, assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deploykit_runtimes.contract.exporter_metadata import Told
from deploykit_runtimes.contract.readings import Fit
from deploykit_runtimes.contract.spec import AxisRange, Color, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.contract.tensors import TensorInfo

__all__ = ["contract"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIDE = 640
"""The size of YOLO models if none is given."""

_OTHERS = "other readings: --outputs multilabel, probabilities or features"


def contract(
    found: Fit, image: InputSpec, outputs: Sequence[TensorInfo], told: Told, *, meaning: str = ""
) -> ModelSpec:
    """The spec of a file whose outputs have a meaning.

    Args:
        found: What they mean.
        image: The input, with what is known of its size.
        outputs: Of the graph.
        told: What the file's metadata says.
        meaning: Why, where that is an assumption.
    """
    reading = found.reading
    yolo = _is_yolo(found, told)
    image = _sized(image, told, yolo=yolo)
    if yolo:
        how, why = _letterbox(found, image, told)
    elif reading.task == "features" and told.origin == "foreign":
        how = Preprocess(resize="stretch", resize_to=(image.height, image.width))
        why = ["pixels scaled to 0..1, image stretched to the input size, outputs are features"]
    else:
        how, why = _classifier(found, image, told)
    if told.size is None and {"height", "width"} & image.dynamic.keys():
        why.append(f"image size {image.height}x{image.width}")
    if image.channels != 3:
        how, why = _of_channels(how, why, image.channels)
    names = [info.name for info in outputs]
    if reading.task != "features":
        names = names[: 2 if reading.task == "segment" else 1]
    return ModelSpec(
        task=reading.task,
        family="yolo" if yolo or told.origin != "foreign" else "unknown",
        variant="unknown",
        origin=told.origin,
        input=image,
        preprocess=how,
        output=_output(found, tuple(names), told),
        classes=() if reading.task == "features" else told.classes,
        num_classes=0 if reading.task == "features" else found.classes or len(told.classes),
        assumed=(meaning, *why) if meaning else tuple(why),
        inferred=True,
    )


def _output(found: Fit, names: tuple[str, ...], told: Told) -> OutputSpec:
    reading = found.reading
    output = OutputSpec(
        names=names,
        layout=reading.layout,
        activation=reading.activation,
        decoded=reading.decoded,
        nms=reading.layout.startswith("end2end"),
        keypoints=found.keypoints,
        mask_channels=found.mask_channels,
    )
    if reading.name.startswith("yolox"):
        strides = () if reading.decoded else (8, 16, 32)
        return replace(output, iou=0.45, class_agnostic=True, strides=strides)
    if reading.layout == "yolov5" or told.origin == "yolov5":
        return replace(output, iou=0.45, max_det=1000)
    return output


def _is_yolo(found: Fit, told: Told) -> bool:
    """Whether images are letterboxed: for boxes, and for the raw maps of a model of boxes."""
    if found.reading.task == "features":
        return told.origin == "yolov5" or told.task not in (None, "classify")
    return found.reading.task != "classify"


def _sized(image: InputSpec, told: Told, *, yolo: bool) -> InputSpec:
    """With the size and steps of free axes."""
    free = [axis for axis in ("height", "width") if axis in image.dynamic]
    if not yolo and told.origin == "foreign":
        return image
    steps = {axis: AxisRange(min=told.stride, max=8192, step=told.stride) for axis in free}
    image = replace(image, dynamic={**image.dynamic, **steps})
    if not yolo or told.size is not None:
        return image
    height, width = (_SIDE if axis in free else getattr(image, axis) for axis in ("height", "width"))
    return replace(image, height=height, width=width)


def _letterbox(found: Fit, image: InputSpec, told: Told) -> tuple[Preprocess, list[str]]:
    """Of detectors. YOLOv5 and YOLOv7 pad to the whole size, Ultralytics to a multiple of the stride."""
    reading = found.reading
    assumed = ["Ultralytics' own pre-processing for its task"] if told.origin == "ultralytics" else []
    size = (image.height, image.width)
    how = Preprocess(
        resize="letterbox",
        resize_to=size,
        interpolation="bilinear",
        resampler="opencv",
        pad_value=114,
        stride=told.stride,
    )
    if reading.name.startswith("yolox"):
        how = replace(how, color="bgr", anchor="top_left", stride=0, scale=1.0)
        assumed.append("YOLOX's own pre-processing since 0.2: letterbox at the top left, BGR in 0..255")
    elif reading.layout in ("yolov5", "end2end_flat") or told.origin == "yolov5":
        how = replace(how, stride=0)
        assumed.append("YOLOv5's and YOLOv7's own pre-processing: letterbox padded with 114, RGB in 0..1")
    elif not assumed:
        assumed.append("YOLO's pre-processing: letterbox padded with 114, RGB in 0..1")
    if told.most:
        assumed.append(
            "suppression is inside the graph: scores up to the confidence of its export, 0.25 unless it was "
            "given, are gone, and iou has no effect"
        )
    return how, assumed


def _of_channels(how: Preprocess, why: list[str], channels: int) -> tuple[Preprocess, list[str]]:
    """The same for images that are not in colour, whose mean and std nobody knows."""
    color: Color = "grey" if channels == 1 else "as_is"
    return (
        replace(how, color=color, mean=(0.0,), std=(1.0,)),
        [line.replace("ImageNet mean and std", "pixels scaled to 0..1") for line in why],
    )


def _classifier(found: Fit, image: InputSpec, told: Told) -> tuple[Preprocess, list[str]]:
    size = (image.height, image.width)
    if told.origin == "ultralytics":
        # classify_transforms(): the short side for a square, both sides exactly for any other size.
        square = size[0] == size[1]
        how = Preprocess(
            resize="short" if square else "stretch", resize_to=size[:1] if square else size, crop=size
        )
        return how, ["Ultralytics' own pre-processing for its task"]
    how = Preprocess(resize="stretch", resize_to=size, mean=_MEAN, std=_STD)
    if told.origin == "yolov5":
        how = replace(how, pre_crop=1.0, pre_crop_offset="down", resampler="opencv")
        return how, ["YOLOv5's own pre-processing: the largest centred square, ImageNet mean and std"]
    text = "ImageNet mean and std, image stretched to the input size"
    if found.reading.name == "logits":
        return how, [f"{text}, scores are logits", _OTHERS]
    return how, [text]
