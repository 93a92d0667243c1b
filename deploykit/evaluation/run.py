"""Models on a data set, from the files to the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError, OptionError
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.pixels.images import open_image
from deploykit_runtimes.prediction.predictor import Predictor

from deploykit import __version__
from deploykit.benchmark.environment import read_environment
from deploykit.evaluation.data.read import read_dataset
from deploykit.evaluation.data.truth import Dataset
from deploykit.evaluation.measure import Measure, scores_of, thresholds_of
from deploykit.evaluation.options import EvalOptions
from deploykit.evaluation.report import EvalReport, ModelScores, Unread
from deploykit.evaluation.scores.coco import MOST, check_coco, coco_scores
from deploykit.evaluation.scores.geometry import Plan, rectangles, val_geometry, val_plan
from deploykit.evaluation.scores.pairs import compared_classifiers, compared_detectors
from deploykit.evaluation.scores.records import Record
from deploykit.evaluation.state import State
from deploykit.evaluation.targets import EvalTarget, targets_of
from deploykit.progress import counter_of

__all__ = ["Run", "evaluate"]

_WITHOUT_EFFECT = frozenset({"runtimes", "fresh", "batch", "workers", "resamples", "seed", "cache"})
"""Options that leave the record of a picture as it is; what ``seed`` draws is among the pictures."""


@dataclass
class Run:
    """One model on the data set.

    Attributes:
        target: The model.
        spec: Its contract.
        dataset: The pictures, with its classes.
        records: Records of the answered pictures, by position.
        unread: Pictures that cannot be read.
        resumed: How many records an interrupted run left.
        seconds: Spent on the others.
        notes: Notes for the reader, in sentences.
        settings: What was counted.
        placement: What ran where, in words.
    """

    target: EvalTarget
    spec: ModelSpec
    dataset: Dataset
    records: dict[int, Record] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    resumed: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    settings: dict[str, object] = field(default_factory=dict)
    placement: str = ""


def evaluate(
    models: Sequence[str | Path],
    data: str | Path,
    options: EvalOptions | None = None,
    *,
    report: Callable[[str], None] | None = None,
) -> EvalReport:
    """Measure models on labelled pictures.

    Args:
        models: Model files, each on all of ``options.runtimes``, and checkpoints, in torch.
        data: See ``read_dataset``.
        options: What is measured, and how.
        report: Called with a sentence as each stage starts; its method ``count(done, total)``, if it has
            one, is called as pictures are done.

    Raises:
        OptionError: the labels contradict the model's classes, or an option cannot be used.
        InputError: the data cannot be read, or none of the pictures.
        DeploykitError: a model cannot be opened or run.
    """
    options = options or EvalOptions()
    say = report or (lambda _: None)
    work = _Work(data=Path(data), options=options, say=say, count=counter_of(report))
    with work.finished:
        runs = [work.run(target) for target in targets_of(models, options)]
        _check_alike(runs)
        say("Working out the numbers")
        scores = tuple(_scores(run) for run in runs)
        comparisons = tuple(_compared(runs[0], run, options) for run in runs[1:])
    return EvalReport(
        data=str(data),
        kind=runs[0].dataset.kind,
        task=runs[0].spec.task,
        images=len(runs[0].dataset.samples),
        settings=runs[0].settings,
        notes=tuple(dict.fromkeys((*runs[0].dataset.notes, *(note for run in runs for note in run.notes)))),
        models=scores,
        comparisons=comparisons,
        environment=read_environment(),
        runs=tuple(runs),
    )


@dataclass
class _Work:
    """One evaluation: the data and settings shared by all models.

    Attributes:
        data, options, say: As for ``evaluate``.
        count: Called as pictures are done.
        finished: Removes the saved state once all models are measured.
    """

    data: Path
    options: EvalOptions
    say: Callable[[str], None]
    count: Callable[[int, int], None]
    finished: ExitStack = field(default_factory=ExitStack)

    def run(self, target: EvalTarget) -> Run:
        """Measure one model."""
        self.say(f"Opening {target.name}")
        predictor, spec = target.open()
        with predictor:
            dataset = self._read(spec)
            if not spec.classes and len(dataset.names) == spec.num_classes:
                spec = replace(spec, classes=dataset.names)
            run, measure = _planned(target, predictor, spec, dataset, self.options)
            state = State(self._key(run), resume=not self.options.fresh)
            run.records, run.resumed = state.records, len(state.records)
            total = len(dataset.samples)
            again = f", {run.resumed} of them done before" if run.resumed else ""
            self.say(f"Evaluating {target.name} on {total} picture{'s' if total != 1 else ''}{again}")
            start = time.monotonic()
            with state:
                self._answer(run, measure, state)
            run.seconds = time.monotonic() - start
        if not run.records:
            raise InputError(
                f"None of the {total} pictures of {self.data} could be read: {run.unread[0].problem}",
                hint=run.unread[0].hint,
            )
        self.finished.callback(state.discard)
        return run

    def _read(self, spec: ModelSpec) -> Dataset:
        options = self.options
        dataset = read_dataset(
            self.data,
            spec,
            matching=options.matching,
            split=options.split,
            images=options.images,
            unlabelled=options.unlabelled,
        )
        if dataset.protocol == "coco":
            check_coco()
        return dataset.limited(options.limit, options.seed)

    def _key(self, run: Run) -> dict[str, object]:
        """All that the records depend on: every option except those known not to change them."""
        given = asdict(self.options)
        return {
            "model": run.target.digest(),
            "runtime": run.target.runtime,
            "options": {name: str(value) for name, value in given.items() if name not in _WITHOUT_EFFECT},
            "placement": run.placement,
            "data": run.dataset.digest(),
            "classes": run.spec.classes,
            "settings": run.settings,
            "release": __version__,
        }

    def _answer(self, run: Run, measure: Measure, state: State) -> None:
        """Answer the pictures that an interrupted run has not answered."""
        samples = run.dataset.samples
        total = len(samples)
        left = [place for place in range(total) if place not in state.records]
        pairs = ((samples[place].path, samples[place].truth) for place in left)
        plans = _rectangular(run, self.options, left) if self.options.rect else None
        outcomes = measure.records(pairs, plans)
        for done, (place, outcome) in enumerate(zip(left, outcomes, strict=True), start=1):
            if isinstance(outcome, InputError):
                name = str(samples[place].path)
                run.unread.append(Unread(image=name, problem=outcome.problem, hint=outcome.hint))
            else:
                state.add(place, outcome)
            self.count(total - len(left) + done, total)


def _planned(
    target: EvalTarget, predictor: Predictor, spec: ModelSpec, dataset: Dataset, options: EvalOptions
) -> tuple[Run, Measure]:
    """How the model is measured, as settings and in words."""
    thresholds, notes = thresholds_of(spec, conf=options.conf, iou=options.iou, max_det=options.max_det)
    if options.rect:
        _check_rect(spec)
    plan = _square(spec, options.imgsz)
    measure = Measure(
        predictor=predictor,
        spec=spec,
        protocol=dataset.protocol,
        thresholds=thresholds,
        sigmas=dataset.sigmas,
        plan=plan,
        imgsz=options.imgsz,
        batch=options.batch,
        workers=options.workers or min(4, usable_cores()),
    )
    settings: dict[str, object] = {"protocol": dataset.protocol}
    if spec.task == "classify":
        height, width = options.imgsz or (spec.tensor.height, spec.tensor.width)
        settings["input"] = f"{height}x{width}, pre-processed as predict does"
    else:
        settings.update(conf=thresholds.conf, iou=thresholds.iou, max_det=thresholds.max_det)
        settings["classes"] = "one a box" if spec.is_postprocessed or _is_end2end(spec) else "several a box"
        settings["letterbox"] = _letterbox(spec, plan, options)
    if dataset.protocol == "coco":
        settings["counted by"] = "faster-coco-eval"
        settings["counted"] = f"the best {MOST['boxes']} of a picture and category" + (
            f", {MOST['keypoints']} for keypoints" if spec.task == "pose" else ""
        )
    if dataset.sigmas:
        settings["sigmas"] = ", ".join(f"{value:g}" for value in dataset.sigmas)
    elif spec.task == "pose":
        points = spec.output.keypoints[0]
        settings["sigmas"] = "COCO's" if points == 17 else f"1/{points} each"
    if options.limit is not None:
        settings["limit"], settings["seed"] = options.limit, options.seed
    run = Run(
        target=target,
        spec=spec,
        dataset=dataset,
        notes=notes,
        settings=settings,
        placement=str(predictor.placement()),
    )
    return run, measure


def _is_end2end(spec: ModelSpec) -> bool:
    return spec.output.layout.startswith("end2end")


def _square(spec: ModelSpec, imgsz: tuple[int, int] | None) -> Plan | None:
    plan = val_plan(spec)
    if plan is None or imgsz is None:
        return plan
    from deploykit_runtimes.contract.shapes import check_size

    check_size(spec, imgsz, "--imgsz")
    return lambda size: val_geometry(size, imgsz)


def _letterbox(spec: ModelSpec, plan: Plan | None, options: EvalOptions) -> str:
    height, width = options.imgsz or (spec.tensor.height, spec.tensor.width)
    if options.rect:
        return f"rectangles of up to {max(height, width)}, in batches of 16, as val's default for PyTorch"
    if plan is None:
        return "as predict does"
    return f"{height}x{width}, as val with rect=False"


def _check_rect(spec: ModelSpec) -> None:
    if val_plan(spec) is None or not {"height", "width"} <= spec.input.dynamic.keys():
        raise OptionError(
            "--rect wants a detector of Ultralytics' letterbox that takes any height and width, and this "
            f"one takes {spec.input.height}x{spec.input.width}.",
            hint="Export with --dynamic, or leave it out: Ultralytics too measures fixed models on squares.",
        )


def _rectangular(run: Run, options: EvalOptions, left: Sequence[int]) -> Iterator[Plan | None]:
    """The plan of each remaining picture; the shapes are those for the whole data set."""
    height, width = options.imgsz or (run.spec.tensor.height, run.spec.tensor.width)
    sizes: list[tuple[int, int]] = []
    for sample in run.dataset.samples:
        try:
            with open_image(sample.path) as image:
                sizes.append((image.height, image.width))
        except InputError:  # named when its turn comes
            sizes.append((1, 1))
    side = max(height, width)
    shapes = rectangles(sizes, side)
    return iter([_of_shape(shapes[place], side) for place in left])


def _of_shape(shape: tuple[int, int], side: int) -> Plan:
    return lambda size: val_geometry(size, shape, side)


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse to compare models with different tasks or classes."""
    first = runs[0]
    for run in runs[1:]:
        if run.spec.task != first.spec.task:
            raise OptionError(
                f"{first.target.name} has the task {first.spec.task}, {run.target.name} {run.spec.task}."
            )
        named = first.spec.classes and run.spec.classes
        if named and first.spec.classes != run.spec.classes:
            raise OptionError(
                f"{first.target.name} and {run.target.name} have different classes, or have "
                "them in another order.",
                hint="Evaluate each by itself.",
            )


def _scores(run: Run) -> ModelScores:
    ordered = [run.records[place] for place in sorted(run.records)]
    scores = scores_of(run.spec, ordered)
    if run.dataset.protocol == "coco":
        scores["coco"] = coco_scores(run.records, run.dataset, run.spec, _json_sizes(run.dataset))
    return ModelScores(
        name=run.target.name,
        runtime=run.target.runtime,
        model=run.spec.variant,
        sha256=run.target.digest(),
        placement=run.placement,
        scores=scores,
        unread=tuple(run.unread),
        resumed=run.resumed,
        seconds=run.seconds,
    )


def _json_sizes(dataset: Dataset) -> Mapping[int, tuple[int, int]]:
    images: Sequence[Mapping[str, Any]] = (dataset.content or {}).get("images", ())
    return {image["id"]: (image["height"], image["width"]) for image in images}


def _compared(first: Run, second: Run, options: EvalOptions) -> dict[str, Any]:
    named = {"first": first.target.name, "second": second.target.name}
    if first.spec.task == "classify":
        return {**named, **compared_classifiers(first.records, second.records)}
    found = compared_detectors(first.records, second.records, seed=options.seed, resamples=options.resamples)
    return {**named, **found}
