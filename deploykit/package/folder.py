"""A folder that appears whole or not at all, and replaces only folders that deploykit wrote."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploykit_runtimes import __version__
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import atomic_folder, room_for
from deploykit_runtimes.onnx.model_files import hash_model

from deploykit.package.models import PackagedModel

__all__ = ["MARKER", "new_folder", "write_text"]

MARKER = ".deploykit-package"
"""JSON that says what wrote the folder; without it a folder is somebody else's and stays. Its name has no
suffix, as ``kubectl apply -f DIR`` would apply it."""


@contextlib.contextmanager
def new_folder(
    output: str | Path, *, kind: str, models: Sequence[PackagedModel], force: bool
) -> Iterator[Path]:
    """A temporary folder beside ``output`` that becomes ``output`` when the block succeeds.

    When the block raises, Ctrl-C included, the temporary folder is removed and an earlier folder is
    unchanged. A link stays, and the folder behind it is replaced.

    Raises:
        OptionError: ``output`` exists and was not written by deploykit, or cannot be created.
    """
    target = _followed(Path(output))
    _check(target, models, force=force)
    with atomic_folder(target) as temporary:
        yield temporary
        write_text(temporary / MARKER, _marker(kind, models))


def write_text(path: Path, text: str) -> None:
    """Write a file and the folders above it: UTF-8, with the line ends of Unix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with room_for(len(text.encode())):
        path.write_text(text, encoding="utf-8", newline="\n")


def _check(target: Path, models: Sequence[PackagedModel], *, force: bool) -> None:
    if target.name in ("", ".."):
        raise OptionError(f"{target} cannot be the name of a new folder.", hint="Name one with --output.")
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise OptionError(f"{target} exists and is not a folder.", hint="Name another one with --output.")
    if not any(target.iterdir()):
        return
    if not (target / MARKER).is_file():
        raise OptionError(
            f"{target} exists and was not written by deploykit package.",
            hint="Name another folder with --output: --force replaces only packages.",
        )
    if not force:
        raise OptionError(f"{target} exists.", hint="Replace it with --force, or name another folder.")
    inside = target.resolve()
    for model in models:
        if inside in model.path.resolve().parents:
            raise OptionError(f"{model.path} lies in {target}, which would be replaced.")


def _followed(target: Path) -> Path:
    """The folder that a link points to."""
    try:
        return target.resolve() if target.is_symlink() else target
    except (OSError, RuntimeError) as error:  # the latter of a loop, before Python 3.13
        raise OptionError(f"{target} is a link that leads nowhere.", hint="Name a folder.") from error


def _marker(kind: str, models: Sequence[PackagedModel]) -> str:
    described = [
        {"name": model.name, "file": model.path.name, "sha256": hash_model(model.path)} for model in models
    ]
    return json.dumps({"kind": kind, "deploykit": __version__, "models": described}, indent=2) + "\n"
