"""The experiment of a YOLOX: its settings, from the text of its Python file or from a mapping."""

from __future__ import annotations

import ast
import contextlib
from dataclasses import dataclass, field
from typing import Any

from deploykit_runtimes.errors import OptionError

from deploykit_exporters.containers.budget import Budget, ExcessError
from deploykit_exporters.containers.texts import NotLiteralError, literal, parse_python
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.yolo.yolox.shapes import Architecture

__all__ = ["Experiment", "read_experiment"]

_TRAINING = (
    *(
        "data_*",
        "*_ann",
        "mosaic*",
        "mixup*",
        "enable_mixup",
        "hsv*",
        "flip*",
        "degrees",
        "translate",
        "shear",
    ),
    *("perspective", "*epoch*", "*lr*", "scheduler", "ema", "weight_decay", "momentum", "*_interval", "seed"),
    *("save_history_ckpt", "exp_name", "output_dir", "input_size", "random_size", "multiscale_range"),
)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What an experiment says about the answers.

    Attributes:
        act: Name of the activation, or None.
        test_size: (height, width), or None.
        legacy: Whether pixels are normalised RGB, as before release 0.2.0; None if it does not say.
        settings: Every setting of the experiment, with its treatment.
    """

    act: str | None = None
    test_size: tuple[int, int] | None = None
    legacy: bool | None = None
    settings: tuple[Setting, ...] = field(default=())

    @property
    def summary(self) -> tuple[str, ...]:
        """What was taken from the experiment, in sentences."""
        said = {"act": self.act, "test_size": self.test_size, "legacy": self.legacy}
        return tuple(
            f"{name} {value}, from the experiment" for name, value in said.items() if value is not None
        )


def read_experiment(hints: Hints, architecture: Architecture) -> Experiment:
    """The experiment that the user gave with --config; from a text, only ``self.NAME = literal`` is read.

    Raises:
        CheckpointError: it belongs to another network, or is a mapping with an unknown setting.
        OptionError: the text is not Python, or a setting has the wrong form.
    """
    config = hints.config or {}
    text = config.get("text")
    values = _literals(text) if isinstance(text, str) else dict(config)
    settings = Settings("config", values, hints.ignore)
    act, size, legacy = (settings.get(name) for name in ("act", "test_size", "legacy"))
    settings.expect("num_classes", architecture.num_classes)
    if architecture.base is not None:
        _expect_rounded(settings, "width", 64, architecture.base)
        _expect_rounded(settings, "depth", 3, architecture.depth)
    settings.harmless("how it was trained", *_TRAINING)
    settings.harmless(
        "thresholds of the evaluation; the repository's demo sets its own, as --conf and --iou do",
        *("test_conf", "nmsthre"),
    )
    if legacy is not None and not isinstance(legacy, bool):
        raise OptionError(f"The experiment's legacy is {legacy!r}, wanted true or false.")
    return Experiment(
        act=None if act is None else str(act),
        test_size=_size(size),
        legacy=legacy,
        settings=settings.account(strict=not isinstance(text, str)),
    )


def _expect_rounded(settings: Settings, name: str, unit: int, built: int) -> None:
    """Check a factor by which YOLOX multiplies ``unit`` before rounding."""
    value = settings.get(name)
    fits = isinstance(value, int | float) and (
        int(value * unit) == built or max(round(value * unit), 1) == built
    )
    settings.expect(name, value if fits else built / unit)


def _literals(text: str) -> dict[str, Any]:
    try:
        return _assigned(parse_python(text), Budget(len(text)))
    except (ValueError, ExcessError, RecursionError) as error:
        raise OptionError(
            f"The experiment given with --config is not a Python file of settings: {error}.",
            hint="Give the exps/.../NAME.py that the model was trained with.",
        ) from error


def _assigned(tree: ast.Module, budget: Budget) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            with contextlib.suppress(NotLiteralError):  # a computed value, which is not read here
                settings[node.targets[0].attr] = literal(node.value, {}, budget)
        # ValTransform(legacy=True)
        if isinstance(node, ast.keyword) and node.arg == "legacy" and isinstance(node.value, ast.Constant):
            settings["legacy"] = node.value.value
    return settings


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return int(size[0]), int(size[1])
    raise OptionError(f"The experiment's test_size is {size!r}, wanted (height, width).")
