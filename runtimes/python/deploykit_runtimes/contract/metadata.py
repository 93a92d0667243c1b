"""ModelSpec <-> flat string keys, as ``docs/spec.md`` defines them.

Every value is one line of text, except lists of names, which hold one name per line, so that a
reader needs no nested parser: numbers in C locale, booleans ``0``/``1``, tuples joined by a space.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from deploykit_runtimes.contract.axes import AXES
from deploykit_runtimes.contract.limits import INTEGER, NAMES, VALUE, ModelLimitError
from deploykit_runtimes.contract.spec import (
    FORMAT_VERSION,
    AxisRange,
    InputSpec,
    ModelSpec,
    OutputSpec,
    ParityRecord,
    PrecisionRecord,
    Preprocess,
)
from deploykit_runtimes.errors import ModelError

__all__ = ["PREFIX", "has_metadata", "spec_from_metadata", "spec_to_metadata"]

PREFIX = "deploykit."
_PARTS: dict[str, type] = {
    "input": InputSpec,
    "network": InputSpec,
    "preprocess": Preprocess,
    "output": OutputSpec,
    "parity": ParityRecord,
    "precision": PrecisionRecord,
}
_REQUIRED = ("input", "preprocess", "output")
_NOT_IN_FILES = ("inferred", "readings")
_GOLDEN = f"{PREFIX}golden."
"""Keys that ``selftest.cases`` reads, when they are needed."""
# As C++ reads them: no underscores, no digits of other scripts, and not enough of them to make reading slow.
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
_FLOAT = re.compile(
    r"[+-]?(([0-9]{1,400}\.?[0-9]{0,1100}|\.[0-9]{1,1100})(e[+-]?[0-9]{1,10})?|inf(inity)?|nan)",
    re.IGNORECASE,
)
_LINES = {"classes", "recognised", "assumed", "shapes", "inputs", "kept"}


def has_metadata(metadata: Mapping[str, str]) -> bool:
    """Whether a file's metadata was written by deploykit."""
    return f"{PREFIX}format" in metadata


def spec_to_metadata(spec: ModelSpec) -> dict[str, str]:
    """The keys that ``spec_from_metadata`` reads back to an equal spec."""
    keys = {f"{PREFIX}format": str(FORMAT_VERSION)}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name == "golden":
            keys.update(value)
        elif field.name in _PARTS:
            if value is not None:
                keys.update(_part_to_keys(f"{PREFIX}{field.name}.", value))
        elif field.name not in _NOT_IN_FILES:
            keys[f"{PREFIX}{field.name}"] = _dump(field.name, value)
    return keys


def _part_to_keys(prefix: str, part: Any) -> dict[str, str]:
    keys = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name == "dynamic":
            for axis, allowed in value.items():
                keys[f"{prefix}dynamic.{axis}"] = f"{allowed.min} {allowed.max} {allowed.step}"
        elif value is not None:
            keys[prefix + field.name] = _dump(field.name, value)
    return keys


def spec_from_metadata(metadata: Mapping[str, str]) -> ModelSpec:
    """Read the spec of a file that deploykit wrote.

    Unknown keys are ignored, so that newer writers of the same format can add some.

    Raises:
        ModelError: the format is newer than this version knows, a key is missing or malformed.
    """
    version = metadata.get(f"{PREFIX}format", "")
    if version != str(FORMAT_VERSION):
        raise ModelError(
            f"The model's metadata has format {version or 'none'!r}, this version reads {FORMAT_VERSION}.",
            hint="Upgrade deploykit, or export the checkpoint again.",
        )
    values: dict[str, Any] = {}
    for name, part in _PARTS.items():
        prefix = f"{PREFIX}{name}."
        if name in _REQUIRED or any(key.startswith(prefix) for key in metadata):
            values[name] = _part_from_keys(part, prefix, metadata)
    values.update(_read_fields(ModelSpec, PREFIX, metadata, skip={*_PARTS, *_NOT_IN_FILES, "golden"}))
    values["golden"] = {key: text for key, text in metadata.items() if key.startswith(_GOLDEN)}
    return ModelSpec(**values)


