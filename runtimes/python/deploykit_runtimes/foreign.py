"""The spec of a file that another exporter wrote: inferred, and marked as such."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.runner import TensorInfo
from deploykit_runtimes.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess, Task

__all__ = ["infer_spec"]

_TASKS: dict[str, Task] = {
    "detect": "detect",
    "segment": "segment",
    "pose": "pose",
    "obb": "obb",
    "classify": "classify",
}


def infer_spec(
    inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...], metadata: Mapping[str, str]
) -> ModelSpec:
    """Infer what an image model takes and returns from its shapes and Ultralytics' metadata.

    Raises:
        ModelError: the graph does not take one image tensor [N, C, H, W], or the metadata is damaged.
    """
    image = _image_input(inputs)
    if "task" in metadata and "names" in metadata:
        try:
            return _ultralytics_spec(image, outputs, metadata)
        except (TypeError, ValueError, LookupError) as error:
            raise ModelError(
                f"Ultralytics' metadata in the file cannot be used: {error}.",
                hint="The file was altered: export it again.",
            ) from error
    return _plain_spec(image, outputs)


def _image_input(inputs: tuple[TensorInfo, ...]) -> InputSpec:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].dtype not in ("float32", "float16"):
        found = "; ".join(map(str, inputs)) or "no inputs"
        raise ModelError(
            f"Wanted a model with one float image input [N, C, H, W], found {found}.",
            hint="Export the checkpoint with deploykit, which describes the model inside the file.",
        )
    info = inputs[0]
    batch, channels, height, width = info.shape
    dynamic = {
        name: AxisRange(min=1, max=high)
        for name, axis, high in (("batch", batch, 1024), ("height", height, 8192), ("width", width, 8192))
        if isinstance(axis, str)
    }
    return InputSpec(
        name=info.name,
        dtype=info.dtype,
        batch=batch if isinstance(batch, int) else 1,
        channels=channels if isinstance(channels, int) else 3,
        height=height if isinstance(height, int) else 224,
        width=width if isinstance(width, int) else 224,
        dynamic=dynamic,
    )


def _plain_spec(image: InputSpec, outputs: tuple[TensorInfo, ...]) -> ModelSpec:
    size = (image.height, image.width)
    first = outputs[0]
    if len(outputs) == 1 and len(first.shape) == 2:
        classes = first.shape[1] if isinstance(first.shape[1], int) else 0
        return ModelSpec(
            task="classify",
            family="unknown",
            variant="unknown",
            origin="foreign",
            input=image,
            preprocess=Preprocess(
                resize="stretch",
                resize_to=size,
                mean=(0.485, 0.456, 0.406),
                std=(0.229, 0.224, 0.225),
            ),
            output=OutputSpec(names=(first.name,), layout="logits", activation="softmax"),
            num_classes=classes,
            assumed=("ImageNet mean and std, image stretched to the input size, scores are logits",),
            inferred=True,
        )
    return ModelSpec(
        task="features",
        family="unknown",
        variant="unknown",
        origin="foreign",
        input=image,
        preprocess=Preprocess(resize="stretch", resize_to=size),
        output=OutputSpec(names=tuple(info.name for info in outputs), layout="features"),
        assumed=("pixels scaled to 0..1, image stretched to the input size",),
        inferred=True,
    )


def _ultralytics_spec(
    image: InputSpec, outputs: tuple[TensorInfo, ...], metadata: Mapping[str, str]
) -> ModelSpec:
    task = _TASKS.get(metadata["task"])
    if task is None:
        raise ModelError(f"The metadata names the task {metadata['task']!r}; known are {', '.join(_TASKS)}.")
    names = _literal(metadata, "names", {})
    classes = tuple(str(names[index]) for index in sorted(names)) if isinstance(names, dict) else ()
    size = _literal(metadata, "imgsz", [640, 640])
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[-1]))
    stride = int(_literal(metadata, "stride", 32))
    if stride < 1:
        raise ValueError(f"the stride is {stride}")
    dynamic = {
        axis: allowed if axis == "batch" else AxisRange(min=stride, max=8192, step=stride)
        for axis, allowed in image.dynamic.items()
    }
    image = replace(image, height=height, width=width, dynamic=dynamic)
    shared: dict[str, Any] = {
        "task": task,
        "family": "yolo",
        "variant": "unknown",
        "origin": "ultralytics",
        "input": image,
        "classes": classes,
        "num_classes": len(classes),
        "assumed": ("Ultralytics' own pre-processing for its task",),
        "inferred": True,
    }
    if task == "classify":
        return ModelSpec(
            preprocess=Preprocess(resize="short", resize_to=(min(height, width),), crop=(height, width)),
            output=OutputSpec(names=(outputs[0].name,), layout="probabilities"),
            **shared,
        )
    keypoints = _literal(metadata, "kpt_shape", (0, 0))
    end_to_end = len(outputs[0].shape) == 3 and _is_row_layout(outputs[0], len(classes))
    return ModelSpec(
        preprocess=Preprocess(
            resize="letterbox",
            resize_to=(height, width),
            interpolation="bilinear",
            resampler="opencv",
            pad_value=114,
            stride=stride,
        ),
        output=OutputSpec(
            names=tuple(info.name for info in outputs),
            layout="end2end" if end_to_end else "yolo",
            nms=end_to_end,
            keypoints=(int(keypoints[0]), int(keypoints[1])),
            mask_channels=32 if task == "segment" else 0,
        ),
        **shared,
    )


def _is_row_layout(info: TensorInfo, classes: int) -> bool:
    """[N, K, 6 + extra] holds one detection per row; a raw head has 4 + classes + extra on axis 1."""
    rows, columns = info.shape[1], info.shape[2]
    return isinstance(columns, int) and isinstance(rows, int) and columns < rows and rows != 4 + classes


def _literal(metadata: Mapping[str, str], key: str, default: Any) -> Any:
    if key not in metadata:
        return default
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError) as error:
        raise ModelError(f"Metadata {key} cannot be read: {metadata[key][:80]!r}.") from error
