"""Golden outputs against ours: which belongs to which, and how far they are apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.runner import Runner

from deploykit_exporters import record
from deploykit_exporters.families.base import OutputGroup
from deploykit_exporters.golden.file import GoldenCase, GoldenOutput
from deploykit_exporters.proof.float64 import Outputs
from deploykit_exporters.proof.tensors import compare, difference

__all__ = ["distance", "infer", "pair_outputs", "recorded_images"]


def pair_outputs(case: GoldenCase, ours: Outputs) -> dict[str, GoldenOutput]:
    """The golden output for each of ours: of the same name and shape, else the first of the shape."""
    left = list(case.outputs)
    pairs = {}
    for name, values in ours.items():
        fitting = [one for one in left if one.shape == values.shape]
        best = next(
            (one for one in fitting if one.name.rpartition(".")[2] == name), next(iter(fitting), None)
        )
        if best is not None:
            left = [one for one in left if one is not best]
            pairs[name] = best
    return pairs


def distance(golden: GoldenOutput, found: np.ndarray, group: OutputGroup) -> float:
    """Largest difference of a group's values, as a share of the largest value of our output.

    Args:
        golden: Some of the values of an output.
        found: Our output, whole.

    Raises:
        OptionError: they cannot be compared.
    """
    if group.kind == "detections":
        if len(golden.values) != golden.size:
            raise OptionError(
                f"The golden answers hold a part of {golden.name} {list(golden.shape)}, and detections are "
                "compared as a whole.",
                hint="Export with --head one-to-many and record that head.",
            )
        return compare(golden.values.reshape(golden.shape), found, group).max_rel
    inside = np.ones(found.shape, bool)
    if group.axis is not None:
        inside[...] = False
        inside[(slice(None),) * group.axis + (slice(group.start, group.stop),)] = True
    kept = record.places(golden.size, len(golden.values))
    ours = found[inside]
    finite = np.abs(ours[np.isfinite(ours)])
    scale = max(group.floor, float(finite.max()) if finite.size else 0.0)
    chosen = inside.ravel()[kept]
    return difference(golden.values[chosen], found.ravel()[kept][chosen], scale).max_rel


def recorded_images(case: GoldenCase, name: str) -> np.ndarray:
    """The images of a case, float32 [N, C, H, W].

    Args:
        name: Of the file.

    Raises:
        OptionError: they are not those that were recorded.
    """
    images = record.make_images(case.recipe) if case.recipe is not None else case.stored
    if images is None or hashlib.sha256(np.ascontiguousarray(images).data).hexdigest() != case.sha256:
        raise OptionError(
            f"--golden {name} cannot be used: the images of its case {case.name!r} are not those that were "
            "recorded.",
            hint="It is damaged, or was recorded by another version of deploykit: record it again.",
        )
    return images


def infer(candidate: Runner, images: np.ndarray) -> Outputs | None:
    """What a file answers, in batches of its size; None where it takes another size."""
    tensor = candidate.spec.input
    sides = zip(("height", "width"), images.shape[2:], (tensor.height, tensor.width), strict=True)
    if any(side != size and side not in tensor.dynamic.get(axis, ()) for axis, side, size in sides):
        return None
    count = len(images) if "batch" in tensor.dynamic else tensor.batch
    parts: list[Mapping[str, np.ndarray]] = []
    for start in range(0, len(images), count):
        part = images[start : start + count]
        filled = np.concatenate([part, np.repeat(part[-1:], count - len(part), axis=0)])
        found = candidate.infer({tensor.name: filled})
        parts.append({name: values[: len(part)] for name, values in found.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
