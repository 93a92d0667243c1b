"""A folder that appears whole or not at all, and is replaced only where we wrote it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploykit_runtimes import __version__
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import sha256_of

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

    When the block raises, Ctrl-C included, nothing of it is left and an earlier folder is as it was.

    Raises:
        OptionError: ``output`` exists and is not ours to replace, or cannot be created.
    """
    target = Path(output)
    _check(target, models, force=force)
    missing = [parent for parent in target.absolute().parents if not parent.exists()]
    temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.part")
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise OptionError(f"The folder {target} cannot be created: {error.strerror}.") from error
        yield temporary
        write_text(temporary / MARKER, _marker(kind, models))
        _replace(target, temporary)
        missing = []
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody else may have put a file there meanwhile
            for parent in missing:
                parent.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a file and the folders above it: UTF-8, with the line ends of Unix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _check(target: Path, models: Sequence[PackagedModel], *, force: bool) -> None:
    if target.name in ("", ".."):
        raise OptionError(f"{target} is no name for a new folder.", hint="Name one with --output.")
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
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


def _replace(target: Path, temporary: Path) -> None:
    """Rename; an earlier package steps aside for the moment, and comes back if the rename fails."""
    if not target.exists() or not any(target.iterdir()):
        temporary.rename(target)
        return
    aside = temporary.with_suffix(".old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside)


def _marker(kind: str, models: Sequence[PackagedModel]) -> str:
    described = [
        {"name": model.name, "file": model.path.name, "sha256": sha256_of(model.path)} for model in models
    ]
    return json.dumps({"kind": kind, "deploykit": __version__, "models": described}, indent=2) + "\n"
