"""Opening a model whose file may be anything, so that no more than the attempt fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploykit_runtimes.errors import DeploykitError, ModelError

from deploykit.serve.model import ServedModel, open_model
from deploykit.serve.options import ServeOptions
from deploykit.serve.watched import Stamp, files_beside, stamp_of

__all__ = ["Opened", "as_ours", "differences", "in_words", "open_safely"]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What came of opening a model: itself, or an error.

    Attributes:
        stamp: Of its files, from before they were opened.
        beside: See ``files_beside``.
        model, error: One of them.
    """

    stamp: Stamp
    beside: tuple[Path, ...]
    model: ServedModel | None = None
    error: BaseException | None = None


def open_safely(name: str, version: str, path: Path, options: ServeOptions, runtime: str) -> Opened:
    """Open a model, and raise nothing.

    Libraries raise whatever they like, ``SystemExit`` and what asyncio takes for a cancellation included. In
    the thread that opens a model none of it is a wish to end the server.

    Args:
        name, version, path, options: See ``open_model``.
        runtime: Canonical name of what opens the model.
    """
    beside = files_beside(path, runtime)
    stamp = stamp_of(path, runtime, beside)
    try:
        return Opened(stamp=stamp, beside=beside, model=open_model(name, version, path, options))
    except BaseException as error:  # noqa: BLE001 - see above
        return Opened(stamp=stamp, beside=beside, error=error)


def as_ours(error: BaseException | None, path: Path) -> DeploykitError:
    """The error of opening a file as one of this package: what a library raises there tells of the file."""
    if isinstance(error, DeploykitError):
        return error
    ours = ModelError(f"{path} cannot be loaded: {in_words(error)}")
    ours.__cause__ = error
    return ours


def in_words(error: BaseException | None) -> str:
    """What an error says, and of which kind it is where that is not one of this package."""
    if isinstance(error, DeploykitError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"there is not enough memory for it. {error}".strip()
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error that cannot even say what it is
        return type(error).__name__


def differences(old: ServedModel, new: ServedModel) -> list[str]:
    """What clients of an old version may stumble upon in a new one, in words."""
    sides = (("inputs", old.inputs, new.inputs), ("outputs", old.outputs, new.outputs))
    return [
        f"{side}: {', '.join(map(str, after))}, before: {', '.join(map(str, before))}"
        for side, before, after in sides
        if before != after
    ]
