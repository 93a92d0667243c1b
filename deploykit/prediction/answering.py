"""Pictures through a model, one answer each: what ``predict`` does with files, URLs and watched folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.urls import is_url, shown_url

if TYPE_CHECKING:
    from deploykit_runtimes.answers.results import Result
    from deploykit_runtimes.pixels.images import ImageSource
    from deploykit_runtimes.prediction.predictor import Predictor, Timings

__all__ = ["Answer", "Picture", "Tally", "answers", "pictures_of", "save_drawn"]

_CHUNK = 8
_LONGEST_STEM = 100  # bytes


@dataclass(frozen=True)
class Picture:
    """A picture to answer.

    Attributes:
        place: Its path, or its URL.
    """

    place: Path | str

    @property
    def name(self) -> str:
        """The picture's name in answers and messages; secrets in a URL are removed."""
        return shown_url(self.place) if isinstance(self.place, str) else str(self.place)

    @property
    def file_name(self) -> PurePosixPath:
        """The last part of its path, used to name the drawn copy."""
        if isinstance(self.place, Path):
            return PurePosixPath(self.place.name)
        last = unquote(self.name.partition("://")[2].partition("/")[2].rpartition("/")[2])
        safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in last)
        found = PurePosixPath(safe.lstrip("."))
        stem = found.stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
        return PurePosixPath(f"{stem or 'picture'}{found.suffix[:8]}")

    def read(self) -> Path | bytes:
        """The picture in the form that the predictor takes.

        Raises:
            InputError: a URL cannot be fetched within the limits.
        """
        if isinstance(self.place, Path):
            return self.place
        from deploykit_runtimes.pixels.fetch import fetch

        return fetch(self.place)


@dataclass(frozen=True)
class Answer:
    """A picture, the image read from it, and the model's answer or the reason why there is none."""

    picture: Picture
    source: ImageSource | None
    outcome: Result | InputError

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        if isinstance(self.outcome, InputError):
            return {"image": self.picture.name, "error": self.outcome.problem}
        return {"image": self.picture.name, **self.outcome.to_dict()}


@dataclass
class Tally:
    """The numbers of pictures with and without an answer, and where the time went."""

    answered: int = 0
    failed: int = 0
    milliseconds: dict[str, float] = field(default_factory=dict)

    def count(self, answer: Answer) -> None:
        """Count one answer."""
        if isinstance(answer.outcome, InputError):
            self.failed += 1
        else:
            self.answered += 1

    def took(self, timings: Timings) -> None:
        """Add the time of one call."""
        for name, value in asdict(timings).items():
            stage = name.removesuffix("_ms")
            self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + value


def pictures_of(sources: Iterable[str]) -> list[Picture]:
    """The pictures of files, folders, patterns and URLs, in order and without duplicates.

    Raises:
        InputError: a path has no pictures.
    """
    from deploykit_runtimes.pixels.listing import list_images

    found: list[Picture] = []
    for source in sources:
        found += [Picture(source)] if is_url(source) else map(Picture, list_images(source))
    return list(dict.fromkeys(found))


def answers(
    predictor: Predictor, pictures: Sequence[Picture], options: Mapping[str, Any], tally: Tally
) -> Iterator[Answer]:
    """The answers in order, in groups that the model can take at once.

    When a group fails, each picture is tried alone, to find the bad one.
    """
    several = "batch" in predictor.spec.input.dynamic
    chunk = options.get("batch") or (_CHUNK if several else predictor.spec.input.batch)
    for start in range(0, len(pictures), chunk):
        for answer in _group(predictor, pictures[start : start + chunk], options, tally):
            tally.count(answer)
            yield answer


def _group(
    predictor: Predictor, pictures: Sequence[Picture], options: Mapping[str, Any], tally: Tally
) -> list[Answer]:
    read: list[ImageSource | InputError] = []
    for picture in pictures:
        try:
            read.append(picture.read())
        except InputError as error:
            read.append(error)
    good: list[ImageSource] = [source for source in read if not isinstance(source, InputError)]
    found = _outcomes(predictor, good, options, tally) if good else iter(())
    answered = []
    for picture, source in zip(pictures, read, strict=True):
        if isinstance(source, InputError):
            answered.append(Answer(picture, None, source))
        else:
            answered.append(Answer(picture, source, _named(picture, source, next(found))))
    return answered


def _outcomes(
    predictor: Predictor, sources: list[ImageSource], options: Mapping[str, Any], tally: Tally
) -> Iterator[Result | InputError]:
    try:
        results, timings = predictor.predict_timed(sources, **options)
    except InputError as error:
        if len(sources) == 1:
            return iter((error,))
        return (one for source in sources for one in _outcomes(predictor, [source], options, tally))
    tally.took(timings)
    return iter(results)


def _named(picture: Picture, source: ImageSource, outcome: Result | InputError) -> Result | InputError:
    """Make an error about downloaded bytes name their URL."""
    if isinstance(outcome, InputError) and isinstance(source, bytes):
        told = outcome.problem.replace(f"The {len(source)} bytes given", picture.name)
        return InputError(told, hint=outcome.hint)
    return outcome


def save_drawn(folder: Path, answer: Answer, numbers: dict[str, int]) -> Path:
    """Draw an answer into a copy of its picture, under a free name: no file is ever replaced.

    Args:
        folder: Where copies go; it is created when missing.
        answer: One with a result.
        numbers: The last number given to each name; kept by the caller between calls.
    """
    from deploykit_runtimes.files import atomic_path
    from PIL import Image

    assert answer.source is not None and not isinstance(answer.outcome, InputError)
    given = answer.picture.file_name
    suffix = ".png" if given.suffix.lower() == ".png" else ".jpg"
    plain = f"{given.stem}{suffix}"
    target = folder / plain
    while os.path.lexists(target):
        numbers[plain] = numbers.get(plain, 1) + 1
        target = folder / f"{given.stem}-{numbers[plain]}{suffix}"
    with atomic_path(target) as draft:
        Image.fromarray(answer.outcome.plot(answer.source)).save(draft, quality=95)
    return target
