"""What is built ahead of time, how far a build is, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploykit_runtimes.engine_options import EngineOptions, Precision
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import Options, declared, option, same_as

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


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class BuildOptions(Options):
    """What is built. A runtime that cannot follow an option refuses it."""

    output: Path | None = option(
        None,
        "File to write, or a folder for the engine and the model. Default: next to the model.",
        flags=("-o", "--output"),
        metavar="ENGINE|DIR",
    )
    shapes: tuple[str, ...] = option(
        (),
        "Optimisation profile, such as images:1x3x224x224,8x3x224x224,32x3x640x640. Once per input; "
        "repeat an input for another profile. Default: the ranges the model declares.",
        form="texts",
        several=True,
        metavar="NAME:MIN,OPT,MAX",
    )
    precision: Precision = option("model", "auto allows TF32 for FP32 layers.")
    compute_capabilities: tuple[str, ...] = option(
        (),
        "GPUs to build for; they need not be present (trt-rtx). Default: 8.0 and later.",
        form="words",
        flags="--compute-capability",
        metavar="X.Y[,X.Y]",
    )
    compatibility: Compatibility = option("none", "Which other GPUs the engine must run on (trt).")
    version_compatible: bool = option(False, "Let later TensorRT versions load the engine.")
    strip_weights: bool = option(False, "Leave the weights out; they are restored from the model.")
    optimization_level: int | None = option(
        None,
        "Effort of the search for the fastest kernels, 0 to 5.",
        "None: the engine's own.",
        least=0,
        most=5,
        metavar="N",
    )
    timing_cache: Path | None = option(
        None,
        "File of kernel timings, read and updated: later builds are faster.",
        path="target",
        metavar="FILE",
    )
    gpu: int = same_as(EngineOptions, "gpu")
    force: bool = option(False, "Build even if a matching engine already exists.")
    selftest: bool = option(
        True,
        "Do not run the model's golden cases on the new engine.",
        "True: run them if this machine can, and fail if one is wrong.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in self.compute_capabilities:
            major, _, minor = text.partition(".")
            if not (major.isdecimal() and minor.isdecimal()):
                raise OptionError(
                    f"--compute-capability wants compute capabilities such as 8.6,8.9, found {text!r}."
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
        tested: What the golden cases of the model said of it, or why they were not run; empty: not asked.
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
    tested: str = ""

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
            "selftest": self.tested,
        }


Builder = Callable[[Path, str, BuildOptions, BuildReport], BuildResult]
"""What builds for a runtime: model, name of the runtime, options, report -> result."""
