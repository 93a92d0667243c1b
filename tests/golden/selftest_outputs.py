"""Outputs of engines, what golden cases kept of them, and how far the two are from each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from cpp_models import spec
from deploykit_runtimes.contract.metadata import spec_from_metadata, spec_to_metadata
from deploykit_runtimes.contract.spec import ModelSpec, OutputSpec
from deploykit_runtimes.selftest import bits
from deploykit_runtimes.selftest.cases import (
    Case,
    Kept,
    KeptRows,
    KeptValues,
    Slice,
    cases_from_keys,
    cases_to_keys,
)
from deploykit_runtimes.selftest.compare import differences
from deploykit_runtimes.selftest.measure import keep_rows, keep_values

__all__ = ["Block", "compared", "contract", "contract_keys", "listed", "tensor"]

FINE = {"fp32": (1e-5, 1e-6), "fp16": (0.05, 0.01)}
ROWS = {"fp32": (1e-4, 0.01, 0.02), "fp16": (0.05, 0.5, 0.5)}
Outputs = dict[str, np.ndarray]
Block = dict[str, str]


def listed(values: np.ndarray) -> str:
    return " ".join(map(str, np.asarray(values).reshape(-1).tolist()))


def tensor(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Values that every language makes alike, float64."""
    found = bits.random_numbers(seed, int(np.prod(shape))) >> np.uint64(40)
    return (found.astype(np.float64) / (1 << 24) - 0.5).reshape(shape)


def contract(layout: str, names: tuple[str, ...], task: str = "detect", **changes: object) -> ModelSpec:
    return spec(task, OutputSpec(names=names, layout=layout), classes=(), num_classes=5, **changes)


def contract_keys(model: ModelSpec) -> Block:
    keys = spec_to_metadata(model)
    assert spec_from_metadata(keys) == model
    return keys


def compared() -> Iterator[Block]:
    """Outputs, what was kept of them, and how far they are from it."""
    yield from _of_values()
    yield from _of_top_k()
    yield from _of_end2end()
    yield from _of_detections()


def _of_values() -> Iterator[Block]:
    model = contract("logits", ("logits",), "classify")
    right = {"logits": tensor((2, 5), 3).astype(np.float32)}
    parts = (
        Slice(output="logits", best=True),
        Slice(output="logits", axis=1, start=1, stop=3),
        Slice(output="logits", log=True),
    )
    near = {"logits": right["logits"] + np.float32(3e-6)}
    far = {"logits": right["logits"][:, ::-1].copy()}
    wrong = [near, far, {"logits": right["logits"].astype(np.float16)}, {"logits": right["logits"][:1]}]
    wrong += [{"logits": right["logits"][:, :2]}, {"other": right["logits"]}, {"logits": np.float32(1.0)}]
    for value in (np.nan, np.inf):
        holed = right["logits"].copy()
        holed[1, 2] = value
        wrong.append({"logits": holed})
    for part in parts:
        kept = replace(keep_values(right, part, 4), tolerances=FINE)
        for precision in FINE:
            yield from (_difference(model, kept, outputs, precision) for outputs in (right, *wrong))
    close = {"logits": np.array([[0.5, 0.5 + 8e-6, 0.1, 0, 0], [1, 0, 0, 0, 0]], np.float32)}
    kept = replace(keep_values(close, parts[0]), tolerances=FINE)
    other = {"logits": np.array([[0.5 + 8e-6, 0.5, 0.1, 0, 0], [0, 1, 0, 0, 0]], np.float32)}
    yield _difference(model, kept, other, "fp32")
    long = {"logits": tensor((1, 1100), 5).astype(np.float32)}
    kept = replace(keep_values(long, parts[0], 8), tolerances=FINE)
    swapped = long["logits"].copy()
    swapped[0, [3, 4]] = swapped[0, [4, 3]]
    yield from (_difference(model, kept, each, "fp32") for each in (long, {"logits": swapped}))
    whole = {"logits": np.arange(10).reshape(2, 5)}
    kept = replace(keep_values(whole, parts[0]), tolerances={"fp32": (0.0, 0.0)})
    for outputs in (whole, {"logits": whole["logits"].astype(np.uint8)}, {"logits": whole["logits"] + 1}):
        yield _difference(model, kept, outputs, "fp32")
    lost = KeptValues(part=replace(parts[1], start=-1), samples=np.ones(1), means=np.ones(1), tolerances=FINE)
    yield _difference(model, lost, right, "fp32")


def _of_top_k() -> Iterator[Block]:
    model = contract("top_k", ("probabilities", "classes"), "classify")
    right: Outputs = {
        "probabilities": np.array([[0.5, 0.25, 0.125], [0.75, 0.125, 0.0625]], np.float32),
        "classes": np.array([[3, 1, 4], [0, 2, 1]], np.int64),
    }
    yield from _changed(
        model,
        right,
        {"probabilities": right["probabilities"] * np.float32(1.0001)},
        {"probabilities": right["probabilities"][:, :, None]},
        {"probabilities": right["probabilities"][:1], "classes": right["classes"][:1]},
        {"classes": right["classes"] + 1},
        {"classes": np.array([[3, 4, 1], [0, 2, 1]], np.int32)},
        {"classes": right["classes"][:, :2]},
        {"probabilities": np.full((2, 3), np.nan, np.float32)},
    )


