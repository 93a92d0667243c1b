"""The positional arguments of ``export``: the file to write, and the input size or an example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.text.described import described

__all__ = ["Example", "placed"]


class Shaped(Protocol):
    """A tensor or array."""

    @property
    def shape(self) -> Any: ...


Example: TypeAlias = int | tuple[int, int] | Shaped
"""The size of the input in pixels, or a tensor [N, C, H, W] of that size."""

_WANTED = (
    "Wanted the file to write, or the size of the input (224, (height, width), or a tensor [N, C, H, W])"
)


def placed(where: Iterable[object], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with each positional argument stored under its keyword.

    Raises:
        OptionError: an argument is neither, or was given twice.
    """
    found = dict(settings)
    for value in where:
        for name, meant in _meant(value, found).items():
            if found.get(name) is not None:
                raise OptionError(
                    f"{name} was given twice: {described(found[name])} and {described(meant)}.",
                    hint="Leave one of them out.",
                )
            found[name] = meant
    return found


def _meant(value: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str | Path):
        return {"output": value}
    shape = getattr(value, "shape", None)
    if shape is not None:
        return _of_example(value, [int(side) for side in shape], settings)
    if isinstance(value, int) and not isinstance(value, bool):
        return {"imgsz": value}
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return {"imgsz": tuple(value)}
    if isinstance(value, list | tuple) and len(value) == 1 and hasattr(value[0], "shape"):
        return _meant(value[0], settings)  # as torch.onnx.export takes it
    raise OptionError(f"{_WANTED}, found {described(value)}.", hint=_advice(value))


def _of_example(value: object, shape: list[int], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Height and width of an example, and its batch if the batch stays fixed."""
    if len(shape) != 4 or 0 in shape:
        raise OptionError(f"An example is a tensor [N, C, H, W], found {described(value)}.")
    batch, channels, height, width = shape
    if width <= 4 < channels:
        raise OptionError(
            f"An example is a tensor [N, C, H, W], found {described(value)}, which looks like [N, H, W, C].",
            hint="example.permute(0, 3, 1, 2), or give the size alone: (height, width).",
        )
    size = {"imgsz": (height, width)}
    frees = settings.get("dynamic") or ()
    free = frees is True or any(axis in str(frees) for axis in ("batch", "all"))
    return size if batch == 1 or free else {**size, "batch": batch}


def _advice(value: object) -> str:
    if isinstance(value, list | tuple) and len(value) in (3, 4):
        return "The size alone: (height, width); the batch is batch=N."
    return ""
