"""The contents of a setting: dictionaries, objects, text that is a configuration, steps of a transform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit_exporters.containers.pickles.inert import class_path
from deploykit_exporters.containers.texts import parse_json, parse_yaml
from deploykit_exporters.families.beside.lists import listed, one_line

__all__ = ["contents", "value_of"]

# Attributes of torchvision's steps that change no picture of Pillow's.
_OF_ANY_STEP = {"training", "inplace", "antialias"}
_LONGEST_TEXT = 1 << 20
# Pictures are changed at random by these in training; what was saved is not the evaluation.
_TRAINING_STEPS = ("Random", "ColorJitter", "AutoAugment", "TrivialAugment", "RandAugment", "AugMix", "Auto")


def contents(value: Any) -> Mapping[Any, Any] | None:
    """The entries of a dictionary, a Namespace, a Hydra configuration, JSON or YAML text with entries, a
    command line, or a list of steps or settings; otherwise None.
    """
    if isinstance(value, Mapping):
        return value
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, list | tuple):
        return _steps(value) or listed(value)
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, Mapping) or isinstance(value, type):
        return None
    inner = attributes.get("_content")
    if isinstance(inner, Mapping):
        return inner
    return attributes if attributes else None


def value_of(value: Any) -> Any:
    """The value of an omegaconf node, a Weights & Biases entry, or an enumeration member."""
    if isinstance(value, Mapping) and "value" in value and value.keys() <= {"value", "desc"}:
        return value["value"]
    if isinstance(value, type):
        return value
    made: tuple[Any, ...] = getattr(value, "inert_args", ())
    if len(made) == 1 and isinstance(made[0], str | int) and not getattr(value, "__dict__", None):
        return made[0]
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict):
        return value
    if "_val" in attributes:
        return attributes["_val"]
    content = attributes.get("_content")
    return [value_of(one) for one in content] if isinstance(content, list) else value


def _parsed(text: str) -> Mapping[Any, Any] | None:
    """A configuration saved as text: JSON, YAML, or one command line."""
    is_json = text.lstrip().startswith("{")
    if len(text) > _LONGEST_TEXT:
        return None
    if is_json or (":" in text and "\n" in text):
        try:
            found = parse_json(text) if is_json else parse_yaml(text)
        except ValueError:
            found = None
        if isinstance(found, Mapping):
            return found
    return one_line(text)


def _steps(steps: list[Any] | tuple[Any, ...]) -> Mapping[str, Any] | None:
    """The arguments of a transform's steps (``Normalize.mean``), without steps that are only for training."""
    kinds = [class_path(step).rpartition(".")[2] for step in steps]
    made = [getattr(step, "__dict__", None) for step in steps]
    if not made or not all(isinstance(one, Mapping) for one in made):
        return None
    if any(kind.startswith(_TRAINING_STEPS) for kind in kinds):
        return None
    return {
        f"{kind}.{name}": value
        for kind, one in zip(kinds, made, strict=True)
        for name, value in (one or {}).items()
        if not name.startswith("_") and name not in _OF_ANY_STEP
    }
