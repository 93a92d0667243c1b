"""Pre-processing of Ultralytics classifiers, as described by the transforms pickled with the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from deploykit_runtimes.contract.spec import Interpolation, Preprocess
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.pickles.inert import class_path, to_plain

__all__ = ["assumed_transforms", "classify_preprocess", "own_transforms"]

_INTERPOLATIONS: dict[str, Interpolation] = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos",
    "box": "box",
}
_ORDER = ("Resize", "CenterCrop", "ToTensor", "Normalize")
_PACKAGE = "torchvision.transforms."
_OWN = re.compile(r"ultralytics\.(yolo\.)?data\.augment\.(CenterCrop|ToTensor)")


def classify_preprocess(transforms: Any, height: int, width: int) -> Preprocess:
    """Short side to the image size with Pillow's bilinear resize, then a centre crop; a size that is not
    square is stretched to (``ultralytics.data.augment.classify_transforms``).

    The transforms that a trained model carries override interpolation, mean and standard deviation. Those
    of releases before 8.1 are Ultralytics' own: the largest centred square, resized to the image size by
    OpenCV.

    Args:
        transforms: Those of the pickled model; None if it has none.
        height, width: Size of the model input.

    Raises:
        CheckpointError: the transforms are not those of Ultralytics; the message names the first unknown one.
    """
    steps = _named_steps(transforms)
    normalise = steps.get("Normalize")
    mean, std = _three(getattr(normalise, "mean", None), 0.0), _three(getattr(normalise, "std", None), 1.0)
    if _is_old(steps):
        return Preprocess(
            pre_crop=1.0,
            pre_crop_offset="down",
            resize="stretch",
            resize_to=(height, width),
            resampler="opencv",
            mean=mean,
            std=std,
        )
    short = height == width and not _stretches(steps.get("Resize"))
    return Preprocess(
        resize="short" if short else "stretch",
        resize_to=(height,) if short else (height, width),
        rounding="floor",
        crop=(height, width),
        interpolation=_interpolation(steps.get("Resize")),
        resampler="pillow",
        mean=mean,
        std=std,
    )


def assumed_transforms(transforms: Any, how: Preprocess) -> tuple[str, ...]:
    """How the result differs from ``predict()`` if the file's transforms are for another size."""
    size = _size(transforms)
    plain = (how.interpolation, *how.mean, *how.std) == ("bilinear", 0, 0, 0, 1, 1, 1)
    if size is None or size == how.crop or plain:
        return ()
    return (
        f"mean, std and interpolation of the file's transforms, which are for {size[0]}x{size[1]}; predict() "
        "of ultralytics takes 0, 1 and bilinear at other sizes",
    )


def own_transforms(transforms: Any, size: tuple[int, int]) -> Any:
    """The file's transforms as their libraries' classes, for images of ``size``; None if there are none."""
    from torchvision import transforms as T

    steps = _named_steps(transforms)
    if not steps:
        return None
    made: list[Any]
    if _is_old(steps):
        from ultralytics.data.augment import CenterCrop, ToTensor

        made = [CenterCrop(size), ToTensor()]
    else:
        mode = T.InterpolationMode(_interpolation(steps.get("Resize")))
        short = size[0] == size[1] and not _stretches(steps.get("Resize"))
        resize = T.Resize(size[0] if short else size, interpolation=mode)
        made = [resize, T.CenterCrop(size), T.ToTensor()]
    normalise = steps.get("Normalize")
    if normalise is not None:
        made.append(T.Normalize(_three(normalise.mean, 0.0), _three(normalise.std, 1.0)))
    return T.Compose(made)


def _named_steps(transforms: Any) -> dict[str, Any]:
    """The transforms by class name.

    Raises:
        CheckpointError: they are not Ultralytics' own, or their order differs.
    """
    steps = _steps(transforms)
    names = [class_path(step) for step in steps]
    found = [path.rpartition(".")[2] for path in names]
    strange = [path for path in names if not _is_known(path)]
    own = [bool(_OWN.fullmatch(path)) for path in names[:2]]
    wanted = _ORDER[1:] if own and all(own) else _ORDER
    crops = _sizes(steps, "Resize") | _sizes(steps, "CenterCrop")
    limited = any(getattr(step, "max_size", None) is not None for step in steps)
    whole = found in (list(wanted), list(wanted[:-1])) and all(own) == any(own)
    if steps and (strange or not whole or len(crops) > 1 or limited):
        told = strange[0] if strange else f"{', '.join(found)} of the sizes {sorted(crops)}"
        raise CheckpointError(
            f"The file's transforms hold {told}, wanted torchvision's {', '.join(_ORDER)} of one size.",
            hint="--ignore model:transforms takes those that ultralytics makes for the image size.",
        )
    return dict(zip(found, steps, strict=True))


def _is_known(path: str) -> bool:
    return bool(_OWN.fullmatch(path)) or (path.startswith(_PACKAGE) and path.rpartition(".")[2] in _ORDER)


def _is_old(steps: Mapping[str, Any]) -> bool:
    """Whether the transforms are Ultralytics' own classes, which also replace torchvision's Resize."""
    return any(_OWN.fullmatch(class_path(step)) for step in steps.values())


def _sizes(steps: Sequence[Any], name: str) -> set[tuple[int, int]]:
    sizes = (getattr(step, "size", None) for step in steps if class_path(step).endswith(f".{name}"))
    return {size for size in map(_pair, sizes) if size is not None}


def _stretches(resize: Any) -> bool:
    """Whether torchvision resizes both sides, even to a square."""
    size = getattr(resize, "size", None)
    return isinstance(size, list | tuple) and len(size) == 2


def _size(transforms: Any) -> tuple[int, int] | None:
    return next(iter(_sizes(_steps(transforms), "Resize")), None)


def _pair(size: Any) -> tuple[int, int] | None:
    """A pair of sizes; an int stands for a square."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and all(isinstance(side, int) for side in size) and 0 < len(size) < 3:
        return int(size[0]), int(size[-1])
    return None


def _steps(transforms: Any) -> Sequence[Any]:
    steps = getattr(transforms, "transforms", ())
    return steps if isinstance(steps, list | tuple) else ()


def _interpolation(resize: Any) -> Interpolation:
    # An enum member is pickled as a call of its class with the value ("bilinear").
    value = to_plain(getattr(resize, "interpolation", None))
    return _INTERPOLATIONS.get(value if isinstance(value, str) else "", "bilinear")


def _three(values: Any, default: float) -> tuple[float, ...]:
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, list | tuple) and len(values) == 3:
        return tuple(float(value) for value in values)
    return (default,) * 3
