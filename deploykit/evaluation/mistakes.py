"""Pictures of mistakes and of differences, drawn next to the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.answers.draw import Canvas, class_color
from deploykit_runtimes.answers.results import Classification, Result
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.pixels.images import drawable
from PIL import Image

from deploykit.evaluation.data.truth import Objects, Sample
from deploykit.evaluation.report import EvalReport
from deploykit.evaluation.run import Run
from deploykit.evaluation.scores.confusion import CONFIDENCE
from deploykit.evaluation.scores.records import Record

__all__ = ["Drawn", "drawn_differences", "drawn_mistakes", "save_differences", "worst"]

_SIDE = 480
"""The longer side of a drawn picture, in pixels: a page of twelve stays below a few MB."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One picture as the labels and the models see it.

    Attributes:
        image: Its file.
        caption: What is wrong with the answers, in words.
        panels: ``truth`` and each model's name, with the picture drawn, uint8 RGB [H, W, 3].
    """

    image: Path
    caption: str
    panels: tuple[tuple[str, np.ndarray], ...]


def worst(run: Run, count: int) -> list[int]:
    """The positions of the worst pictures: confident mistakes, or the most objects missed or invented."""
    weights = {place: _badness(run.records[place]) for place in run.records}
    bad = [place for place, weight in weights.items() if weight > 0]
    return sorted(bad, key=lambda place: (-weights[place], place))[:count]


def _badness(record: Record) -> float:
    if "top" in record:
        return float(record["score"][0]) if record["top"][0, 0] != record["truth"][0] else 0.0
    pairs = record["confused"]
    return float((pairs[:, 0] != pairs[:, 1]).sum())


def drawn_mistakes(report: EvalReport, count: int = 12) -> list[Drawn]:
    """The worst pictures of the first model, answered again and drawn."""
    return _draw(report.runs[:1], worst(report.runs[0], count))


def drawn_differences(report: EvalReport, place: int, count: int | None = None) -> list[Drawn]:
    """The pictures on which two models differ.

    Args:
        report: The report on several models.
        place: Index of the comparison.
        count: The largest number of pictures.
    """
    pair = (report.runs[0], report.runs[place + 1])
    return _draw(pair, report.comparisons[place]["differing"][:count])


def save_differences(report: EvalReport, folder: Path, count: int) -> list[Path]:
    """Write pictures into a folder: those on which models differ or, with one model, its worst mistakes.

    They appear together, when all of them are drawn.

    Args:
        report: What was measured.
        folder: The folder, which is created. No file in it is replaced.
        count: The largest number of pictures of each comparison.
    """
    from deploykit_runtimes.files import gathered

    drawn = [
        each for place in range(len(report.comparisons)) for each in drawn_differences(report, place, count)
    ]
    drawn = drawn or drawn_mistakes(report, count)
    names = [f"{number:03d}-{each.image.stem[:80]}.png" for number, each in enumerate(drawn, start=1)]
    with gathered(folder) as drafts:
        for name, each in zip(names, drawn, strict=True):
            _side_by_side(each).save(drafts / name)
    return [folder / name for name in names]


def _draw(runs: Sequence[Run], places: Sequence[int]) -> list[Drawn]:
    if not places:
        return []
    answers = [_answers(run, places) for run in runs]
    drawn = []
    for position, place in enumerate(places):
        sample, spec = runs[0].dataset.samples[place], runs[0].spec
        pixels = drawable(sample.path)
        panels = [("truth", _truth(sample, spec, pixels))]
        told = []
        for run, given in zip(runs, answers, strict=True):
            answer = given[position]
            panels.append((run.target.name, _small(answer.plot(pixels))))
            told.append(f"{run.target.name}: {_said(answer, run.records[place], run.spec)}")
        caption = f"{_wanted(sample, spec)} · {' · '.join(told)}"
        drawn.append(Drawn(image=sample.path, caption=caption, panels=tuple(panels)))
    return drawn


def _answers(run: Run, places: Sequence[int]) -> list[Result]:
    """Run the model again, with the confidence that the confusion matrix uses."""
    predictor, spec = run.target.open()
    asked: dict[str, Any] = {} if spec.task == "classify" else {"conf": max(CONFIDENCE, spec.output.conf)}
    if spec.is_postprocessed and not spec.output.runtime_thresholds:
        asked = {}
    with predictor:
        found = [predictor.predict(str(run.dataset.samples[place].path), **asked) for place in places]
    return [_renamed(each[0] if isinstance(each, list) else each, spec) for each in found]


def _renamed(answer: Result, spec: ModelSpec) -> Result:
    """Apply the names that the caller gave."""
    if isinstance(answer, Classification):
        top = tuple(replace(each, name=spec.class_name(each.class_id)) for each in answer.top)
        return replace(answer, top=top)
    if hasattr(answer, "class_ids"):
        names = tuple(spec.class_name(int(number)) for number in answer.class_ids)
        return replace(answer, names=names)
    return answer


def _truth(sample: Sample, spec: ModelSpec, pixels: np.ndarray) -> np.ndarray:
    canvas = Canvas(pixels)
    if not isinstance(sample.truth, Objects):
        canvas.label(spec.class_name(sample.truth), (0, 0), class_color(sample.truth))
        return _small(canvas.array())
    size = np.array([pixels.shape[1], pixels.shape[0]], np.float32)
    for index, class_id in enumerate(sample.truth.class_ids.tolist()):
        color = class_color(class_id)
        box = (sample.truth.boxes[index].reshape(2, 2) * size).ravel()
        if sample.truth.outlines:
            canvas.polygon(sample.truth.outlines[index] * size, color)
        else:
            canvas.box(box.tolist(), color)
        if sample.truth.keypoints is not None:
            points = sample.truth.keypoints[index]
            canvas.dots(points[points[:, 2] > 0, :2] * size, color)
        canvas.label(spec.class_name(class_id), box[:2].tolist(), color)
    return _small(canvas.array())


def _small(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image)


def _wanted(sample: Sample, spec: ModelSpec) -> str:
    if isinstance(sample.truth, Objects):
        count = len(sample.truth)
        return f"{count} object{'s' if count != 1 else ''}"
    return f"truth {spec.class_name(sample.truth)}"


def _said(answer: Result, record: Record, spec: ModelSpec) -> str:
    if isinstance(answer, Classification):
        return f"{spec.class_name(int(record['top'][0, 0]))} {float(record['score'][0]):.2f}"
    pairs = record["confused"]
    missed = int((pairs[:, 0] < 0).sum())
    more = int((pairs[:, 1] < 0).sum())
    other = int(((pairs[:, 0] != pairs[:, 1]) & (pairs >= 0).all(1)).sum())
    told = [f"{missed} missed"] if missed else []
    told += [f"{more} where there is none"] if more else []
    told += [f"{other} of another class"] if other else []
    return ", ".join(told) or "all found"


def _side_by_side(drawn: Drawn) -> Image.Image:
    """The panels in a row, each under its name, with the caption at the bottom."""
    images = [Image.fromarray(pixels) for _, pixels in drawn.panels]
    margin, head = 8, 22
    width = sum(image.width for image in images) + margin * (len(images) + 1)
    height = max(image.height for image in images) + 2 * head + margin
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    canvas_x = margin
    from PIL import ImageDraw

    pen = ImageDraw.Draw(sheet)
    for (name, _), image in zip(drawn.panels, images, strict=True):
        pen.text((canvas_x, 4), name, fill=(40, 40, 40))
        sheet.paste(image, (canvas_x, head))
        canvas_x += image.width + margin
    pen.text((margin, height - head + 4), drawn.caption, fill=(40, 40, 40))
    return sheet
