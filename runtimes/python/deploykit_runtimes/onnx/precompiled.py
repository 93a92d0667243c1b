"""Models that were compiled already: which engine runs them, and the files that they need beside them."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.onnx.file import OnnxFile
from deploykit_runtimes.runtimes import runtimes_of_provider

__all__ = ["check_files_beside", "compilers", "refuse_compiled", "runtimes_of_compiled"]


def compilers(file: OnnxFile) -> str:
    """Who compiled the parts of a model, as text; empty for an ordinary model."""
    return " and ".join(dict.fromkeys(part.source or "an unknown engine" for part in file.compiled))


def runtimes_of_compiled(file: OnnxFile) -> tuple[str, ...]:
    """The runtimes that may run the compiled parts of a model; none where nothing here knows their maker."""
    known = runtimes_of_provider("")
    for source in dict.fromkeys(part.source for part in file.compiled if part.source):
        known = tuple(runtime for runtime in known if runtime in runtimes_of_provider(source))
    return known


def check_files_beside(path: Path, file: OnnxFile) -> None:
    """See that the files are there that a model names: its weights, and what an engine compiled.

    Raises:
        ModelError: one is missing or cannot be read; says which, and what it is for.
    """
    for location in file.external:
        if problem := _problem(path, location):
            raise ModelError(
                f"{path} keeps its weights in {location}, and {problem}.",
                hint="Put that file beside the model under this name, or export the model again.",
            )
    for part in file.compiled:
        if part.location and (problem := _problem(path, part.location)):
            raise ModelError(
                f"{path} runs what {part.source or 'an engine'} compiled to {part.location}, and {problem}.",
                hint="Put that file beside the model under this name, or give the model that was compiled: "
                "every runtime opens that.",
            )


def refuse_compiled(path: Path, file: OnnxFile, runtime: str) -> None:
    """Refuse a runtime that cannot run the compiled parts of a model.

    Raises:
        OptionError: the hint names those that can.
    """
    runtimes = runtimes_of_compiled(file)
    if not file.compiled or runtime in runtimes:
        return
    raise OptionError(
        f"{path} was compiled by {compilers(file)}, and {runtime} runs models that were not.",
        hint=(f"Open it with --runtime {' or '.join(runtimes)}, or give" if runtimes else "Give")
        + " the model that was compiled.",
    )


def _problem(path: Path, location: str) -> str:
    """Why a file beside the model cannot be used, as half a sentence; empty when it can."""
    beside = path.parent / location
    if not beside.exists():
        return f"{beside} does not exist"
    if not beside.is_file():
        return f"{beside} is not a file"
    try:
        with beside.open("rb") as stream:
            return "" if stream.read(1) else f"{beside} is empty"
    except OSError as error:
        return f"{beside} cannot be read: {error.strerror}"
