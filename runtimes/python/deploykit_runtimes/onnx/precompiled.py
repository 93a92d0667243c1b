"""Models that were compiled already, and which engine runs them."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.onnx.file import OnnxFile
from deploykit_runtimes.runtimes import runtimes_of_provider

__all__ = ["compilers", "refuse_compiled", "runtimes_of_compiled"]


def compilers(file: OnnxFile) -> str:
    """Who compiled the parts of a model, as text; empty for an ordinary model."""
    return " and ".join(dict.fromkeys(part.source or "an unknown engine" for part in file.compiled))


def runtimes_of_compiled(file: OnnxFile) -> tuple[str, ...]:
    """The runtimes that may run the compiled parts of a model; none where nothing here knows their maker."""
    known = runtimes_of_provider("")
    for source in dict.fromkeys(part.source for part in file.compiled if part.source):
        known = tuple(runtime for runtime in known if runtime in runtimes_of_provider(source))
    return known


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
