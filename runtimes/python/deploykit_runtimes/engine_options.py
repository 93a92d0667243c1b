"""How a model is opened: one record for the Python API, the command line and every engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from deploykit_runtimes.options.option import Options, declared, option

__all__ = ["EngineKeywords", "EngineOptions", "Goal", "Precision"]

Goal = Literal["latency", "throughput"]
Precision = Literal["model", "auto"]


class EngineKeywords(TypedDict, total=False):
    """The fields of ``EngineOptions`` as keywords, in every form that is understood."""

    threads: int | None
    strict: bool
    goal: Goal
    precision: Precision
    cache: str | Path | None
    cuda_graph: bool
    gpu: int
    outputs: str | None
    exact: bool
    detached: bool
    selftest: bool


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class EngineOptions(Options):
    """What the caller wants of an engine. An engine that cannot follow an option says so."""

    outputs: str | None = option(
        None,
        "What the outputs of another exporter's file mean, if the file does not say: yolo, yolov5, end2end, "
        "yolov7-end2end, logits, probabilities, features, ...; docs/other-exporters.md lists all.",
        metavar="NAME",
        completes="readings",
    )
    threads: int | None = option(
        None,
        "Threads inside one operator on the CPU. Default: every usable core.",
        least=1,
        most=1024,
        metavar="N",
    )
    goal: Goal = option("latency", "All threads on one call, or several concurrent calls.")
    precision: Precision = option(
        "model",
        "auto allows a lower precision than the file's (bf16, TF32) if that is faster.",
    )
    cache: Path | None = option(
        None,
        "Folder that keeps what engines compile.",
        "None: compile again each time.",
        path="folder",
        metavar="DIR",
    )
    cuda_graph: bool = option(False, "Record and replay the GPU's work, per shape.")
    gpu: int = option(0, "Which GPU, counted from 0, if there are several.", least=0, metavar="N")
    strict: bool = option(False, "Refuse a model if any part of it runs elsewhere than requested.")
    exact: bool = option(
        False,
        "Run the file's own graph, node for node. Default: ort-cpu may run a faster form of it.",
        "``Placement.rewrites`` says which.",
    )
    detached: bool = option(
        False,
        "Read weights that lie beside the file into memory, where engines for the CPU would map them: a "
        "mapped file that is cut short ends the process (SIGBUS).",
        "For programs that run on while files change.",
        flags=(),
    )
    selftest: bool = option(
        True,
        "Run the golden cases of the model on an engine that is compiled into a cache as it is opened.",
        "A ``ParityError`` if one fails.",
        flags=(),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outputs is not None:
            from deploykit_runtimes.contract.readings import parse_outputs

            parse_outputs(self.outputs)

    @property
    def engine(self) -> EngineOptions:
        """Those of the options of an operation that say how a model is opened."""
        return self.part(EngineOptions)
