"""Optimisation profiles: which shapes an engine takes, and which one it is fastest at."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import InputError, OptionError

__all__ = [
    "Profile",
    "Shape",
    "ShapeRange",
    "as_profile_texts",
    "as_text",
    "choose",
    "default_profile",
    "describe_profile",
    "parse_profiles",
]

Shape = tuple[int, ...]

_BATCH, _PIXELS = 32, 1 << 25
"""Images and pixels of the largest default batch: what a context reserves grows with both."""
_RAW_SIDE, _RAW_PIXELS = 4096, 8 * 4096 * 4096
"""The same for graphs that take whole photos, which are small after their pre-processing."""
_GUESSED_SIDE = 1280
"""Largest side where another exporter's file does not say what it takes."""


@dataclass(frozen=True, kw_only=True)
class ShapeRange:
    """Smallest, best and largest shape of an input."""

    min: Shape
    opt: Shape
    max: Shape

    def __contains__(self, shape: object) -> bool:
        return (
            isinstance(shape, tuple)
            and len(shape) == len(self.min)
            and all(low <= n <= high for low, n, high in zip(self.min, shape, self.max, strict=True))
        )

    def __str__(self) -> str:
        if self.min == self.max:
            return as_text(self.min)
        return f"{as_text(self.min)} to {as_text(self.max)}, best at {as_text(self.opt)}"


Profile = Mapping[str, ShapeRange]


def as_text(shape: Shape) -> str:
    """``1x3x224x224``; ``scalar`` for an empty shape."""
    return "x".join(map(str, shape)) or "scalar"


def describe_profile(profile: Profile) -> str:
    """``images 1x3x224x224 to 32x3x224x224, best at 8x3x224x224``; fixed inputs are left out."""
    moving = {name: shapes for name, shapes in profile.items() if shapes.min != shapes.max}
    return "; ".join(f"{name} {shapes}" for name, shapes in (moving or profile).items())


