"""The metadata keys by which Ultralytics recognises its own ONNX exports.

``YOLO("model.onnx").predict(...)`` reads task, names, stride and sizes from ``metadata_props``
(``ultralytics/nn/backends/base.py``); with these keys it reads our files like its own.
"""

from __future__ import annotations

from deploykit_runtimes.contract.spec import ModelSpec

__all__ = ["ultralytics_metadata"]

_TASKS = frozenset({"classify", "detect", "segment", "pose", "obb"})
_LAYOUTS = frozenset({"yolo", "end2end", "probabilities"})


def ultralytics_metadata(spec: ModelSpec) -> dict[str, str]:
    """The keys for a YOLO model whose outputs have Ultralytics' layout; empty for any other, which
    Ultralytics could load but would misread.

    Args:
        spec: The finished spec, dynamic axes included.

    Returns:
        Text values, as ``ast.literal_eval`` or ``int`` reads them on the other side.
    """
    fitting = spec.family == "yolo" and spec.output.layout in _LAYOUTS and spec.task in _TASKS
    if not fitting or spec.preprocess.included:
        return {}
    dynamic = bool(spec.input.dynamic)
    names = {index: spec.class_name(index) for index in range(spec.num_classes)}
    end2end = spec.output.layout == "end2end"
    keys = {
        "description": f"{spec.variant} exported by deploykit",
        "author": spec.origin,
        "task": spec.task,
        "stride": str(_stride(spec)),
        "batch": str(spec.input.batch),
        "imgsz": str([spec.input.height, spec.input.width]),
        "channels": str(spec.input.channels),
        "names": repr(names),
        "end2end": str(end2end),
        "args": repr({"batch": spec.input.batch, "dynamic": dynamic, "nms": False}),
    }
    if spec.task == "pose":
        keys["kpt_shape"] = str(list(spec.output.keypoints))
    return keys


def _stride(spec: ModelSpec) -> int:
    axis = spec.input.dynamic.get("height") or spec.input.dynamic.get("width")
    return spec.preprocess.stride or (axis.step if axis else 32)
