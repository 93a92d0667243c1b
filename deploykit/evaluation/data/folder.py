"""A folder of class folders: each folder's name is the class of the pictures in it."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.listing import SUFFIXES, natural_order

from deploykit.evaluation.data.classes import Matching, by_name, in_order
from deploykit.evaluation.data.files import other_files, pictures_in
from deploykit.evaluation.data.truth import Dataset, Sample

__all__ = ["read_class_folders"]

_SPLITS = ("train", "val", "valid", "validation", "test")


def read_class_folders(folder: Path, spec: ModelSpec, matching: Matching, split: str) -> Dataset:
    """Read a folder of class folders.

    Args:
        folder: A folder of class folders, or of splits: ``split``, ``val`` or ``test``.
        spec: The model, a classifier.
        matching: ``order`` takes the sorted folders as the classes of the model; otherwise they are matched
            by name.
        split: The split to take if there are several.

    Raises:
        InputError: there are no class folders, or no pictures in them.
        OptionError: they are not the model's classes.
    """
    root = _split_of(folder, split)
    classes = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        loose = any(entry.suffix.lower() in SUFFIXES for entry in root.iterdir())
        raise InputError(
            f"Wanted a folder for each class in {root}, found {'only pictures' if loose else 'none'}.",
            hint="A list with a picture and its class on each line is read too, such as labels.csv.",
        )
    pictures = {entry.name: _pictures(entry) for entry in classes}
    found = {name: paths for name, paths in pictures.items() if paths}
    if not found:
        raise InputError(f"The {len(classes)} folders of {root} hold no pictures.")
    names = list(pictures if matching == "order" else found)
    numbers = (in_order if matching == "order" or not spec.classes else by_name)(names, spec, str(root))
    notes = [f"{name} is an empty folder" for name in pictures if name not in found][:3]
    notes += other_files(classes)
    if not spec.classes:
        notes.append("the model names no classes: the folders are taken in sorted order")
    elif len(found) < len(spec.classes):
        notes.append(f"{len(spec.classes) - len(found)} of {len(spec.classes)} classes have no pictures")
    place_of = {name: place for place, name in enumerate(names)}
    places = [(path, numbers[place_of[name]]) for name, paths in found.items() for path in paths]
    samples = tuple(
        Sample(path=path, truth=truth, number=number) for number, (path, truth) in enumerate(places)
    )
    kind = "class folders" if root == folder else f"class folders of {root.name}"
    called = {number: names[place] for place, number in numbers.items()}
    return Dataset(
        source=folder,
        kind=kind,
        protocol="classify",
        samples=samples,
        names=tuple(called[number] for number in sorted(called)),
        notes=tuple(notes),
    )


def _split_of(folder: Path, split: str) -> Path:
    inside = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    if not inside or not inside <= set(_SPLITS):
        return folder
    for name in dict.fromkeys((split, "val", "valid", "validation", "test")):
        if name in inside:
            return folder / name
    raise InputError(
        f"{folder} holds {', '.join(sorted(inside))}, and none of {split}, val and test.",
        hint="Name the split with --split.",
    )


def _pictures(folder: Path) -> list[Path]:
    return sorted(pictures_in(folder), key=natural_order)
