"""Names of the models that are served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from deploykit_runtimes.engine_folder import model_file
from deploykit_runtimes.errors import ModelError, OptionError

__all__ = ["named_models"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


def named_models(models: str | Path | Iterable[str | Path]) -> dict[str, Path]:
    """Paths by name: a file's or folder's own, or the one given as ``NAME=PATH``.

    Raises:
        OptionError: none is given, or a name is malformed or comes twice.
        ModelError: a file is missing.
    """
    several = [models] if isinstance(models, str | Path) else list(models)
    if not several:
        raise OptionError("Wanted at least one model, found none.")
    named: dict[str, Path] = {}
    for model in several:
        name, path = _split(model)
        if not path.exists():
            raise ModelError(f"The model {path} does not exist.")
        name = name or model_file(path).stem
        if not _NAME.fullmatch(name):
            raise OptionError(
                f"A model's name has letters, digits, dots, dashes and underscores, found {name!r}.",
                hint="Name the model: NAME=PATH",
            )
        if name in named:
            raise OptionError(f"Two models are named {name!r}.", hint="Name them: NAME=PATH")
        named[name] = path
    return named


def _split(model: str | Path) -> tuple[str, Path]:
    if isinstance(model, str) and "=" in model and not Path(model).exists():
        name, _, path = model.partition("=")
        return name, Path(path)
    return "", Path(model)
