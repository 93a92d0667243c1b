"""What is built ahead of time, how far a build is, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploykit_runtimes.engine_options import Precision
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.text.described import changed_fields

__all__ = ["ENGINE_SUFFIXES", "BuildOptions", "BuildReport", "BuildResult", "Builder", "Compatibility"]

Compatibility = Literal["none", "ampere+", "same-capability"]
ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
"""Names of engine files end in one of these."""


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """Where a build tells how far it is.

    Attributes:
        step: Called with a sentence as each stage starts.
        note: Called often, with how far the current stage is.
    """

    step: Callable[[str], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, kw_only=True, repr=False)
class BuildOptions:
    """What is built. A runtime that cannot follow an option refuses it.

    Attributes:
        output: File or folder to write; None: beside the model.
        shapes: Optimisation profiles as ``NAME:MIN,OPT,MAX`` with shapes such as ``1x3x224x224``; a
            name that comes again starts a further profile. Empty: from the ranges the model declares.
        precision: ``model``: the precision of the file, without TF32. ``auto``: TF32 allowed.
        gpu: Number of the GPU to build on, where the build needs one.
        compute_capabilities: Targets of a build without their GPU, such as ``8.6``; empty: 8.0 and later.
        compatibility: Which other GPUs the engine must run on (hardware compatibility).
        version_compatible: The engine must also run on later versions of the same major version.
        strip_weights: Leave the weights out; they are put back from the model when the engine is opened.
        optimization_level: Effort of the search for the fastest kernels, 0 to 5; None: the engine's own.
        timing_cache: File with timings of kernels, read and updated: later builds are faster.
        force: Build even if a matching engine already exists.
    """

    output: Path | None = None
    shapes: tuple[str, ...] = ()
    precision: Precision = "model"
    gpu: int = 0
    compute_capabilities: tuple[str, ...] = ()
    compatibility: Compatibility = "none"
    version_compatible: bool = False
    strip_weights: bool = False
    optimization_level: int | None = None
    timing_cache: Path | None = None
    force: bool = False

    def __repr__(self) -> str:
        return changed_fields(self)

    def __post_init__(self) -> None:
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise OptionError(f"The optimisation level is 0 to 5, found {self.optimization_level}.")
        if self.compatibility not in ("none", "ampere+", "same-capability"):
            raise OptionError(
                f"The compatibility is none, ampere+ or same-capability, found {self.compatibility!r}."
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class BuildResult:
    """What was built.

    Attributes:
        runtime: For which runtime.
        path: The file or folder to give to ``open_runner``.
        built: What was compiled: an engine file, or the folder of a cache.
        files: Everything that was written.
        size_bytes: Of the engine.
        seconds: Time of the build; 0 where a fitting engine was there.
        reused: An engine that fits was there, and nothing was built.
        reason: Why an engine that was there did not fit.
        facts: What the engine is, for people: profile, target, precision, version.
    """

    runtime: str
    path: Path
    built: Path
    files: tuple[Path, ...]
    size_bytes: int
    seconds: float = 0.0
    reused: bool = False
    reason: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        how = "kept" if self.reused else f"built in {self.seconds:.1f} s"
        return f"BuildResult({self.built} for {self.runtime}, {self.size_bytes:,} bytes, {how})"

    def to_dict(self) -> dict[str, object]:
        return {
            "runtime": self.runtime,
            "path": str(self.path),
            "built": str(self.built),
            "files": [str(path) for path in self.files],
            "size_bytes": self.size_bytes,
            "seconds": self.seconds,
            "reused": self.reused,
            "reason": self.reason,
            "facts": dict(self.facts),
        }


Builder = Callable[[Path, str, BuildOptions, BuildReport], BuildResult]
"""What builds for a runtime: model, name of the runtime, options, report -> result."""
