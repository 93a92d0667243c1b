"""Match the classes of labels with those of the model; every contradiction is an error that names it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.pixels.listing import natural_order

from deploykit.evaluation.data.strangers import nearest

__all__ = ["Matching", "by_name", "in_order", "same_classes"]

Matching: TypeAlias = Literal["exact", "names", "order"]
"""How classes of labels become those of the model. ``exact``: number, names and order have to agree.
``names``: by name. ``order``: the numbers are trusted, whatever the names."""

_SHOWN = 5


def same_classes(names: Sequence[str], spec: ModelSpec, matching: Matching, source: str) -> dict[int, int]:
    """Map the classes of a label file that has its own order, such as data.yaml, to those of the model.

    Args:
        names: Its classes, by number.
        spec: The model.
        matching: See ``Matching``.
        source: Where the names come from.

    Raises:
        OptionError: they contradict the model's.
    """
    if matching == "names":
        return by_name(names, spec, source)
    if spec.num_classes and len(names) != spec.num_classes:
        raise OptionError(
            f"{source} has {len(names)} classes, the model has {spec.num_classes}: "
            f"{_difference(names, spec)}.",
            hint="Evaluate the model on labels of its own classes; --match names takes those that it has.",
        )
    wrong = [
        (number, name, own)
        for number, (name, own) in enumerate(zip(names, spec.classes, strict=False))
        if name != own
    ]
    if wrong and matching == "exact":
        number, name, own = wrong[0]
        same = sorted(names) == sorted(spec.classes)
        raise OptionError(
            f"{source} calls class {number} {name!r}, the model calls it {own!r}"
            + (f"; {len(wrong)} of {len(names)} classes differ" if len(wrong) > 1 else "")
            + (": the same names in another order." if same else "."),
            hint="--match names goes by the names; --match order trusts the numbers.",
        )
    return {number: number for number in range(len(names))}


def by_name(names: Sequence[str], spec: ModelSpec, source: str) -> dict[int, int]:
    """Map classes that have names but no order, such as folders and COCO's categories, to the model's.

    Raises:
        OptionError: the model lacks one, or the names of its classes are unknown.
    """
    if not spec.classes:
        raise OptionError(
            f"The model does not name its {spec.num_classes} classes, and those of {source} are matched by "
            "name.",
            hint="Name them with --labels FILE, or --match order takes them in sorted order.",
        )
    places = {name: number for number, name in enumerate(spec.classes)}
    if len(places) < len(spec.classes):
        twice = sorted(name for name, count in Counter(spec.classes).items() if count > 1)
        raise OptionError(
            f"The model calls several classes {twice[0]!r}, so a name does not say which one is meant.",
            hint="--match order takes the classes in their order.",
        )
    lacking = [name for name in names if name not in places]
    if lacking:
        near = nearest(lacking[0], spec.classes)
        raise OptionError(
            f"{source} has {_listed(lacking)}, which the model does not have: it has "
            f"{_listed(spec.classes)}.",
            hint=(f"Did you mean {near!r}? " if near else "")
            + "Take the class out of the labels, or name the model's classes with --labels FILE.",
        )
    return {number: places[name] for number, name in enumerate(names)}


def in_order(names: Sequence[str], spec: ModelSpec, source: str) -> dict[int, int]:
    """Take sorted names as the classes of the model, in its order.

    Raises:
        OptionError: their number differs, or training codes sort them differently.
    """
    if spec.num_classes and len(names) != spec.num_classes:
        raise OptionError(
            f"{source} has {len(names)} classes, the model has {spec.num_classes}: "
            "they cannot be matched by order.",
            hint="Name the model's classes with --labels FILE.",
        )
    from pathlib import Path

    plain, natural = sorted(names), sorted(names, key=lambda name: natural_order(Path(name)))
    if plain != natural:
        first = next(number for number, (a, b) in enumerate(zip(plain, natural, strict=True)) if a != b)
        raise OptionError(
            f"The classes of {source} can be sorted in two ways: class {first} is {plain[first]!r} by its "
            f"letters, {natural[first]!r} by its number.",
            hint="Name the model's classes with --labels FILE.",
        )
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    return {places[name]: number for number, name in enumerate(plain)}


def _difference(names: Sequence[str], spec: ModelSpec) -> str:
    theirs, own = set(names), set(spec.classes)
    more = [name for name in names if name not in own]
    less = [name for name in spec.classes if name not in theirs]
    told = [f"only the labels have {_listed(more)}"] if more and spec.classes else []
    told += [f"only the model has {_listed(less)}"] if less else []
    return ", ".join(told) or f"the labels have {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown or "none"
