"""The result of a comparison, and how values from any training code are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["AGREES", "UNCLEAR", "Comparison", "Verdict", "are_numbers", "either", "eps_inside", "word_of"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        differs: The setting differs from the built model, or has an unknown meaning.
        agrees: The setting is that of the built model.
        built: What was built, for errors.
    """

    agrees: bool = False
    differs: bool = False
    built: Any = None


Comparison = Callable[..., Verdict]
"""Takes the value, the facts, the words of the name, and the settings at the same place."""
AGREES = Verdict(agrees=True)
UNCLEAR = Verdict()
"""It may not speak of the network at all: it is reported, not refused."""


def word_of(value: Any) -> str:
    """A name: for a class its own, for an object or partial the name of its class in the file."""
    if isinstance(value, str):
        return value
    if isinstance(value, type):
        return str(getattr(value, "inert_path", "") or value.__name__)
    args = getattr(value, "inert_args", ())
    path = str(getattr(value, "inert_path", ""))
    if path == "functools.partial" and args:
        return word_of(args[0])
    return path


def eps_inside(value: Any) -> Any:
    """The eps in ``partial(nn.LayerNorm, eps=1e-6)``, in a norm, or in the configuration of one; otherwise
    None.
    """
    if isinstance(value, Mapping):
        return value.get("eps")
    state = getattr(value, "inert_state", None)  # of functools.partial: function, arguments, keywords, ...
    told = (getattr(value, "inert_kwargs", None), getattr(value, "__dict__", None))
    places = (*told, *(state if isinstance(state, list | tuple) else ()))
    return next((one["eps"] for one in places if isinstance(one, Mapping) and "eps" in one), None)


def are_numbers(value: Any) -> bool:
    """Whether a value is a number or a list of numbers."""
    values = value if isinstance(value, list | tuple) else [value]
    return bool(values) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def either(values: Sequence[Any]) -> Any:
    """The only value, or all of them in words."""
    return values[0] if len(values) == 1 else " or ".join(map(str, values))