def _of_end2end() -> Iterator[Block]:
    model = contract("end2end", ("output0",))
    table = np.zeros((2, 6, 8), np.float32)
    table[..., :4] = tensor((2, 6, 4), 1) * 400 + 300
    table[..., 4] = np.linspace(0.9, 0.1, 12).reshape(2, 6)
    table[..., 5] = np.arange(12).reshape(2, 6) % 3
    table[..., 6:] = tensor((2, 6, 2), 2)

    def changed(place: tuple[int, int, int], value: float) -> Outputs:
        found = table.copy()
        found[place] = value
        return {"output0": found}

    yield from _changed(
        model,
        {"output0": table},
        {"output0": table + np.float32(1e-4) * (np.arange(8) < 4).astype(np.float32)},
        {"output0": table[:, ::-1].copy()},
        {"output0": table[:, :5]},
        {"output0": table[:, :0]},
        {"output0": table[:1]},
        {"output0": table[..., :7]},
        {"output0": table[..., :5]},
        {"output0": table[0]},
        changed((0, 1, 0), 900),
        changed((0, 1, 0), np.nan),
        changed((0, 1, 0), np.inf),
        changed((0, 1, 4), np.nan),
        changed((0, 5, 4), np.nan),
        changed((0, 1, 4), 0.05),
        changed((1, 2, 5), 9),
        changed((1, 2, 7), 1),
    )


def _of_detections() -> Iterator[Block]:
    names = ("boxes", "scores", "classes", "count")
    model = contract("detections", (*names, "keypoints", "mask_coefficients", "masks"))
    right: Outputs = {
        "boxes": (tensor((2, 4, 4), 1) * 60 + 40).astype(np.float32),
        "scores": np.array([[0.9, 0.6, 0.4, 0], [0.8, 0, 0, 0]], np.float32),
        "classes": np.array([[1, 0, 1, -1], [2, -1, -1, -1]], np.int64),
        "count": np.array([3, 1], np.int64),
        "keypoints": (tensor((2, 4, 2, 3), 2) * 9).astype(np.float32),
        "mask_coefficients": tensor((2, 4, 2), 3).astype(np.float32),
        "masks": (tensor((2, 4, 3, 5), 4) > 0).astype(np.uint8),
    }
    moved = right["boxes"] + np.float32(0.005)
    yield from _changed(
        model,
        right,
        {"boxes": moved},
        {"boxes": right["boxes"][..., :3]},
        {"boxes": right["boxes"][0]},
        {"count": np.array([2, 1], np.int32)},
        {"count": np.array([5, 1], np.int64)},
        {"count": np.array([-1, 1], np.int64)},
        {"count": np.array([3, 1], np.float32)},
        {"masks": 1 - right["masks"]},
        {"masks": right["masks"][..., ::-1]},
        {"masks": np.roll(right["masks"], 1, axis=2)},
        {"masks": right["masks"][0]},
        {"keypoints": right["keypoints"][:1]},
        {"mask_coefficients": right["mask_coefficients"] * 2},
        {"scores": right["scores"][:, :3]},
        {"scores": right["scores"] * np.float32(0.98)},
    )
    bare = {name: right[name] for name in names}
    yield from _changed(
        replace(model, output=OutputSpec(names=names, layout="detections")), bare, {"boxes": moved}
    )
    rotated = np.concatenate([right["boxes"], tensor((2, 4, 1), 9)], 2).astype(np.float32)
    centre, half, angle = rotated[..., :2], rotated[..., 2:4] / 2, rotated[..., 4:]
    cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    reach = half[..., :1] * np.concatenate([cos, sin], 2) + half[..., 1:] * np.concatenate([sin, cos], 2)
    upright = np.concatenate([centre - reach, centre + reach], 2)
    turned = {**bare, "rotated_boxes": rotated, "boxes": upright}
    model = contract("detections", ("rotated_boxes", *names), "obb")
    beyond = upright.copy()
    beyond[0, 3] = np.nan  # behind the last detection
    yield from _changed(
        model,
        turned,
        {"rotated_boxes": rotated * np.float32(1.001)},
        {"boxes": upright + np.float32(0.5)},
        {"boxes": upright * np.float32(np.nan)},
        {"boxes": upright[..., :3]},
        {"boxes": beyond},
    )


def _changed(model: ModelSpec, right: Outputs, *changes: Outputs) -> Iterator[Block]:
    kept = replace(keep_rows(right, model), tolerances=ROWS)
    for precision in ROWS:
        for change in ({}, *changes):
            yield _difference(model, kept, {**right, **change}, precision)


def _difference(model: ModelSpec, kept: Kept, outputs: Outputs, precision: str) -> Block:
    batch = len(kept.cuts) if isinstance(kept, KeptRows) else max(1, len(kept.best))
    case = Case(picture=None, batch=batch, height=8, width=8, stage="tensor", kept=(kept,))
    block = {"kind": "difference", **contract_keys(model), **cases_to_keys((case,)), "precision": precision}
    for index, (name, values) in enumerate(outputs.items()):
        sides = "x".join(map(str, values.shape)) or "-"
        block[f"output.{index}"] = f"{name} {values.dtype} {sides} {listed(values)}"
    (read,) = cases_from_keys(block)[0].kept
    found = differences(
        {name: np.asarray(values) for name, values in outputs.items()}, read, model, precision
    )
    fields = ("part", "found", "allowed", "scale", "agreed", "answers", "ok")
    return {**block, **{name: str(getattr(found, name)) for name in fields}, "output": found.output}
