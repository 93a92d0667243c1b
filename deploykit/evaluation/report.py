"""What was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploykit.benchmark.environment import Environment
from deploykit.terminal import columns, pairs, strong

__all__ = ["FORMAT", "PARTS", "EvalReport", "ModelScores", "Unread", "comparison_rows", "rounded"]

FORMAT = 1
"""Of the JSON document."""

PARTS = ("boxes", "masks", "keypoints")
_SHOWN = 20
"""Classes in the table of the terminal; all of them are in the JSON document and the page."""


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A picture that could not be read, and why."""

    image: str
    problem: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelScores:
    """The numbers of one model.

    Attributes:
        name, runtime, model, sha256, placement: What was measured, and where it ran.
        scores: ``top1``, ``top5``, ``classes``, ``confusion``; or ``boxes``, ``masks`` and ``keypoints`` with
            ``map``, ``map50``, ``precision`` and ``recall``, ``classes``, ``confusion``, ``curves``, and
            ``coco`` on COCO's JSON.
        unread: Pictures that could not be read.
        resumed: Pictures that an interrupted run had already answered.
        seconds: Spent on the others.
    """

    name: str
    runtime: str
    model: str
    sha256: str
    placement: str
    scores: Mapping[str, Any]
    unread: tuple[Unread, ...] = ()
    resumed: int = 0
    seconds: float = 0.0

    def __repr__(self) -> str:
        told = ", ".join(f"{key} {value}" for key, value in self.headline())
        return f"ModelScores({self.name}: {told})"

    @property
    def map(self) -> float:
        """mAP50-95 of the task: of masks or keypoints if there are any, otherwise of boxes; COCO's own for
        COCO's JSON. 0 for a classifier.
        """
        scores = self.scores.get("coco", self.scores)
        for part in reversed(PARTS):
            if part in scores:
                return float(scores[part]["map"] or 0.0)
        return 0.0

    @property
    def top1(self) -> float:
        """The share of pictures whose first class is right; 0 for a detector."""
        return float(self.scores.get("top1", 0.0))

    def headline(self) -> Iterator[tuple[str, str]]:
        """The numbers that matter, by name."""
        scores = self.scores
        if "top1" in scores:
            yield "top-1", rounded(scores["top1"])
            yield "top-5", rounded(scores["top5"])
            return
        coco = scores.get("coco", {})
        for part in PARTS:
            prefix = "" if part == "boxes" else f"{part} "
            counted = coco.get(part) or scores.get(part)
            if counted is None:
                continue
            yield f"{prefix}mAP50-95", rounded(counted["map"])
            yield f"{prefix}mAP50", rounded(counted["map50"])
            if part in scores:
                yield f"{prefix}precision", rounded(scores[part]["precision"])
                yield f"{prefix}recall", rounded(scores[part]["recall"])

    def to_dict(self) -> dict[str, object]:
        """The main numbers, by name."""
        return {
            "name": self.name,
            "runtime": self.runtime,
            "model": self.model,
            "sha256": self.sha256,
            "placement": self.placement,
            "scores": dict(self.scores),
            "unread": [vars(each) for each in self.unread],
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class EvalReport:
    """Everything that was measured, and where.

    Attributes:
        data, kind, task, images: The file or folder, its form, the models' task, the number of pictures.
        settings: What was counted, by name.
        notes: What was assumed or left out, in sentences.
        models: The numbers of each model.
        comparisons: Each further model against the first.
        environment: The machine.
        runs: The records behind the numbers; not part of the JSON.
    """

    data: str
    kind: str
    task: str
    images: int
    settings: Mapping[str, object]
    notes: tuple[str, ...]
    models: tuple[ModelScores, ...]
    comparisons: tuple[Mapping[str, Any], ...]
    environment: Environment
    runs: tuple[Any, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        """The tables, as ``deploykit eval`` prints them."""
        return "\n".join(self.lines())

    @property
    def unread(self) -> int:
        """Pictures that at least one model could not read."""
        return len({each.image for model in self.models for each in model.unread})

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "data": self.data,
            "kind": self.kind,
            "task": self.task,
            "images": self.images,
            "settings": dict(self.settings),
            "notes": list(self.notes),
            "models": [model.to_dict() for model in self.models],
            "comparisons": [dict(each) for each in self.comparisons],
            "unread": self.unread,
            "environment": self.environment.to_dict(),
        }

    def lines(self) -> list[str]:
        """Lines for the terminal: the settings, the numbers, each class, the comparisons."""
        counted = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        lines = [strong(f"{self.images} pictures of {self.data} ({self.kind})")]
        lines += pairs([("task", self.task), ("counted", counted), *(("note", note) for note in self.notes)])
        heads = [dict(model.headline()) for model in self.models]
        header = ("", *heads[0])
        rows = [(model.name, *head.values()) for model, head in zip(self.models, heads, strict=True)]
        lines += ["", *columns(header, rows)]
        classes = self.class_rows()
        if 1 < len(classes) <= _SHOWN:
            lines += ["", *columns(self.class_header(), classes)]
        elif len(classes) > _SHOWN:
            lines += ["", f"  {len(classes)} classes: --json and --html list each."]
        for comparison in self.comparisons:
            lines += ["", *comparison_lines(comparison)]
        return lines

    def class_header(self) -> tuple[str, ...]:
        """The columns of ``class_rows``."""
        what = "images" if self.task == "classify" else "objects"
        return ("class", what, *(f"{_short(self.task)} {model.name}".strip() for model in self.models))

    def class_rows(self) -> list[tuple[str, ...]]:
        """Each class of the labels, its pictures or objects, and top-1 or mAP50-95 of each model."""
        rows: dict[int, list[str]] = {}
        for place, model in enumerate(self.models):
            coco = _coco_classes(model.scores.get("coco", {}))
            for entry in model.scores["classes"]:
                row = rows.setdefault(entry["class_id"], [entry["name"], str(_objects(entry))])
                value = coco.get(entry["class_id"], {}).get("map") if coco else _of_class(entry)
                row += ["-"] * (2 + place - len(row)) + [rounded(value)]
        return [(*row, *["-"] * (2 + len(self.models) - len(row))) for _, row in sorted(rows.items())]


def _short(task: str) -> str:
    return "top-1" if task == "classify" else "mAP50-95"


def _objects(entry: Mapping[str, Any]) -> int:
    return int(entry.get("images", entry.get("objects", 0)))


def _coco_classes(scores: Mapping[str, Any]) -> Mapping[int, Mapping[str, float]]:
    """COCO's numbers for each class; empty for other data."""
    part = next((part for part in reversed(PARTS) if part in scores), None)
    return {} if part is None else scores[part]["classes"]


def _of_class(entry: Mapping[str, Any]) -> float:
    if "top1" in entry:
        return float(entry["top1"])
    part = next(part for part in reversed(PARTS) if part in entry)
    return float(entry[part]["map"])


def rounded(value: float | None) -> str:
    """Four decimals, or a dash for an unknown value."""
    return "-" if value is None else f"{value:.4f}"


def comparison_lines(found: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal that compare two models."""
    return [strong(f"{found['second']} against {found['first']}"), *pairs(comparison_rows(found))]


def comparison_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows that compare two models, in words, one per quantity."""
    first, second = found["first"], found["second"]
    rows = [("agreement", f"{found['agreement']:.2%} of {found['images']} pictures")]
    if "mcnemar_p" in found:
        right = f"both {found['both_right']}, {first} alone {found['only_first_right']}, "
        rows.append(
            ("right", f"{right}{second} alone {found['only_second_right']}, none {found['both_wrong']}")
        )
        test = f"McNemar's exact test p = {found['mcnemar_p']:.3g}"
        verdict = _verdict(differs=found["mcnemar_p"] < 0.05)
        rows.append(("top-1", f"{found['top1_difference']:+.4f}; {test}, {verdict}"))
    for part, values in found.get("map_difference", {}).items():
        low, high = values["low"], values["high"]
        interval = f"95 % interval {low:+.4f} to {high:+.4f} ({values['resamples']} draws)"
        verdict = _verdict(differs=low > 0 or high < 0)
        rows.append((f"mAP50-95 of {part}", f"{values['difference']:+.4f}, {interval}, {verdict}"))
    return rows


def _verdict(*, differs: bool) -> str:
    return "a difference beyond chance" if differs else "may be chance"
