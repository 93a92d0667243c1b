"""``deploykit predict``: answers for images, printed, drawn or as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from deploykit_runtimes.errors import InputError

from deploykit.commands.describe import answer_text
from deploykit.commands.line import Command
from deploykit.commands.options import (
    common,
    engine_options,
    existing_path,
    image_size,
    outputs_option,
    runtime_option,
    strict_option,
    threads_option,
)
from deploykit.progress import Progress
from deploykit.terminal import bad, dim, echo, echo_json, is_terminal

if TYPE_CHECKING:
    from deploykit_runtimes.engine_options import Goal, Precision
    from deploykit_runtimes.predictor import Predictor, Timings
    from deploykit_runtimes.results import Result
    from deploykit_runtimes.runner import Placement

__all__ = ["command"]

_CHUNK = 8


@click.command("predict", cls=Command)
@click.argument("model", type=existing_path)
@click.argument("sources", metavar="IMAGE|FOLDER|GLOB...", nargs=-1, required=True)
@runtime_option
@click.option(
    "--top-k",
    type=click.IntRange(1),
    metavar="N",
    help="Classes to name. Default: 5, or what the graph gives.",
)
@click.option("--conf", type=click.FloatRange(0, 1), metavar="P", help="Lowest score of a detection.")
@click.option(
    "--iou", type=click.FloatRange(0, 1), metavar="P", help="Overlap above which a box is suppressed."
)
@click.option("--max-det", type=click.IntRange(1), metavar="N", help="Most detections per image.")
@click.option("--imgsz", callback=image_size, metavar="H[,W]", help="Input size of a dynamic model.")
@click.option("--batch", type=click.IntRange(1), metavar="N", help="Images per call of the engine.")
@outputs_option
@threads_option
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw the answers into copies of the images.",
)
@engine_options
@strict_option
@common
def command(
    *,
    model: Path,
    sources: tuple[str, ...],
    runtime: str,
    outputs: str | None,
    threads: int | None,
    save: Path | None,
    strict: bool,
    goal: Goal,
    precision: Precision,
    cache: Path | None,
    cuda_graph: bool,
    gpu: int,
    json_output: bool,
    **options: Any,
) -> int:
    """Run MODEL on images. A folder stands for the images in it, a quoted glob may hold ** for sub-folders.

    An image that cannot be read is reported and the others still answered; the exit code is then 8.
    """
    from deploykit_runtimes import load
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.images import list_images
    from deploykit_runtimes.shapes import check_size
    from deploykit_runtimes.targets import check_folder

    images = list_images(sources)
    if save is not None:
        check_folder(save / "picture.jpg")
    engine = EngineOptions(
        threads=threads,
        strict=strict,
        goal=goal,
        precision=precision,
        cache=cache,
        cuda_graph=cuda_graph,
        gpu=gpu,
        outputs=outputs,
    )
    # The moving line of a terminal would be torn by the answers that appear on it.
    with Progress(animate=False if is_terminal() and not json_output else None) as report:
        report("Opening the model")
        with load(model, runtime=runtime, options=engine) as predictor:
            for text in predictor.spec.assumed if predictor.spec.inferred else ():
                report(f"Assumed: {text}")
            if options["imgsz"] is not None:
                check_size(predictor.spec, options["imgsz"], "--imgsz")
            run = _Run(sources=images, save=save)
            report(f"Predicting {len(images)} image{'s' if len(images) != 1 else ''}")
            for path, outcome in _answers(predictor, images, options, run):
                entry = run.add(path, outcome)
                if isinstance(outcome, InputError):
                    report.tell(f"{bad('error:')} {outcome}")
                elif not json_output:
                    _tell(path, outcome, entry)
            placement = predictor.placement()
    if json_output:
        echo_json(run.document(model, placement))
    else:
        _tell_end(run, placement)
    return InputError.exit_code if run.failed else 0


@dataclass
class _Run:
    """What was answered so far, and where pictures go."""

    sources: Sequence[Path]
    save: Path | None
    entries: list[dict[str, object]] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    failed: int = 0
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        # A picture must never take the place of an image that was given.
        self._taken = {os.path.realpath(path) for path in self.sources}

    def add(self, path: Path, outcome: Result | InputError) -> dict[str, object]:
        entry: dict[str, object] = {"image": str(path)}
        if isinstance(outcome, InputError):
            entry["error"] = outcome.problem
            self.failed += 1
        else:
            entry.update(outcome.to_dict())
            if self.save is not None:
                entry["saved"] = str(self._save(self.save, path, outcome))
        self.entries.append(entry)
        return entry

    def count(self, timings: Timings) -> None:
        for name, value in asdict(timings).items():
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + value

    def document(self, model: Path, placement: Placement) -> dict[str, object]:
        return {
            "model": str(model),
            "placement": placement.to_dict(),
            "images": len(self.entries),
            "failed": self.failed,
            "timings_ms": {name.removesuffix("_ms"): value for name, value in self.milliseconds.items()},
            "results": self.entries,
        }

    def _save(self, folder: Path, source: Path, result: Result) -> Path:
        from deploykit_runtimes.files import atomic_path
        from PIL import Image

        suffix = ".png" if source.suffix.lower() == ".png" else ".jpg"
        target = self._free_name(folder, source.stem, suffix)
        with atomic_path(target) as draft:
            Image.fromarray(result.plot(source)).save(draft, quality=95)
        return target

    def _free_name(self, folder: Path, stem: str, suffix: str) -> Path:
        """A name that is neither taken in this run nor there already: the user's files are never replaced."""
        target, number = folder / f"{stem}{suffix}", 2
        while os.path.realpath(target) in self._taken or os.path.lexists(target):
            target, number = folder / f"{stem}-{number}{suffix}", number + 1
        self._taken.add(os.path.realpath(target))
        return target


def _answers(
    predictor: Predictor, images: Sequence[Path], options: Mapping[str, Any], run: _Run
) -> Iterator[tuple[Path, Result | InputError]]:
    """The answers in order. When a group of images fails, each is tried alone, to find the bad one."""
    chunk = options["batch"] or _CHUNK
    for start in range(0, len(images), chunk):
        group = list(images[start : start + chunk])
        try:
            results, timings = predictor.predict_timed(group, **options)
        except InputError as error:
            if len(group) == 1:
                yield group[0], error
                continue
            for path in group:
                yield from _answers(predictor, [path], options, run)
            continue
        run.count(timings)
        yield from zip(group, results, strict=True)


def _tell(path: Path, outcome: Result, entry: Mapping[str, object]) -> None:
    echo(f"{path}  {answer_text(outcome)}")
    if "saved" in entry:
        echo(dim(f"  saved {entry['saved']}"))


def _tell_end(run: _Run, placement: Placement) -> None:
    answered = len(run.entries) - run.failed
    if answered:
        parts = ", ".join(
            f"{name.removesuffix('_ms')} {value / answered:.1f}" for name, value in run.milliseconds.items()
        )
        echo(dim(f"ms per image: {parts}; {placement}"), err=True)
    if run.failed:
        echo(f"{run.failed} of {len(run.entries)} images could not be answered", err=True)
