"""What the specs of detectors with objectness share: sizes, ranges, and the groups of the proof."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deploykit_runtimes.contract.spec import AxisRange
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.families.base import Hints, OutputGroup
from deploykit_exporters.families.settings import Setting, Settings

__all__ = [
    "detection_groups",
    "dynamic_axes",
    "expect_same",
    "image_size",
    "is_ignored",
    "plain_attributes",
    "refuse_features",
    "refuse_other_options",
]

_MAX_BATCH = 1024
_MIN_SIDE = 32
_MAX_SIDE = 4096


def refuse_features(hints: Hints) -> None:
    """Refuse features: detectors export their heads.

    Raises:
        OptionError: feature maps were requested.
    """
    if hints.features:
        raise OptionError("--features is not available for YOLO models, which export their heads.")


def refuse_other_options(hints: Hints, *, heads: bool = False) -> None:
    """Refuse options that are for other families.

    Args:
        hints: What the user said.
        heads: Whether the origin has networks with several heads.

    Raises:
        OptionError: one of these options was given.
    """
    refuse_features(hints)
    if hints.head_activation is not None:
        raise OptionError(
            "--head-activation is not available for YOLO models, whose files name the activation."
        )
    if hints.head is not None and not heads:
        raise OptionError(f"--head {hints.head} is not in this file, whose network has one head.")


def plain_attributes(module: Any) -> dict[str, Any]:
    """The attributes of a pickled or built module that are neither private nor of ``nn.Module``."""
    return {
        str(name): value
        for name, value in getattr(module, "__dict__", {}).items()
        if not str(name).startswith("_") and name not in ("training", "call_super_init", "dump_patches")
    }


def expect_same(settings: Settings, name: str, built: Any) -> None:
    """Refuse a setting that disagrees with the network; both are tensors or lists of numbers.

    Raises:
        CheckpointError: they differ.
    """
    value = settings.get(name)
    if value is None or built is None or _numbers(value) == _numbers(built):
        return
    raise CheckpointError(
        f"{settings.where} says {name} = {_numbers(value)}, its head has {_numbers(built)}.",
        hint=f"If the head is right, say so: --ignore {settings.where}:{name}",
    )


def is_ignored(settings: Iterable[Setting], path: str) -> bool:
    """Whether the user said that a setting, ``where:name``, does not matter; it then counts as not given."""
    return any(setting.path == path and setting.treatment == "ignored" for setting in settings)


def _numbers(value: Any) -> list[float]:
    value = value.tolist() if hasattr(value, "tolist") else value
    return [float(number) for number in value] if isinstance(value, list | tuple) else []


def image_size(hints: Hints, own: tuple[int, int], step: int) -> tuple[int, int]:
    """Height and width of the model input: the user's, or the model's own.

    Raises:
        OptionError: it is not a multiple of ``step``.
    """
    height, width = hints.imgsz or own
    if height % step or width % step or min(height, width) < 1:
        up = [max(1, -(-side // step)) * step for side in (height, width)]
        raise OptionError(
            f"The image size {height},{width} is not a multiple of the model's stride {step}.",
            hint=f"The next size up is --imgsz {up[0]},{up[1]}.",
        )
    return height, width


def dynamic_axes(size: tuple[int, int], step: int) -> dict[str, AxisRange]:
    """The size ranges in which a fully convolutional network works, including ``size``."""
    side = AxisRange(min=max(step, _MIN_SIDE), max=max(_MAX_SIDE, *size), step=step)
    return {"batch": AxisRange(min=1, max=_MAX_BATCH), "height": side, "width": side}


def detection_groups(output: str, num_classes: int, masks: int = 0) -> tuple[OutputGroup, ...]:
    """The slices of [N, A, 5 + classes + masks], each compared on its own scale: boxes are in hundreds of
    pixels, scores below one.
    """
    scored = 5 + num_classes
    groups = [
        OutputGroup(output=output, axis=2, start=0, stop=4),
        OutputGroup(output=output, axis=2, start=4, stop=scored),
    ]
    if masks:
        groups.append(OutputGroup(output=output, axis=2, start=scored, stop=scored + masks))
    return tuple(groups)
