"""Values of options that are files or what those hold: axes, training configurations, class names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from deploykit_runtimes.contract.axes import AXES
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.arguments import as_path, as_words, suggestion

__all__ = ["ExporterName", "as_axes", "as_config", "as_labels", "read_config"]

ExporterName = Literal["torchscript", "dynamo"]
_ULTRALYTICS = re.compile(r"yolo[\w-]*\.ya?ml")


def as_axes(value: object) -> tuple[str, ...]:
    """Axes from ``True`` (all that there are), ``False``, ``"batch,width"``, or any sequence of these texts.

    Raises:
        OptionError: there is no such axis.
    """
    if isinstance(value, bool):
        return ("all",) if value else ()
    texts = as_words(value, "--dynamic")
    axes = [one.strip() for text in texts for one in text.split(",")]
    known = (*AXES, "all")
    unknown = [axis for axis in axes if axis not in known]
    if unknown:
        raise OptionError(
            f"--dynamic takes {', '.join(AXES)} or all, found {', '.join(map(repr, unknown))}.",
            hint=suggestion(unknown[0], known),
        )
    return ("all",) if "all" in axes else tuple(axis for axis in AXES if axis in axes)


def as_config(value: object) -> Path | Mapping[str, Any] | None:
    """A file, or settings given as a mapping or as the text of a JSON object.

    Raises:
        OptionError: it is neither, or not valid JSON.
    """
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return as_path(value, "--config")
    from deploykit_exporters.containers.texts import parse_json

    try:
        settings = parse_json(value)
    except ValueError as error:
        raise OptionError(
            f"--config cannot be parsed as JSON: {error}.",
            hint="""A file, or an object in quotes: --config '{"num_heads": 6}'""",
        ) from error
    return cast("Mapping[str, Any]", settings)


def as_labels(value: object) -> Path | tuple[str, ...] | None:
    """A file of class names, or the names themselves.

    Raises:
        OptionError: it is neither, or holds no name.
    """
    if value is None or isinstance(value, str | Path):
        return as_path(value, "--labels")
    from deploykit_exporters.containers.labels import names_from

    names = names_from(value) if isinstance(value, Mapping) else as_words(value, "--labels")
    if not names:
        raise OptionError("--labels wants a file or at least one class name, found none.")
    return names


def read_config(path: Path) -> Mapping[str, Any]:
    """Parse a training configuration; Python text comes back under the key ``text``, and the name of a yaml
    that comes with ultralytics (``yolo11n.yaml``) under ``yaml``, where there is no such file."""
    if _ULTRALYTICS.fullmatch(str(path)) and not path.exists():
        return {"yaml": str(path)}
    from deploykit_exporters.containers.labels import parse_settings, read_text

    text = read_text(path, "--config")
    if path.suffix == ".py":
        return {"text": text}
    value = parse_settings(text, path, "--config")
    if not isinstance(value, dict):
        raise OptionError(f"--config {path} wants a mapping of settings, found {type(value).__name__}.")
    return value
