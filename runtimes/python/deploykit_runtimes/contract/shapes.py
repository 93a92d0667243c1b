"""Whether a model takes the batch or the image size that an option asks for."""

from __future__ import annotations

from deploykit_runtimes.contract.spec import AxisRange, ModelSpec
from deploykit_runtimes.errors import OptionError

__all__ = ["check_batch", "check_same_crop", "check_size", "nearest"]


def check_batch(spec: ModelSpec, batch: int, option: str = "batch") -> None:
    """Compare a batch size with what the input of a model allows.

    Raises:
        OptionError: the axis is fixed to another number, or ends before it.
    """
    _check(spec, "batch", batch, spec.input.batch, option)


def check_size(spec: ModelSpec, imgsz: tuple[int, int], option: str = "imgsz") -> None:
    """Compare (height, width) with what the input of a model allows.

    Raises:
        OptionError: an axis is fixed to another size, or does not take this one.
    """
    if spec.preprocess.included:
        raise OptionError(
            f"{option} cannot be followed: the model's pre-processing is inside its graph.",
            hint="Export again with --imgsz.",
        )
    _check(spec, "height", imgsz[0], spec.input.height, option)
    _check(spec, "width", imgsz[1], spec.input.width, option)


def check_same_crop(spec: ModelSpec, imgsz: tuple[int, int], option: str = "imgsz") -> None:
    """See that images come into another size as they come into the model's own.

    Ultralytics' classifiers crop images for a square size, and stretch them for any other.

    Raises:
        OptionError: they would come into this size the other way.
    """
    own = spec.input.height, spec.input.width
    crops = spec.origin == "ultralytics" and spec.task == "classify" and spec.preprocess.crop is not None
    if crops and (own[0] == own[1]) != (imgsz[0] == imgsz[1]):
        raise OptionError(
            f"{option} asks for {imgsz[0]}x{imgsz[1]}, and the model's pre-processing is that of "
            f"{own[0]}x{own[1]}: Ultralytics crops images for a square size, and stretches them for others.",
            hint=f"Leave it out, or export again with --imgsz {imgsz[0]},{imgsz[1]}.",
        )


def _check(spec: ModelSpec, axis: str, wanted: int, native: int, option: str) -> None:
    allowed = spec.input.dynamic.get(axis)
    if allowed is None and wanted != native:
        flag = "--batch" if axis == "batch" else "--imgsz"
        raise OptionError(
            f"{option} asks for a {axis} of {wanted}, the model's is fixed to {native}.",
            hint=f"Leave it out, or export again with --dynamic {axis}, or with {flag}.",
        )
    if allowed is not None and wanted not in allowed:
        raise OptionError(
            f"{option} asks for a {axis} of {wanted}, the model takes {allowed}.",
            hint=f"The nearest is {nearest(wanted, allowed)}.",
        )


def nearest(wanted: int, allowed: AxisRange) -> int:
    """The allowed size that is nearest to a wanted one."""
    lowest = -(-allowed.min // allowed.step) * allowed.step
    highest = allowed.max // allowed.step * allowed.step
    return min(max(round(wanted / allowed.step) * allowed.step, lowest), highest)
