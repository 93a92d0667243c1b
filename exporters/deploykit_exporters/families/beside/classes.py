"""Names of the classes that training code stored in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deploykit_runtimes.errors import OptionError

from deploykit_exporters.containers.labels import names_from
from deploykit_exporters.families.beside.vocabulary import words

__all__ = ["class_names_of", "names_classes"]

_NAMES = (
    *({"class", "to", "idx"}, {"classes", "to", "idx"}, {"idx", "to", "class"}, {"index", "to", "class"}),
    *({"class", "to", "index"}, {"label", "to", "idx"}, {"idx", "to", "label"}, {"idx", "to", "name"}),
    *({"class", "names"}, {"classes", "names"}, {"label", "names"}, {"labels", "names"}, {"class", "name"}),
    *({"class", "list"}, {"class", "labels"}, {"classes"}, {"class", "map"}, {"class", "mapping"}),
    *({"id2label"}, {"label2id"}, {"id", "2", "label"}, {"label", "2", "id"}, {"labels"}, {"categories"}),
    *({"idx", "2", "class"}, {"class", "2", "idx"}, {"idx", "2", "label"}, {"label", "2", "idx"}),
    *({"label", "map"}, {"names"}),
)


def names_classes(name: str) -> bool:
    """Whether a setting of this name may hold the names of the classes."""
    return set(words(name)) in _NAMES


def class_names_of(settings: Iterable[tuple[str, Any]], count: int) -> tuple[str, ...]:
    """The names of the classes, if the settings of a file agree on that many names.

    Args:
        settings: Names and values.
        count: The number of classes.
    """
    found = {_names(value) for name, value in settings if names_classes(name)}
    fitting = [names for names in found if len(names) == count]
    return fitting[0] if len(fitting) == 1 else ()


def _names(value: Any) -> tuple[str, ...]:
    """The names in a list, or in a mapping in either direction; empty for anything else."""
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, list | Mapping) or len(value) < 2:
        return ()
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        return ()
    try:
        return names_from(value)
    except (OptionError, ValueError):
        return ()
