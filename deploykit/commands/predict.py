"""``deploykit predict``: answers for images, printed, drawn or as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import InputError, OptionError
from deploykit_runtimes.prediction.options import PredictOptions

from deploykit.commands.shared.completing import files
from deploykit.commands.shared.declared import click_options
from deploykit.commands.shared.describe import answer_text
from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, engine_options, existing_path, runtime_option
from deploykit.prediction.answering import Answer, Picture, Tally, answers, pictures_of, save_drawn
from deploykit.progress import Progress
from deploykit.terminal import (
    bad,
    dim,
    duration,
    echo,
    echo_json,
    echo_json_line,
    good,
    paragraph,
    problem_lines,
    warning,
)

if TYPE_CHECKING:
    from deploykit_runtimes.prediction.predictor import Predictor
    from deploykit_runtimes.runner import Placement

    from deploykit.prediction.watching import FolderWatch

__all__ = ["command"]

_POLL = 0.25
_SHARE = 4
"""Looking at a large folder takes at most a fifth of the time."""


@click.command(
    "predict",
    cls=Command,
    examples=(
        "deploykit predict best.onnx photos/ --save drawn",
        "deploykit predict best.onnx --watch incoming/ --json",
    ),
)
@click.argument("model", type=existing_path)
@click.argument("sources", metavar="IMAGE|FOLDER|GLOB|URL...", nargs=-1, shell_complete=files)
@click.option(
    "--watch",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Watch FOLDER, and answer each picture in it once it is complete, until Ctrl-C.",
)
@click.option(
    "--only-new", is_flag=True, help="With --watch: skip the pictures that are already in the folder."
)
@runtime_option
@click_options(PredictOptions)
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw the answers into copies of the images.",
)
@engine_options()
@common
def command(
    *,
    model: Path,
    sources: tuple[str, ...],
    watch: Path | None,
    only_new: bool,
    runtime: str | None,
    device: str | None,
    save: Path | None,
    json_output: bool,
    **settings: Any,
) -> int:
    """Run MODEL on images: files, folders, quoted globs (** for sub-folders) and http(s) URLs.

    An image that cannot be read is reported and the others still answered; the exit code is then 8. A picture
    behind a URL may have 64 MiB and take 30 s.

    --watch answers what is in the folder first, then what comes; each line of --json is one answer. Ctrl-C
    and SIGTERM end it in order, with a summary and exit code 0, or 8 as above. To answer other programs, use
    `deploykit serve`.
    """
    from deploykit_runtimes import load
    from deploykit_runtimes.contract.shapes import check_size
    from deploykit_runtimes.options.option import put_over
    from deploykit_runtimes.suitability import advice

    _check_sources(sources, watch, save, only_new=only_new)
    pictures = pictures_of(sources)
    chosen = put_over(None, PredictOptions, settings)
    engine = {field.name: settings[field.name] for field in fields(EngineOptions) if field.name in settings}
    with Progress() as report:
        report("Opening the model")
        with load(model, runtime=runtime, device=device, **engine) as predictor:
            for text in predictor.spec.assumed if predictor.spec.inferred else ():
                report(f"Assumed: {text}")
            if said := advice(predictor.spec, predictor.placement()):
                report.tell(*paragraph(f"{warning('warning')} {said}", err=True))
            if chosen.imgsz is not None:
                check_size(predictor.spec, chosen.imgsz, "--imgsz")
            run = _Run(predictor, chosen.keywords(), report, save=save, as_json=json_output)
            if watch is not None:
                run.watch(watch, only_new=only_new)
            else:
                run.answer(pictures)
            placement = predictor.placement()
    if json_output and watch is None:
        echo_json(run.document(model, placement))
    else:
        echo(*run.summary(placement), err=True)
    return InputError.exit_code if run.tally.failed else 0


def _check_sources(
    sources: tuple[str, ...], watch: Path | None, save: Path | None, *, only_new: bool
) -> None:
    from deploykit_runtimes.targets import check_folder

    if watch is None and not sources:
        raise click.UsageError("Missing argument 'IMAGE|FOLDER|GLOB|URL...', or --watch FOLDER.")
    if watch is not None and sources:
        raise click.UsageError("--watch FOLDER and other images exclude each other: run predict twice.")
    if watch is not None and not watch.is_dir():
        raise click.UsageError(f"--watch wants a folder, {watch} is a pipe, socket or device.")
    if only_new and watch is None:
        raise click.UsageError("--only-new is for --watch FOLDER.")
    if save is None:
        return
    check_folder(save / "picture.jpg")
    if watch is not None and os.path.realpath(watch) == os.path.realpath(save):
        raise OptionError(
            f"--save {save} is the folder that is watched: each picture that is saved would be a new one.",
            hint="Save into another folder, or one inside it.",
        )


@dataclass
class _Run:
    """The pictures of one run, from the model to what is printed."""

    predictor: Predictor
    options: Mapping[str, Any]
    report: Progress
    save: Path | None
    as_json: bool
    tally: Tally = field(default_factory=Tally)
    entries: list[dict[str, object]] = field(default_factory=list)
    watching: bool = False
    seconds: float = 0.0
    _numbers: dict[str, int] = field(default_factory=dict)

    def answer(self, pictures: list[Picture]) -> None:
        """Answer pictures that are known in advance."""
        total = len(pictures)
        self.report(f"Predicting {total} image{'s' if total != 1 else ''}")
        for done, answer in enumerate(answers(self.predictor, pictures, self.options, self.tally), start=1):
            self.report.count(done, total)
            self._tell(answer)

    def watch(self, folder: Path, *, only_new: bool) -> None:
        """Answer pictures as they arrive, until Ctrl-C or SIGTERM."""
        from deploykit_runtimes.pixels.listing import SUFFIXES

        from deploykit.prediction.watching import FolderWatch, quiet_leases

        arrays = {".npy"} if self.predictor.spec.preprocess.color == "as_is" else set()
        watching = FolderWatch(folder, SUFFIXES | arrays, skip=only_new)
        self.report(f"Watching {folder}; Ctrl-C ends")
        self.watching, started, missing = True, time.monotonic(), False
        with suppress(KeyboardInterrupt, SystemExit), quiet_leases():
            while True:
                began = time.monotonic()
                ready = watching.look()
                looked = time.monotonic() - began
                if watching.missing != missing:
                    missing = watching.missing
                    self.report.tell(f"{folder} {'is gone; waiting for it' if missing else 'is there again'}")
                self._answer_watched(watching, ready)
                if not ready:
                    time.sleep(max(_POLL, _SHARE * looked))
        self.seconds = time.monotonic() - started

    def _answer_watched(self, watching: FolderWatch, ready: list[Path]) -> None:
        step = self.options["batch"] or 1
        for start in range(0, len(ready), step):
            paths = [path for path in ready[start : start + step] if watching.unchanged(path)]
            counted = Tally(milliseconds=self.tally.milliseconds)
            for path, answer in zip(
                paths, answers(self.predictor, [*map(Picture, paths)], self.options, counted), strict=True
            ):
                if not watching.unchanged(path):
                    continue  # written to, or deleted, while it was read
                if isinstance(answer.outcome, InputError) and watching.try_later(path):
                    continue
                watching.done(path)
                self.tally.count(answer)
                self._tell(answer)

    def _tell(self, answer: Answer) -> None:
        entry = answer.to_dict()
        if isinstance(answer.outcome, InputError):
            self.report.tell(*problem_lines(answer.outcome.problem, answer.outcome.hint))
        elif self.save is not None:
            entry["saved"] = str(save_drawn(self.save, answer, self._numbers))
        if self.as_json and self.watching:
            with self.report.paused():
                echo_json_line(entry)
        elif self.as_json:
            self.entries.append(entry)
        elif not isinstance(answer.outcome, InputError):
            saved = [dim(f"  saved {entry['saved']}")] if "saved" in entry else []
            # One line, which the terminal breaks where it ends: no name of a file or class begins a line.
            with self.report.paused():
                echo(f"{answer.picture.name}  {answer_text(answer.outcome)}", *saved)

    def document(self, model: Path, placement: Placement) -> dict[str, object]:
        """The document that --json prints."""
        return {
            "model": str(model),
            "placement": placement.to_dict(),
            "images": len(self.entries),
            "failed": self.tally.failed,
            "timings_ms": self.tally.milliseconds,
            "results": self.entries,
        }

    def summary(self, placement: Placement) -> list[str]:
        """The summary at the end."""
        lines = []
        tally = self.tally
        if tally.answered:
            spent = ", ".join(
                f"{stage} {value / tally.answered:.1f}" for stage, value in tally.milliseconds.items()
            )
            lines += [dim(line) for line in paragraph(f"ms per image: {spent}; {placement}", err=True)]
        if self.watching:
            answered = f"{tally.answered} picture{'s' if tally.answered != 1 else ''} answered"
            failed = f", {bad(str(tally.failed))} could not be" if tally.failed else ""
            lines.append(f"{good('ended')} after {duration(self.seconds)}: {answered}{failed}")
        elif tally.failed:
            lines.append(f"{tally.failed} of {tally.answered + tally.failed} images could not be answered")
        return lines
