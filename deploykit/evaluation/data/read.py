"""Labelled pictures in any form, chosen by what was given."""

from __future__ import annotations

from pathlib import Path

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError, OptionError

from deploykit.evaluation.data.classes import Matching
from deploykit.evaluation.data.coco import read_coco
from deploykit.evaluation.data.folder import read_class_folders
from deploykit.evaluation.data.table import read_class_list
from deploykit.evaluation.data.truth import Dataset
from deploykit.evaluation.data.yolo import read_data_yaml, read_picture_list

__all__ = ["read_dataset"]

_FORMS = (
    "Wanted a folder of class folders, a list (.csv, .txt), Ultralytics' data.yaml, or COCO's JSON; "
    "docs/eval.md shows each."
)


def read_dataset(
    path: Path,
    spec: ModelSpec,
    *,
    matching: Matching = "exact",
    split: str = "val",
    images: Path | None = None,
    unlabelled: bool = False,
) -> Dataset:
    """Read labelled pictures for a model.

    Args:
        path: A folder of class folders; a list (.csv, .tsv, .txt); a data.yaml, or the folder with it; COCO's
            JSON.
        spec: The model.
        matching: See ``Matching``.
        split: Which split of a data set that has several.
        images: The folder of COCO's pictures; None: looked for next to the file.
        unlabelled: A picture without a label file has no objects.

    Raises:
        InputError: it cannot be read, or holds no pictures.
        OptionError: its classes contradict the model's, or it is for another task than the model's.
    """
    if spec.task == "features":
        raise OptionError(
            "The model gives feature maps, which no labels measure.", hint="Export it with its head."
        )
    if not path.exists():
        raise InputError(f"{path} does not exist.", hint=_FORMS)
    suffix = path.suffix.lower()
    if images is not None and suffix != ".json":
        raise OptionError(f"--images is for COCO's JSON, found {path}.")
    if path.is_dir():
        files = [file for name in ("data.yaml", "data.yml") if (file := path / name).is_file()]
        if files:
            return read_data_yaml(files[0], spec, matching, split, unlabelled=unlabelled)
        _check_task(spec, path)
        found = read_class_folders(path, spec, matching, split)
    elif suffix in (".yaml", ".yml"):
        found = read_data_yaml(path, spec, matching, split, unlabelled=unlabelled)
    elif suffix == ".json":
        found = read_coco(path, spec, matching, images)
    elif suffix == ".txt" and spec.task != "classify":
        found = read_picture_list(path, spec, unlabelled=unlabelled)
    elif suffix in (".csv", ".tsv", ".txt"):
        _check_task(spec, path)
        found = read_class_list(path, spec, matching)
    else:
        raise InputError(f"{path} is not a data set that eval reads.", hint=_FORMS)
    if not found.samples:
        raise InputError(f"{path} holds no pictures.", hint=_FORMS)
    return found


def _check_task(spec: ModelSpec, path: Path) -> None:
    if spec.task != "classify":
        raise OptionError(
            f"{path} tells the class of each picture, and the model's task is {spec.task}.",
            hint="Give Ultralytics' data.yaml, or COCO's JSON.",
        )
