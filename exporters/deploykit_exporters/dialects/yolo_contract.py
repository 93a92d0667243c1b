"""What the specs of detectors with objectness share: sizes, ranges, names and the groups of the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.spec import AxisRange

from deploykit_exporters.families.base import Hints, OutputGroup

__all__ = ["class_names", "detection_groups", "dynamic_axes", "image_size", "refuse_features"]

_MAX_BATCH = 1024
_MIN_SIDE = 32
_MAX_SIDE = 4096


def refuse_features(hints: Hints) -> None:
    """Detectors export their heads.

    Raises:
        OptionError: the feature maps were asked for.
    """
    if hints.features:
        raise OptionError("--features is not available for YOLO models, which export their heads.")


def image_size(hints: Hints, own: tuple[int, int], step: int) -> tuple[int, int]:
    """Height and width of the model input: the user's, or the model's own.

    Raises:
        OptionError: it is no multiple of ``step``.
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
    """The ranges within which a fully convolutional network gives its answers, ``size`` included."""
    side = AxisRange(min=max(step, _MIN_SIDE), max=max(_MAX_SIDE, *size), step=step)
    return {"batch": AxisRange(min=1, max=_MAX_BATCH), "height": side, "width": side}


def class_names(hints: Hints, names: object, count: int) -> tuple[str, ...]:
    """The user's names, else those of the checkpoint (a list, or a dictionary by index); empty where
    there are none for every class.

    Raises:
        OptionError: the user gave another number of names than there are classes.
    """
    if hints.labels is not None:
        if len(hints.labels) != count:
            raise OptionError(
                f"--labels names {len(hints.labels)} classes, the model has {count}.",
                hint="Give one name per line, as many as the model has classes.",
            )
        return hints.labels
    if isinstance(names, Mapping):
        names = [names.get(index) for index in range(count)]
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) != count:
        return ()
    return tuple(map(str, names)) if all(isinstance(name, str) for name in names) else ()


def detection_groups(output: str, num_classes: int, masks: int = 0) -> tuple[OutputGroup, ...]:
    """The slices of [N, A, 5 + classes + masks], each compared against its own scale: boxes are in
    hundreds of pixels, scores below one."""
    scored = 5 + num_classes
    groups = [
        OutputGroup(output=output, axis=2, start=0, stop=4),
        OutputGroup(output=output, axis=2, start=4, stop=scored),
    ]
    if masks:
        groups.append(OutputGroup(output=output, axis=2, start=scored, stop=scored + masks))
    return tuple(groups)