def _part_from_keys(part: type, prefix: str, metadata: Mapping[str, str]) -> Any:
    values = _read_fields(part, prefix, metadata, skip={"dynamic"})
    if part is InputSpec:
        values["dynamic"] = _read_dynamic(f"{prefix}dynamic.", metadata)
    return part(**values)


def _read_dynamic(prefix: str, metadata: Mapping[str, str]) -> dict[str, AxisRange]:
    ranges = {}
    for key, text in metadata.items():
        if key.startswith(prefix):
            bounds = _numbers(key, text, int)
            if len(bounds) != 3:
                raise ModelError(f"Metadata {key} wants 'min max step', found {text!r}.")
            axis = key.removeprefix(prefix)
            if axis not in AXES:
                raise ModelError(f"Metadata {key}: dynamic axes are {', '.join(AXES)}, found {axis!r}.")
            ranges[axis] = AxisRange(min=bounds[0], max=bounds[1], step=bounds[2])
    return ranges


def _read_fields(owner: type, prefix: str, metadata: Mapping[str, str], *, skip: set[str]) -> dict[str, Any]:
    hints = get_type_hints(owner)
    values = {}
    for field in dataclasses.fields(owner):
        if field.name in skip:
            continue
        key = prefix + field.name
        if key in metadata:
            values[field.name] = _load(key, field.name, metadata[key], hints[field.name])
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ModelError(
                f"The model's metadata lacks {key}.",
                hint="The file was altered: export the checkpoint again.",
            )
    return values


def _dump(name: str, value: Any) -> str:
    if name in _LINES:
        return "\n".join(map(_one_line, value))
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return " ".join(_dump("", item) for item in value)
    return repr(value) if isinstance(value, float) else _one_line(value)


def _one_line(value: object) -> str:
    """A text as the file can hold it: a lone surrogate, which UTF-8 cannot, stands as its number."""
    return " ".join(str(value).splitlines()).encode("utf-8", "backslashreplace").decode("utf-8")


def _load(key: str, name: str, text: str, hint: Any) -> Any:
    if name in _LINES:
        lines = text.count("\n") + 1
        if lines > NAMES:
            raise ModelLimitError(f"Metadata {key} wants at most {NAMES} lines, found {lines}.")
        return tuple(text.split("\n")) if text else ()
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > VALUE:
        raise ModelLimitError(f"Metadata {key} wants at most {VALUE} bytes, found {size}.")
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        hint = next(option for option in get_args(hint) if option is not type(None))
        origin = get_origin(hint)
    if origin is Literal:
        if text not in get_args(hint):
            raise ModelError(f"Metadata {key} wants one of {', '.join(get_args(hint))}, found {text!r}.")
        return text
    if origin is tuple:
        kinds = get_args(hint)
        items = text.split() if kinds[0] is str else _numbers(key, text, kinds[0])
        if Ellipsis not in kinds and len(items) != len(kinds):
            raise ModelError(f"Metadata {key} wants {len(kinds)} values, found {text!r}.")
        return tuple(items)
    if hint is bool:
        return _numbers(key, text, int) == [1]
    return text if hint is str else _single(key, text, hint)


def _single(key: str, text: str, kind: type) -> Any:
    numbers = _numbers(key, text, kind)
    if len(numbers) != 1:
        raise ModelError(f"Metadata {key} wants one number, found {text!r}.")
    return numbers[0]


def _numbers(key: str, text: str, kind: type) -> list[Any]:
    items = text.split()
    written = _INTEGER if kind is int else _FLOAT
    numbers = [kind(item) for item in items if written.fullmatch(item)]
    if len(numbers) != len(items) or (kind is int and any(abs(n) > INTEGER for n in numbers)):
        raise ModelError(f"Metadata {key} wants {kind.__name__} values, found {text!r}.")
    if not all(math.isfinite(n) for n in numbers):
        raise ModelError(f"Metadata {key} wants finite numbers, found {text!r}.")
    return numbers
