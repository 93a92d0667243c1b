"""COCO's JSON: boxes, masks and keypoints in pixels, and categories by name."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError, OptionError

from deploykit.evaluation.data.classes import Matching, by_name, in_order
from deploykit.evaluation.data.coco_checks import check_annotation, check_images, numbered
from deploykit.evaluation.data.strangers import LARGEST_JSON, exists, is_exact, read_text
from deploykit.evaluation.data.truth import Dataset, Objects, Sample

__all__ = ["is_coco", "read_coco"]

_KEYS = ("images", "annotations", "categories")
_SHOWN = 8
_TASKS = ("detect", "segment", "pose")


def is_coco(content: object) -> bool:
    """Whether parsed JSON is a data set in COCO's form."""
    return isinstance(content, Mapping) and all(isinstance(content.get(key), list) for key in _KEYS)


def read_coco(path: Path, spec: ModelSpec, matching: Matching, images: Path | None) -> Dataset:
    """Read a data set in COCO's form.

    Args:
        path: The JSON file.
        spec: The model.
        matching: ``order`` takes the categories, sorted by their number, as the classes of the model;
            otherwise they are matched by name, in any order.
        images: The folder of the pictures; None: looked for next to the file.

    Raises:
        InputError: it is not such a file, an annotation is damaged, or the pictures are not there.
        OptionError: a category is not a class of the model, or COCO has no evaluation of its task.
    """
    content = _parsed(path)
    if spec.task not in _TASKS:
        raise OptionError(
            f"COCO evaluates boxes, masks and keypoints, and the model's task is {spec.task}.",
            hint="Evaluate it on an Ultralytics data.yaml." if spec.task == "obb" else "",
        )
    try:
        check_images(content["images"], path)
        classes = _classes(content["categories"], spec, matching, path)
        found = _annotations(content, spec, classes, path)
        ids = [image["id"] for image in content["images"]]
        content, notes = numbered(content)
        folder = images or _folder(path, content["images"])
        samples = tuple(
            Sample(
                path=_picture(folder, image, path),
                truth=_objects(image, found[given], spec, classes),
                number=image["id"],
            )
            for image, given in zip(content["images"], ids, strict=True)
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}.") from error
    if crowds := sum(bool(each.get("iscrowd")) for each in content["annotations"]):
        notes.append(f"{crowds} crowds count as COCO does: what lies in them is neither right nor wrong")
    return Dataset(
        source=path,
        kind="COCO",
        protocol="coco",
        samples=samples,
        categories={number: category for category, number in classes.items()},
        notes=tuple(notes),
        content=content,
    )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path, LARGEST_JSON))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error
    if not is_coco(content):
        found = ", ".join(list(content)[:8]) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path} wants COCO's images, annotations and categories, found {found}.")
    return dict(content)


def _classes(
    categories: Sequence[Mapping[str, Any]], spec: ModelSpec, matching: Matching, path: Path
) -> dict[int, int]:
    """Map COCO's categories to the classes of the model."""
    if vague := [each["id"] for each in categories if not is_exact(each["id"])]:
        raise InputError(f"{path} wants whole numbers as ids of categories, found {str(vague[0])[:60]!r}.")
    ordered = sorted(categories, key=lambda each: each["id"])
    names = [str(each["name"]) for each in ordered]
    for what, values in (("id", [each["id"] for each in ordered]), ("name", names)):
        if twice := [value for value, count in Counter(values).items() if count > 1]:
            raise InputError(f"Two categories of {path} have the {what} {twice[0]!r}.")
    if matching != "order" and spec.classes:
        found = by_name(names, spec, str(path))
    elif spec.num_classes and len(names) != spec.num_classes:
        found = in_order(names, spec, str(path))  # which says how the numbers differ
    else:
        found = {place: place for place in range(len(names))}
    return {int(each["id"]): found[place] for place, each in enumerate(ordered)}


def _annotations(
    content: Mapping[str, Any], spec: ModelSpec, classes: Mapping[int, int], path: Path
) -> Mapping[int, list[Mapping[str, Any]]]:
    """The annotations of each picture."""
    images = {image["id"]: image for image in content["images"]}
    found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for each in content["annotations"]:
        told = f"Annotation {each.get('id')} of {path}"
        if each["image_id"] not in images:
            raise InputError(f"{told} belongs to picture {each['image_id']}, which is not listed.")
        if each["category_id"] not in classes:
            raise OptionError(
                f"{told} has category {each['category_id']!r}, and the categories are {_listed(classes)}.",
                hint="The categories of the file and its annotations have to be of the same data set.",
            )
        check_annotation(each, images[each["image_id"]], spec.task, told)
        if spec.task == "pose" and len(each["keypoints"]) != 3 * spec.output.keypoints[0]:
            raise OptionError(
                f"{told} has {len(each['keypoints']) // 3} keypoints, the model has "
                f"{spec.output.keypoints[0]}."
            )
        found[each["image_id"]].append(each)
    return found


def _listed(ids: Iterable[int]) -> str:
    given = sorted(ids)
    shown = ", ".join(map(str, given[:_SHOWN]))
    return f"{shown} and {len(given) - _SHOWN} more" if len(given) > _SHOWN else shown or "none"


def _objects(
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    spec: ModelSpec,
    classes: Mapping[int, int],
) -> Objects:
    """The objects of a picture, without crowds, in fractions of its sides."""
    size = np.array([image["width"], image["height"]], np.float32)
    single = [each for each in annotations if not each.get("iscrowd")]
    boxes = np.array([each["bbox"] for each in single], np.float32).reshape(-1, 2, 2)
    boxes[:, 1] += boxes[:, 0]
    marks = None
    if spec.task == "pose":
        marks = np.array([each["keypoints"] for each in single], np.float32)
        marks = marks.reshape(-1, spec.output.keypoints[0], 3)
        marks[..., :2] /= size
    return Objects(
        size=(image["height"], image["width"]),
        class_ids=np.array([classes[each["category_id"]] for each in single], np.int64),
        boxes=(boxes / size).reshape(-1, 4),
        keypoints=marks,
    )


def _picture(folder: Path, image: Mapping[str, Any], source: Path) -> Path:
    picture = folder / str(image["file_name"])
    exists(picture, source)
    return picture


def _folder(path: Path, images: Sequence[Mapping[str, Any]]) -> Path:
    """The folder with the first picture, among the places where such files keep them."""
    if not images:
        raise InputError(f"{path} lists no pictures.")
    first, stem = str(images[0]["file_name"]), path.stem.removeprefix("instances_")
    stem = stem.removeprefix("person_keypoints_")
    parents = (path.parent, path.parent.parent)
    places = [parent / below for parent in parents for below in ("", "images", stem, f"images/{stem}")]
    for place in places:
        if exists(place / first, path) and (place / first).is_file():
            return place
    raise InputError(
        f"{first}, the first picture of {path}, is neither beside it nor in images/ or {stem}/ next to it.",
        hint="Name the folder of the pictures with --images.",
    )
