"""Ultralytics' data.yaml: where the pictures are, and what the classes are called."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError, OptionError
from deploykit_runtimes.pixels.listing import natural_order

from deploykit.evaluation.data.classes import Matching, same_classes
from deploykit.evaluation.data.files import other_files, pictures_in
from deploykit.evaluation.data.folder import read_class_folders
from deploykit.evaluation.data.labels import LabelForm, label_path, read_label_file
from deploykit.evaluation.data.strangers import LARGEST_LABELS, MOST_NAMES, exists, read_text
from deploykit.evaluation.data.table import read_lines
from deploykit.evaluation.data.truth import Dataset, Objects, Sample

__all__ = ["listed_pictures", "read_data_yaml", "read_picture_list"]

_SHOWN = 3
_MOST_FOLDERS = 1000


def read_data_yaml(
    path: Path, spec: ModelSpec, matching: Matching, split: str, *, unlabelled: bool
) -> Dataset:
    """Read a data.yaml, and the labels of one split.

    Args:
        path: The file.
        spec: The model.
        matching: See ``Matching``.
        split: ``val``, ``test`` or ``train``.
        unlabelled: Take a picture without a label file as one without objects.

    Raises:
        InputError: the file, or a label, cannot be read; a picture has no labels.
        OptionError: the classes, or the keypoints, are not the model's; there is no such split.
        DependencyError: PyYAML is not installed.
    """
    said = _settings(path)
    places = said.get(split) or (said.get("validation") if split == "val" else None)
    if not places:
        raise OptionError(
            f"{path} has no {split}.", hint="It names the folders of train, val and test; see --split."
        )
    root = _root(path, said)
    folders = _folders(root, places, path)
    if spec.task == "classify":
        return read_class_folders(folders[0], spec, matching, split)
    classes = same_classes(_names(said, path, spec), spec, matching, str(path))
    shape = _keypoints(said, spec, path)
    pictures = sorted(dict.fromkeys(file for folder in folders for file in _pictures(folder)))
    form = LabelForm(task=spec.task, classes=classes, keypoints=shape)
    samples, notes = _labelled(pictures, form, unlabelled=unlabelled)
    sigmas = _sigmas(said.get("kpt_oks_sigmas") or [], shape[0], path)
    return Dataset(
        source=path,
        kind=f"Ultralytics' {split}",
        protocol="ultralytics",
        samples=samples,
        sigmas=sigmas,
        notes=(*notes, *other_files([folder for folder in folders if folder.is_dir()])),
    )


def listed_pictures(path: Path, splits: Sequence[str]) -> list[Path]:
    """The pictures of the first of the given splits that a data.yaml has; labels are not read.

    Raises:
        InputError: the file cannot be read, or the split holds no pictures.
        OptionError: it has none of the splits.
        DependencyError: PyYAML is not installed.
    """
    said = _settings(path)
    split = next((name for name in splits if said.get(name)), None)
    if split is None:
        raise OptionError(
            f"{path} has no {' or '.join(splits)}.", hint="It names the folders of train and val."
        )
    root = _root(path, said)
    folders = _folders(root, said[split], path)
    found = sorted({file for folder in folders for file in _pictures(folder)}, key=natural_order)
    if not found:
        raise InputError(f"{split} of {path} holds no pictures.")
    return found


def read_picture_list(path: Path, spec: ModelSpec, *, unlabelled: bool) -> Dataset:
    """A text file with one picture per line, whose labels are placed as for a data.yaml."""
    pictures = sorted(_pictures(path))
    classes = {number: number for number in range(spec.num_classes)}
    shape = spec.output.keypoints if spec.task == "pose" else (0, 0)
    form = LabelForm(task=spec.task, classes=classes, keypoints=shape)
    samples, notes = _labelled(pictures, form, unlabelled=unlabelled)
    return Dataset(
        source=path, kind="a list of pictures", protocol="ultralytics", samples=samples, notes=notes
    )


def _labelled(
    pictures: list[Path], form: LabelForm, *, unlabelled: bool
) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    labels = {picture: label_path(picture) for picture in pictures}
    missing = [picture for picture, file in labels.items() if not file.is_file()]
    if missing and (len(missing) == len(pictures) or not unlabelled):
        shown = ", ".join(str(labels[picture]) for picture in missing[:_SHOWN])
        raise InputError(
            f"{len(missing)} of {len(pictures)} pictures have no label file: {shown}"
            f"{', ...' if len(missing) > _SHOWN else ''}.",
            hint="A picture without objects has an empty one; --unlabelled counts a missing one as empty."
            if len(missing) < len(pictures)
            else "Labels lie in a folder labels beside images, a .txt file for each picture.",
        )
    read: dict[Path, tuple[Objects, int]] = {
        picture: read_label_file(labels[picture], form) for picture in pictures if picture not in set(missing)
    }
    points = form.keypoints[0]
    empty = Objects(
        class_ids=np.zeros(0, np.int64),
        boxes=np.zeros((0, 4), np.float32),
        keypoints=np.zeros((0, points, 3), np.float32) if points else None,
    )
    samples = tuple(
        Sample(path=picture, truth=read[picture][0] if picture in read else empty, number=number)
        for number, picture in enumerate(pictures)
    )
    notes = [f"{len(missing)} pictures without a label file count as empty"] if missing else []
    twice = sum(count for _, count in read.values())
    notes += [f"{twice} labels stood there twice and count once"] if twice else []
    return samples, tuple(notes)


def _settings(path: Path) -> Mapping[str, Any]:
    from deploykit_runtimes.optional import require

    require("yaml", extra="eval", purpose="read data.yaml")
    from deploykit_exporters.containers.texts import parse_yaml

    try:
        said = parse_yaml(read_text(path, LARGEST_LABELS))
    except ValueError as error:
        raise InputError(f"{path} cannot be read as YAML: {error}.") from error
    if not isinstance(said, Mapping):
        raise InputError(f"{path} wants names and folders of pictures, found {type(said).__name__}.")
    return said


def _root(path: Path, said: Mapping[str, Any]) -> Path:
    """The folder ``path`` of the file, relative to the file or to the current folder; otherwise the file's
    own folder.
    """
    given = said.get("path")
    if not given:
        return path.parent
    beside = path.parent / str(given)
    exists(beside, path)
    return beside if beside.is_dir() or not Path(str(given)).is_dir() else Path(str(given))


def _folders(root: Path, places: object, source: Path) -> list[Path]:
    listed = places if isinstance(places, list) else [places]
    if len(listed) > _MOST_FOLDERS:
        raise InputError(f"{source} names more than {_MOST_FOLDERS} folders of pictures: {len(listed)}.")
    return list(dict.fromkeys(_found(root / str(place), source) for place in listed))


def _sigmas(values: object, wanted: int, source: Path) -> tuple[float, ...]:
    given = values if isinstance(values, list) else [values]
    known = [value for value in given if isinstance(value, int | float) and math.isfinite(value)]
    if given and (len(known) != wanted or len(given) != wanted or min(known) <= 0):
        raise OptionError(
            f"kpt_oks_sigmas of {source} wants {wanted} positive numbers, found {str(values)[:200]}."
        )
    return tuple(map(float, known))


def _found(place: Path, source: Path) -> Path:
    if exists(place, source):
        return place
    raise InputError(
        f"{source} names {place}, which does not exist.",
        hint="A relative folder is looked for from `path` of the file, or from where the file lies.",
    )


def _names(said: Mapping[str, Any], path: Path, spec: ModelSpec) -> tuple[str, ...]:
    """The names of the classes; a file with only ``nc`` has as many as the model, with the model's names."""
    from deploykit_exporters.containers.labels import names_from

    names = said.get("names")
    if names is None:
        count = said.get("nc")
        if not isinstance(count, int):
            raise OptionError(f"{path} has neither names nor nc.")
        if not 0 <= count <= MOST_NAMES:
            raise OptionError(f"{path} says nc: {str(count)[:40]}, wanted 0 to {MOST_NAMES}.")
        return spec.classes if count == len(spec.classes) else tuple(map(str, range(count)))
    try:
        found = names_from(names)
    except OptionError as error:
        raise OptionError(f"names of {path}: {error.problem.removeprefix('--labels ')}") from error
    count = said.get("nc", len(found))
    if count != len(found):
        raise OptionError(f"{path} says nc: {count}, and names {len(found)} classes.")
    return found


def _keypoints(said: Mapping[str, Any], spec: ModelSpec, path: Path) -> tuple[int, int]:
    if spec.task != "pose":
        return 0, 0
    own, shape = spec.output.keypoints, said.get("kpt_shape")
    if not (isinstance(shape, list) and len(shape) == 2 and shape[1] in (2, 3)):
        raise OptionError(f"{path} wants kpt_shape, as [17, 3], found {shape!r}.")
    if shape[0] != own[0]:
        raise OptionError(f"{path} has {shape[0]} keypoints, the model has {own[0]}.")
    return int(shape[0]), int(shape[1])


def _pictures(place: Path) -> Iterable[Path]:
    if place.is_dir():
        return pictures_in(place)
    listed = [place.parent / line.strip() for line in read_lines(place)]
    for picture in listed:
        exists(picture, place)
    return listed