def as_profile_texts(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """Profiles as ``parse_profiles`` reads them; inputs without a shape of their own are left out."""
    return tuple(
        f"{name}:{as_text(shapes.min)},{as_text(shapes.opt)},{as_text(shapes.max)}"
        for profile in profiles
        for name, shapes in profile.items()
        if shapes.opt
    )


def choose(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> int:
    """The first profile that takes the shapes.

    Raises:
        InputError: no profile does; names the shapes that every profile takes.
    """
    for index, profile in enumerate(profiles):
        if all(shapes[name] in allowed for name, allowed in profile.items()):
            return index
    found = ", ".join(f"{name} {as_text(shape)}" for name, shape in shapes.items() if shape)
    takes = " or ".join(describe_profile(profile) for profile in profiles)
    raise InputError(
        f"The engine was built for {takes}; found {found}.",
        hint="Build it for these shapes: deploykit build MODEL --shapes NAME:MIN,OPT,MAX",
    )


def parse_profiles(
    texts: Sequence[str], spec: ModelSpec, inputs: Sequence[TensorInfo]
) -> tuple[Profile, ...]:
    """Read ``images:1x3x224x224,8x3x224x224,32x3x640x640``: smallest, best and largest shape.

    One shape alone is all three. Without a name it is the image input's. A name that comes again
    starts a further profile. Inputs that are not named get their default.

    Raises:
        OptionError: a text is malformed, or the model does not take such shapes.
    """
    known = {info.name: info for info in inputs}
    profiles: list[dict[str, ShapeRange]] = []
    for text in texts:
        name, _, shapes = text.rpartition(":")
        name = name.strip() or spec.input.name
        if name not in known:
            raise OptionError(f"--shapes names the input {name!r}, the model takes {', '.join(known)}.")
        parsed = _parse_range(text, shapes)
        _check_range(text, parsed, known[name], spec)
        if not profiles or name in profiles[-1]:
            profiles.append({})
        profiles[-1][name] = parsed
    default = default_profile(spec, inputs)
    return tuple({**default, **profile} for profile in profiles) or (default,)


def default_profile(spec: ModelSpec, inputs: Sequence[TensorInfo]) -> Profile:
    """The ranges that the model declares, with the sizes it was exported for as the best ones.

    The largest batch is cut down to 32 images, or what fits into a fixed number of pixels: TensorRT
    reserves memory for the largest shape, used or not.
    """
    return {info.name: _default_range(info, spec) for info in inputs}


def _default_range(info: TensorInfo, spec: ModelSpec) -> ShapeRange:
    if info.name != spec.input.name:
        shape = tuple(n if isinstance(n, int) else 1 for n in info.shape)
        return ShapeRange(min=shape, opt=shape, max=shape)
    low, best, high = _image_sizes(spec)
    return ShapeRange(
        min=_fill(info, spec.input, low), opt=_fill(info, spec.input, best), max=_fill(info, spec.input, high)
    )


def _image_sizes(spec: ModelSpec) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Smallest, best and largest batch, height and width."""
    image = spec.input
    best = {"batch": image.batch, "height": image.height, "width": image.width}
    free = {axis: image.dynamic.get(axis) or AxisRange(min=n, max=n) for axis, n in best.items()}
    best = {axis: _nearest(n, free[axis]) for axis, n in best.items()}
    side, pixels = (_RAW_SIDE, _RAW_PIXELS) if spec.preprocess.included else (math.isqrt(_PIXELS), _PIXELS)
    if spec.inferred:
        side = min(side, _GUESSED_SIDE)
    high = {
        axis: max(best[axis], _nearest(min(side, free[axis].max), free[axis])) for axis in ("height", "width")
    }
    fitting = min(_BATCH, pixels // (high["height"] * high["width"]))
    batch = max(best["batch"], min(free["batch"].max, fitting))
    high["batch"] = _nearest(batch, free["batch"])
    low = {axis: _nearest(allowed.min, allowed) for axis, allowed in free.items()}
    return low, best, high


def _nearest(n: int, allowed: AxisRange) -> int:
    """The largest allowed number up to ``n``, or the smallest one."""
    smallest = -(-allowed.min // allowed.step) * allowed.step
    return max(smallest, min(n, allowed.max) // allowed.step * allowed.step)


def _fill(info: TensorInfo, image: InputSpec, sizes: Mapping[str, int]) -> Shape:
    """A shape of the image input; fixed axes stay as the graph has them."""
    values = {**sizes, "channels": image.channels}
    wanted = [values[axis] for axis in image.axes]
    return tuple(n if isinstance(n, int) else value for n, value in zip(info.shape, wanted, strict=True))


def _parse_range(text: str, shapes: str) -> ShapeRange:
    parts = shapes.lower().split(",")
    if not all(re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", part.strip()) for part in parts) or len(
        parts
    ) not in (
        1,
        3,
    ):
        raise OptionError(
            f"--shapes wants NAME:MIN,OPT,MAX or NAME:SHAPE, found {text!r}.",
            hint="For instance --shapes images:1x3x224x224,8x3x224x224,32x3x640x640",
        )
    parsed = [tuple(int(n) for n in part.strip().split("x")) for part in parts]
    low, best, high = parsed if len(parsed) == 3 else parsed * 3
    return ShapeRange(min=low, opt=best, max=high)


def _check_range(text: str, shapes: ShapeRange, info: TensorInfo, spec: ModelSpec) -> None:
    allowed = spec.input.dynamic if info.name == spec.input.name else {}
    for shape in (shapes.min, shapes.opt, shapes.max):
        if len(shape) != len(info.shape):
            raise OptionError(f"--shapes {text}: input {info} has {len(info.shape)} axes.")
        for axis, (wanted, n) in enumerate(zip(info.shape, shape, strict=True)):
            _check_axis(f"--shapes {text}: input {info}", axis, wanted, n, allowed)
    if shapes.opt not in shapes or not all(map(int.__le__, shapes.min, shapes.max)):
        raise OptionError(f"--shapes {text}: wanted MIN <= OPT <= MAX on every axis.")


def _check_axis(where: str, axis: int, wanted: int | str, n: int, ranges: Mapping[str, AxisRange]) -> None:
    if isinstance(wanted, int):
        if n != wanted:
            raise OptionError(
                f"{where} is fixed to {wanted} on axis {axis}, found {n}.",
                hint="Export with --dynamic to build for other sizes.",
            )
        return
    allowed = ranges.get(wanted)
    if n < 1 or (allowed is not None and n not in allowed):
        raise OptionError(f"{where} accepts {wanted} {allowed or '1 and up'}, found {n}.")
