"""Options of an export, and the files that some of them name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit_runtimes.errors import OptionError

from deploykit_exporters.families.base import ExporterName, Hints

__all__ = ["AXES", "ExportOptions", "hints_of", "read_config", "read_labels"]

AXES = ("batch", "height", "width")
_OPSETS = range(18, 24)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a checkpoint is exported. Everything has a default taken from the checkpoint.

    Attributes:
        output: The .onnx file to write; None: beside the checkpoint.
        dynamic: Axes among ``batch``, ``height``, ``width`` that stay free; ``("all",)`` frees every
            axis that the architecture allows.
        imgsz: (height, width) in pixels.
        batch: Batch size when the axis is fixed.
        opset: ONNX operator set; None: the newest that every engine takes.
        family, variant, origin: Override what is recognised.
        config: A training configuration (YAML, JSON, or a Python file of plain assignments, which is
            parsed and never executed).
        labels: Class names: one per line, a JSON list or object, or a YAML file with ``names``.
        features: Export the feature maps instead of the head.
        simplify: Fold and fuse with onnxsim.
        trust: Allow unpickling that can execute code of the file.
        exporter: ``torchscript`` or ``dynamo``; None: what was measured better for the family.
    """

    output: Path | None = None
    dynamic: tuple[str, ...] = ()
    imgsz: tuple[int, int] | None = None
    batch: int = 1
    opset: int | None = None
    family: str | None = None
    variant: str | None = None
    origin: str | None = None
    config: Path | None = None
    labels: Path | None = None
    features: bool = False
    simplify: bool = True
    trust: bool = False
    exporter: ExporterName | None = None

    def __post_init__(self) -> None:
        unknown = [axis for axis in self.dynamic if axis not in (*AXES, "all")]
        if unknown:
            raise OptionError(f"--dynamic takes {', '.join(AXES)}, found {', '.join(unknown)}.")
        if self.batch < 1:
            raise OptionError(f"--batch wants a positive number, found {self.batch}.")
        if self.imgsz is not None and min(self.imgsz) < 1:
            raise OptionError(f"--imgsz wants positive pixels, found {self.imgsz[0]},{self.imgsz[1]}.")
        if self.opset is not None and self.opset not in _OPSETS:
            raise OptionError(
                f"--opset wants {_OPSETS.start} to {_OPSETS.stop - 1}, found {self.opset}.",
                hint="Leave it out for the opset that ONNX Runtime, OpenVINO and TensorRT all take.",
            )


def hints_of(options: ExportOptions) -> Hints:
    """The hints for recognition that the options hold, with their files read.

    Raises:
        OptionError: a file is missing or not of the form described in ``ExportOptions``.
    """
    return Hints(
        family=options.family,
        variant=options.variant,
        origin=options.origin,
        config=read_config(options.config) if options.config else None,
        labels=read_labels(options.labels) if options.labels else None,
        imgsz=options.imgsz,
        features=options.features,
    )


def read_config(path: Path) -> Mapping[str, Any]:
    """Parse a training configuration; Python text comes back under the key ``text``."""
    text = _read_text(path, "--config")
    if path.suffix == ".py":
        return {"text": text}
    value = _parse(text, path, "--config")
    if not isinstance(value, dict):
        raise OptionError(f"--config {path} wants a mapping of settings, found {type(value).__name__}.")
    return value


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names in index order."""
    text = _read_text(path, "--labels")
    value: Any
    if path.suffix in (".json", ".yaml", ".yml"):
        value = _parse(text, path, "--labels")
        if isinstance(value, dict) and "names" in value:
            value = value["names"]
    else:
        value = [line.strip() for line in text.splitlines() if line.strip()]
    names = _as_names(value)
    if not names:
        raise OptionError(
            f"--labels {path} wants class names, found none.",
            hint="One name per line, a JSON list, or an object from index to name.",
        )
    return names


def _as_names(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(str(name) for name in value)
    if isinstance(value, dict):
        try:
            indexed = {int(index): str(name) for index, name in value.items()}
        except ValueError as error:
            raise OptionError(
                f"--labels wants an object from class index to name, found the key {error}."
            ) from error
        if sorted(indexed) != list(range(len(indexed))):
            raise OptionError(
                f"--labels wants the indices 0 to {len(indexed) - 1}, found {sorted(indexed)[:8]}..."
            )
        return tuple(indexed[index] for index in range(len(indexed)))
    return ()


def _parse(text: str, path: Path, option: str) -> Any:
    import yaml

    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"{option} {path} cannot be parsed: {error}") from error


def _read_text(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{option} {path} cannot be read: {error}") from error
