"""Names of models: a file's or folder's own, or the one given as ``NAME=PATH``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from deploykit_runtimes.builds.model_folder import model_file
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.text.described import described

__all__ = ["named_models"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


def named_models(models: str | Path | Iterable[str | Path]) -> dict[str, Path]:
    """Paths by name.

    Args:
        models: Model files, or folders that ``deploykit build`` wrote; texts may be ``NAME=PATH``. A text
            that is the path of an existing file is a path, even if it contains ``=``.

    Raises:
        OptionError: no model is given, an argument is not a path, or a name is malformed or repeated.
        ModelError: a file is missing.
    """
    named: dict[str, Path] = {}
    given = [_split(model) for model in _several(models)]
    for name, path in given:
        if not path.exists():
            raise ModelError(f"The model {path} does not exist.")
        chosen = name or model_file(path).stem
        if not _NAME.fullmatch(chosen):
            raise OptionError(
                "A model's name has up to 128 letters, digits, dots, dashes or underscores, "
                f"found {chosen[:160]!r}.",
                hint=f"Name it, for instance: {_better(chosen)}={path}",
            )
        if chosen in named:
            raise OptionError(f"2 models are named {chosen!r}.", hint="Name them: NAME=PATH")
        named[chosen] = path
    return named


def _several(models: object) -> list[object]:
    if isinstance(models, str | os.PathLike):
        return [models]
    if not isinstance(models, Iterable) or isinstance(models, bytes):
        raise OptionError(f"Models are given by their paths, found {described(models)}.")
    several = list(models)
    if not several:
        raise OptionError("Wanted at least one model, found none.")
    return several


def _split(model: object) -> tuple[str, Path]:
    """The given name, if any, and the path."""
    if not isinstance(model, str | os.PathLike):
        raise OptionError(f"A model is given by its path, found {described(model)}.")
    name, sign, path = model.partition("=") if isinstance(model, str) else ("", "", "")
    # The text "runs/lr=0.1/best.onnx" is a path, whether or not the file is there.
    if not sign or Path(model).exists() or ("/" in name and not Path(path).exists()):
        return "", Path(model)
    if not name:
        raise OptionError(f"A name is missing in {model!r}.", hint="Name the model: NAME=PATH")
    return name, Path(path)


def _better(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:128].strip("._-") or "model"
