"""How a model is opened: one record for the Python API, the command line and every engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploykit_runtimes.arguments import known_fields
from deploykit_runtimes.contract.readings import parse_outputs
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.text.described import changed_fields

__all__ = ["EngineOptions", "Goal", "Precision"]

Goal = Literal["latency", "throughput"]
Precision = Literal["model", "auto"]


@known_fields
@dataclass(frozen=True, kw_only=True, repr=False)
class EngineOptions:
    """What the caller wants of an engine. An engine that cannot follow an option says so.

    Attributes:
        threads: Threads inside one operator on the CPU; None uses every usable core.
        strict: Refuse a model of which a part runs on another device, or at a lower precision, than
            was asked for.
        goal: ``latency``: one call uses all threads. ``throughput``: several calls run side by side,
            each with fewer threads.
        precision: ``model``: compute in the precision of the file (no TF32, no bf16). ``auto``: the
            engine may choose a lower one where the hardware is faster with it.
        cache: Folder for what engines compile; None compiles anew each time.
        cuda_graph: Record the GPU's work once per shape and replay it, for CUDA with fixed shapes.
        gpu: Number of the GPU where there are several.
        outputs: What the outputs of another exporter's file mean, as ``yolov5`` or ``yolo-pose:17x3``; one of
            ``readings.READINGS``. None: what the file tells.
        exact: Run the file's own graph, node for node, which is what the proof is of. Otherwise ``ort-cpu``
            may get a form of it that it computes faster (``ort.rewrites``); ``Placement.rewrites`` tells.
        detached: Read weights that lie beside the file into memory, where engines for the CPU would map them:
            a mapped file that is cut short ends the process (SIGBUS). For who runs on while files change.
    """

    threads: int | None = None
    strict: bool = False
    goal: Goal = "latency"
    precision: Precision = "model"
    cache: Path | None = None
    cuda_graph: bool = False
    gpu: int = 0
    outputs: str | None = None
    exact: bool = False
    detached: bool = False

    def __repr__(self) -> str:
        return changed_fields(self)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"Wanted at least one thread, found {self.threads}.")
        if self.goal not in ("latency", "throughput"):
            raise OptionError(f"The goal is latency or throughput, found {self.goal!r}.")
        if self.precision not in ("model", "auto"):
            raise OptionError(f"The precision is model or auto, found {self.precision!r}.")
        if self.gpu < 0:
            raise OptionError(f"GPUs are counted from 0, found {self.gpu}.")
        if self.outputs is not None:
            parse_outputs(self.outputs)
