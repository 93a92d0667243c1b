"""The options of a benchmark, shared by the command line and Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploykit_runtimes.engine_options import EngineKeywords, EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import declared, option, same_as
from deploykit_runtimes.prediction.options import PredictOptions

__all__ = ["BenchKeywords", "BenchOptions"]


class BenchKeywords(EngineKeywords, total=False):
    """The fields of ``BenchOptions`` as keywords, in every accepted form."""

    runtimes: str | Iterable[str]
    reference: str | Path | None
    batches: int | str | Iterable[int]
    imgsz: int | str | tuple[int, int] | None
    warmup: int | None
    runs: int | None
    seconds: float


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class BenchOptions(EngineOptions):
    """What is measured, for how long, and how the engines are opened."""

    runtimes: tuple[str, ...] = option(
        ("ort-cpu",),
        "Engines to compare, measured in turns: ort-cpu (default), ort-cuda, trt, ov-cpu, ...; torch, "
        "torch-channels-last and torch-compile run the checkpoint. May be given several times.",
        form="names",
        flags="--runtime",
        several=True,
        metavar="NAME[,NAME]",
        completes="bench_runtimes",
    )
    reference: str | None = option(
        None,
        "Measure the checkpoint in torch too (adds --runtime torch).",
        "None: if torch is one of the runtimes, the checkpoint is looked for beside the model.",
        metavar="CKPT",
        completes="files",
    )
    batches: tuple[int, ...] = option(
        (),
        "Batch sizes to measure.",
        "One or several. Default: the model's own.",
        form="counts",
        flags="--batch",
        metavar="N[,N]",
    )
    imgsz: tuple[int, int] | None = same_as(PredictOptions, "imgsz")
    warmup: int | None = option(None, "Untimed calls first. Default: until stable.", least=0, metavar="N")
    runs: int | None = option(
        None, "Timed calls per row.", "None: as many as fit into ``seconds``.", least=1, metavar="N"
    )
    seconds: float = option(
        3.0, "Time spent on each row, instead of --runs.", above=0, most=3600, metavar="S"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.runtimes:
            raise OptionError("A benchmark needs at least one runtime, found none.")
