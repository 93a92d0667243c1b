"""Configurations of the mm* libraries: Python text, read without executing it.

mmengine writes the whole configuration of a training into ``meta["cfg"]`` as assignments of literals
and ``dict(...)`` calls. Only those are evaluated; anything else in a file given by hand is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from deploykit_runtimes.contract.spec import Interpolation, Preprocess
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.containers.budget import Budget, ExcessError, check_extent
from deploykit_exporters.containers.texts import NotLiteralError, literal, parse_python
from deploykit_exporters.families.base import Size

__all__ = ["mm_config", "mm_preprocess", "parse_config", "pipeline_size", "pipeline_steps"]


# Assignments on which answers depend.
_DECISIVE = {"model", "data_preprocessor", "test_pipeline", "test_dataloader", "data"}
_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)
# Steps that leave the pixels as they are; Normalize is read apart.
_NEUTRAL = {
    "Collect",
    "ImageToTensor",
    "LoadImageFromFile",
    "Normalize",
    "PackInputs",
    "ToTensor",
}


def parse_config(text: str, unread: list[str] | None = None) -> dict[str, Any]:
    """The top-level assignments of a configuration whose values are literals.

    Names of earlier assignments may be used (``pipeline=test_pipeline``). Imports, functions and
    ``_base_`` files are not followed.

    Args:
        text: Python.
        unread: Receives the names whose values could only be found by running the text.

    Raises:
        OptionError: the text is not Python, or nested or long beyond any real configuration.
    """
    try:
        tree, budget = parse_python(text), Budget(len(text))
        values: dict[str, Any] = {}
        for node in tree.body:
            if (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                try:
                    values[node.targets[0].id] = literal(node.value, values, budget)
                except (NotLiteralError, RecursionError):
                    if unread is not None:
                        unread.append(node.targets[0].id)
        check_extent(values, len(text))
    except (ValueError, ExcessError) as error:
        raise OptionError(f"The configuration is not Python text of settings: {error}.") from error
    return values


def mm_config(
    meta: Mapping[str, Any], config: Mapping[str, Any] | None, *, whole: bool = True
) -> dict[str, Any]:
    """The configuration of the training: the one given by the user as text, otherwise the file's own,
    otherwise empty.

    Args:
        meta: ``Checkpoint.meta`` of a file of mmengine (``meta["meta"]["cfg"]``) or of mmcls 0.x.
        config: ``Hints.config``; the text of a Python configuration is under ``"text"``.
        whole: Settings inherited from another file matter, too.

    Raises:
        CheckpointError: something that affects answers is in another file, or is computed.
    """
    given = config.get("text") if config else None
    inner = meta.get("meta")
    own = inner.get("cfg", inner.get("config")) if isinstance(inner, Mapping) else None
    text = next((one for one in (given, own) if isinstance(one, str)), None)
    if text is None:
        return {}
    unread: list[str] = []
    found = parse_config(text, unread)
    where = "--config" if text is given else "The training's configuration"
    if whole and found.get("_base_"):
        bases = found["_base_"] if isinstance(found["_base_"], list | tuple) else [found["_base_"]]
        raise CheckpointError(
            f"{where} inherits from {bases[0]!r}, which is another file.",
            hint="Give the whole configuration: mmengine's Config.fromfile(FILE).dump('whole.py') writes it.",
        )
    left = [name for name in unread if name in _DECISIVE]
    if left:
        raise CheckpointError(
            f"{where}: {left[0]} is computed, and cannot be read without running it.",
            hint="Give it written out: mmengine's Config.fromfile(FILE).dump('whole.py') does that.",
        )
    return found


def mm_preprocess(config: Mapping[str, Any], size: Size) -> Preprocess:
    """mmpretrain's test pipeline and data preprocessor for a network input of (height, width).

    Missing settings take mmpretrain's ImageNet defaults: short edge to 8/7 of the size, bilinear by OpenCV,
    centre crop, ImageNet mean and std in RGB. If ``size`` differs from the pipeline's size, the pipeline's
    sizes are scaled accordingly.

    Raises:
        CheckpointError: the pipeline has an unknown step that may change the image.
    """
    steps = _steps(config)
    how = _normalisation(config, steps)
    if not steps:
        resize = round(max(size) * 8 / 7)
        return replace(how, resize="short", resize_to=(resize,), crop=size, resampler="opencv")
    for step in steps:
        how = _apply(how, step)
    return _scaled(how, size)


def _apply(how: Preprocess, step: Mapping[str, Any]) -> Preprocess:
    kind = str(step.get("type", "")).rpartition(".")[2]
    if kind in _NEUTRAL:
        return how
    if kind == "EfficientNetCenterCrop" or (kind == "CenterCrop" and step.get("efficientnet_style")):
        crop = _pair(step["crop_size"])
        fraction = crop[0] / (crop[0] + float(step.get("crop_padding", 32)))
        interpolation = {"interpolation": "bicubic", **step}
        return replace(
            _resampled(how, interpolation),
            pre_crop=fraction,
            pre_crop_offset="even",
            resize="stretch",
            resize_to=crop,
        )
    if kind == "CenterCrop":
        return replace(how, crop=_pair(step["crop_size"])[::-1])
    if kind == "ResizeEdge" and step.get("edge", "short") in {"short", "long"}:
        edge = step.get("edge", "short")
        return replace(_resampled(how, step), resize=edge, resize_to=(int(step["scale"]),))
    if kind == "Resize" and (target := step.get("scale", step.get("size"))) is not None:
        sides = (target, target) if isinstance(target, int) else tuple(target)
        if -1 in sides:  # mmcls 0.x: the short edge
            return replace(_resampled(how, step), resize="short", resize_to=(int(max(sides)),))
        if not step.get("keep_ratio"):
            # mmcv gives (width, height), mmcls 0.x gave (height, width).
            stretched = sides[::-1] if "scale" in step else sides
            return replace(_resampled(how, step), resize="stretch", resize_to=stretched)
    raise CheckpointError(
        f"The test pipeline of the training has the step {dict(step)!r}, which cannot be reproduced.",
        hint="Give a configuration that has another test_pipeline with --config.",
    )


def _resampled(how: Preprocess, step: Mapping[str, Any]) -> Preprocess:
    interpolation, backend = step.get("interpolation", "bilinear"), step.get("backend", "cv2")
    if interpolation not in get_args(Interpolation) or backend not in {"cv2", "pillow"}:
        raise CheckpointError(
            f"The test pipeline resizes with {backend} {interpolation}; deploykit knows cv2 and pillow with "
            f"{', '.join(get_args(Interpolation))}."
        )
    return replace(how, interpolation=interpolation, resampler="pillow" if backend == "pillow" else "opencv")


def _scaled(how: Preprocess, size: Size) -> Preprocess:
    """The pipeline with its own size replaced by ``size``, and the margin around the crop kept in
    proportion.
    """
    own = how.crop or (how.resize_to if how.resize == "stretch" else ())
    if own == size or not own:
        return how if own else replace(how, crop=size)
    if how.crop is None:
        return replace(how, resize_to=size)
    if how.resize == "stretch":
        scaled = tuple(
            round(side * new / old) for side, new, old in zip(how.resize_to, size, how.crop, strict=True)
        )
    else:
        scaled = tuple(round(side * max(size) / min(how.crop)) for side in how.resize_to)
    return replace(how, resize_to=scaled, crop=size)


def _pair(value: Any) -> Size:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def pipeline_steps(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The steps of the test pipeline that change pixels, except Normalize."""
    return [step for step in _steps(config) if str(step.get("type", "")).rpartition(".")[2] not in _NEUTRAL]


