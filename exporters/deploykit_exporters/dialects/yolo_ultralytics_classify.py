"""Pre-processing of Ultralytics classifiers, as the transforms pickled with the model describe it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.spec import Interpolation, Preprocess

from deploykit_exporters.containers.inert import class_path, to_plain

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


def classify_preprocess(transforms: Any, height: int, width: int) -> Preprocess:
    """Short side to the image size, bilinear as Pillow does it, then the centre; a size that is not
    square is stretched to (``ultralytics.data.augment.classify_transforms``).

    The torchvision transforms that a trained model carries override interpolation, mean and standard
    deviation: releases before 8.1 normalised with ImageNet's.

    Args:
        transforms: Those of the pickled model; None where it has none.
        height, width: Of the model input.

    Raises:
        CheckpointError: the transforms are not those of Ultralytics; the first strange one is named.
    """
    steps = _named_steps(transforms)
    normalise = steps.get("Normalize")
    square = height == width
    return Preprocess(
        resize="short" if square else "stretch",
        resize_to=(height,) if square else (height, width),
        rounding="floor",
        crop=(height, width),
        interpolation=_interpolation(steps.get("Resize")),
        resampler="pillow",
        mean=_three(getattr(normalise, "mean", None), 0.0),
        std=_three(getattr(normalise, "std", None), 1.0),
    )


def assumed_transforms(transforms: Any, how: Preprocess) -> tuple[str, ...]:
    """What differs from ``predict()`` where the file's transforms are for another size."""
    size = _size(transforms)
    plain = (how.interpolation, *how.mean, *how.std) == ("bilinear", 0, 0, 0, 1, 1, 1)
    if size is None or size == how.crop or plain:
        return ()
    return (
        f"mean, std and interpolation of the file's transforms, which are for {size[0]}x{size[1]}; predict() "
        "of ultralytics takes 0, 1 and bilinear at other sizes",
    )


def own_transforms(transforms: Any, size: tuple[int, int]) -> Any:
    """The file's transforms as torchvision's own, for images of ``size``; None where it has none."""
    from torchvision import transforms as T

    steps = _named_steps(transforms)
    if not steps:
        return None
    mode = T.InterpolationMode(_interpolation(steps.get("Resize")))
    normalise = steps.get("Normalize")
    made = [
        T.Resize(size[0] if size[0] == size[1] else size, interpolation=mode),
        T.CenterCrop(size),
        T.ToTensor(),
    ]
    if normalise is not None:
        made.append(T.Normalize(_three(normalise.mean, 0.0), _three(normalise.std, 1.0)))
    return T.Compose(made)


def _named_steps(transforms: Any) -> dict[str, Any]:
    """The transforms by the name of their class.

    Raises:
        CheckpointError: they are others than Ultralytics has, or in another order.
    """
    steps = _steps(transforms)
    names = [class_path(step) for step in steps]
    wanted = [name for name in _ORDER if any(path.endswith(f".{name}") for path in names)]
    strange = [
        path for path in names if not path.startswith(_PACKAGE) or path.rpartition(".")[2] not in _ORDER
    ]
    found = [path.rpartition(".")[2] for path in names]
    crops = _sizes(steps, "Resize") | _sizes(steps, "CenterCrop")
    if strange or found != wanted or len(crops) > 1:
        told = strange[0] if strange else f"{', '.join(found)} of the sizes {sorted(crops)}"
        raise CheckpointError(
            f"The file's transforms hold {told}, wanted torchvision's {', '.join(_ORDER)} of one size.",
            hint="--ignore model:transforms takes those that ultralytics makes for the image size.",
        )
    return dict(zip(found, steps, strict=True))


def _sizes(steps: Sequence[Any], name: str) -> set[tuple[int, int]]:
    sizes = (getattr(step, "size", None) for step in steps if class_path(step).endswith(f".{name}"))
    return {size for size in map(_pair, sizes) if size is not None}


def _size(transforms: Any) -> tuple[int, int] | None:
    return next(iter(_sizes(_steps(transforms), "Resize")), None)


def _pair(size: Any) -> tuple[int, int] | None:
    """An int stands for a square."""
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
