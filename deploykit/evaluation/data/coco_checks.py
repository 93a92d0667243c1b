"""Checks for what COCO's own evaluation would accept and silently misread.

Two pictures with one id, boxes without a side, outlines of two points, masks of the wrong size: each is an
error that names the picture or annotation. Anything that can be inferred without doubt is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.errors import InputError

from deploykit.evaluation.data.strangers import is_exact

__all__ = ["check_annotation", "check_images", "numbered"]

Entry = Mapping[str, Any]

_LONGEST = 2_000_000
"""Pixels along an outline, for each of which COCO's evaluation takes 40 bytes."""
_MOST_BITS = 60
_LARGEST = 1e15
_LARGEST_SIDE = 1_000_000


def check_images(images: Sequence[Entry], path: Path) -> None:
    """Check that each picture has an id of its own, a file and a size.

    Raises:
        InputError: a picture lacks one of these.
    """
    seen = set()
    for place, image in enumerate(images, start=1):
        told = f"Picture {place} of {path}"
        lacking = [key for key in ("id", "file_name", "width", "height") if image.get(key) is None]
        if lacking:
            raise InputError(f"{told}, {image.get('file_name')!r}, has no {' and no '.join(lacking)}.")
        sides = [image["width"], image["height"]]
        if not all(_is_number(side) and 1 <= side <= _LARGEST_SIDE for side in sides):
            found = ", ".join(str(side)[:60] for side in sides)
            raise InputError(f"{told} wants a width and a height, found {found}.")
        if not (isinstance(image["id"], str) or is_exact(image["id"])):
            raise InputError(f"{told} wants a whole number as its id, found {str(image['id'])[:60]!r}.")
        if image["id"] in seen:
            raise InputError(f"{told} has the same id as one before it, {image['id']!r}.")
        seen.add(image["id"])


def check_annotation(each: Entry, image: Entry, task: str, told: str) -> None:
    """Check that an annotation has the box, outline or keypoints that the task needs, in finite numbers.

    Args:
        each: The annotation.
        image: Its picture.
        task: ``detect``, ``segment`` or ``pose``.
        told: Its name in errors.

    Raises:
        InputError: one is missing or not finite.
    """
    box: Any = each.get("bbox")
    # COCO's own data have a few boxes with a side of 0.
    if not _are_numbers(box, least=4) or len(box) != 4 or min(box[2:]) < 0:
        raise InputError(f"{told} wants a bbox [x, y, width, height], found {box}.")
    x, y, width, height = box
    if x > image["width"] or y > image["height"] or x + width < 0 or y + height < 0:
        size = f"{image['width']}x{image['height']} (width x height)"
        raise InputError(f"{told} has its bbox [x, y, width, height] {box} outside of its picture, {size}.")
    wanted = {"segment": "segmentation", "pose": "keypoints"}.get(task)
    if wanted and not each.get(wanted):
        raise InputError(f"{told} has no {wanted}, and the model's task is {task}.")
    if each.get("iscrowd") not in (None, False, True):
        raise InputError(f"{told} wants an iscrowd of 0 or 1, found {str(each['iscrowd'])[:60]!r}.")
    if not isinstance(each.get("num_keypoints", 0), int):
        raise InputError(f"{told} wants a num_keypoints of how many are labelled.")
    area = each.get("area")
    if area is None and task == "pose":
        raise InputError(f"{told} has no area, which COCO needs to measure keypoints.")
    if area is not None and not (_is_number(area) and area >= 0):
        raise InputError(f"{told} wants an area in pixels, found {area}.")
    if task == "pose" and not _are_numbers(each["keypoints"], least=3):
        raise InputError(f"{told} wants keypoints [x, y, visibility, ...], found {each['keypoints']}.")
    if task == "segment":
        _check_outline(each["segmentation"], image, told)


def _check_outline(outline: Any, image: Entry, told: str) -> None:
    if isinstance(outline, Mapping):
        size = [image["height"], image["width"]]
        if list(outline.get("size", ())) != size:
            raise InputError(f"{told} has a mask of {outline.get('size')}, its picture is {size}.")
        _check_runs(outline.get("counts"), image, told)
        return
    for polygon in outline if isinstance(outline, list) else [outline]:
        if not _are_numbers(polygon, least=6) or len(polygon) % 2:
            raise InputError(
                f"{told} wants polygons [x1, y1, x2, y2, x3, y3, ...] of three points or more, "
                f"found {str(polygon)[:60]}."
            )
        if (length := _length(polygon)) > _LONGEST:
            raise InputError(
                f"{told} has an outline of {length:.3g} pixels, wanted at most {_LONGEST}.",
                hint="COCO's evaluation takes memory for each of them.",
            )


def _length(polygon: Sequence[float]) -> float:
    """Of a closed outline, in pixels, as its longer sides."""
    points = np.array(polygon, np.float64).reshape(-1, 2)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.nan_to_num(np.abs(points - np.roll(points, 1, 0)).max(1).sum(), nan=np.inf))


def _check_runs(counts: object, image: Entry, told: str) -> None:
    """A mask's runs, plain or as COCO packs them into text, cover its picture and nothing else.

    Raises:
        InputError: they do not, or are something else.
    """
    area = int(image["width"]) * int(image["height"])
    if isinstance(counts, str):
        runs = _unpacked(counts)
    else:
        runs = counts if isinstance(counts, list) and all(type(each) is int for each in counts) else None
    if runs is None or min(runs, default=0) < 0 or sum(runs) > area:
        raise InputError(f"{told} has a mask whose runs are not those of a picture of {area} pixels.")


def _unpacked(text: str) -> list[int] | None:
    """Runs from groups of 5 bits, each a difference to the run two before it; None: it is something else."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > _MOST_BITS:
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs


def numbered(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The same content, with ids that COCO's evaluation can tell apart, and every field that it reads.

    COCO's evaluation records matches by annotation id: an annotation with id 0 never matches, and of
    several with one id only the last counts.

    Returns:
        The content, and what the reader has to know, in sentences.
    """
    notes = []
    images, annotations = content["images"], content["annotations"]
    ids = [each.get("id") for each in annotations]
    sound = all(isinstance(each, str) or is_exact(each) for each in ids)
    if not sound or 0 in ids or len(set(ids)) < len(ids):
        notes.append("annotations are numbered anew: COCO's evaluation wants ids above 0, each of them once")
    if bare := sum(each.get("area") is None for each in annotations):
        notes.append(f"{bare} annotations have no area: numbers by size go by their boxes")
    places = {image["id"]: place for place, image in enumerate(images, start=1)}
    if not all(type(image["id"]) is int for image in images):
        images = [{**image, "id": places[image["id"]]} for image in images]
        annotations = [{**each, "image_id": places[each["image_id"]]} for each in annotations]
    annotations = [_completed(each, number) for number, each in enumerate(annotations, start=1)]
    return {**content, "images": images, "annotations": annotations}, notes


def _completed(each: Entry, number: int) -> dict[str, Any]:
    added: dict[str, Any] = {"id": number}
    if each.get("area") is None:
        added["area"] = each["bbox"][2] * each["bbox"][3]
    if "keypoints" in each and "num_keypoints" not in each:
        added["num_keypoints"] = sum(flag > 0 for flag in each["keypoints"][2::3])
    return {**each, **added}


def _is_number(value: object) -> bool:
    """Whether it is a number that a picture can have, in pixels."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _are_numbers(values: object, *, least: int) -> bool:
    return isinstance(values, list) and len(values) >= least and all(map(_is_number, values))