def _steps(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    pipeline = config.get("test_pipeline")
    for key, inner in (("test_dataloader", "dataset"), ("data", "test")):
        holder = config.get(key)
        if pipeline is None and isinstance(holder, Mapping) and isinstance(holder.get(inner), Mapping):
            pipeline = holder[inner].get("pipeline")
    steps = pipeline if isinstance(pipeline, list | tuple) else []
    return [step for step in steps if isinstance(step, Mapping)]


def _normalisation(config: Mapping[str, Any], steps: list[Mapping[str, Any]]) -> Preprocess:
    model = config.get("model")
    candidates: list[Any] = [
        config.get("data_preprocessor"),
        model.get("data_preprocessor") if isinstance(model, Mapping) else None,
        next((step for step in steps if step.get("type") == "Normalize"), None),
        {"mean": _PIXEL_MEAN, "std": _PIXEL_STD, "to_rgb": True},
    ]
    settings: Mapping[str, Any] = next(item for item in candidates if isinstance(item, Mapping))
    rgb = settings.get("to_rgb", settings.get("bgr_to_rgb", settings.get("type") == "Normalize"))
    mean, std = settings.get("mean"), settings.get("std")
    return Preprocess(
        color="rgb" if rgb else "bgr",
        scale=1.0,
        mean=tuple(map(float, mean)) if mean else (0.0, 0.0, 0.0),
        std=tuple(map(float, std)) if std else (1.0, 1.0, 1.0),
    )


def pipeline_size(config: Mapping[str, Any]) -> Size | None:
    """The (height, width) that the test pipeline produces, or None if it does not say."""
    found = None
    for step in _steps(config):
        kind = str(step.get("type", "")).rpartition(".")[2]
        if kind in {"CenterCrop", "EfficientNetCenterCrop"}:
            found = _pair(step["crop_size"])[::-1]
        elif (
            kind == "Resize"
            and not step.get("keep_ratio")
            and isinstance(step.get("scale"), int | tuple | list)
        ):
            found = _pair(step["scale"])[::-1]
    return found
