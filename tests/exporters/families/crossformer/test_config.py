"""Every setting of the official CrossFormer configuration: followed, harmless, or refused by its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.crossformer.family import FAMILY
from deploykit_runtimes.errors import CheckpointError

OWN: dict[str, Any] = {"GROUP_SIZE": [7, 7, 7, 7], "INTERVAL": [8, 4, 2, 1]}
CHANGED: dict[str, Any] = {
    "EMBED_DIM": 20,
    "DEPTHS": [1, 2, 2, 3],
    "NUM_HEADS": [2, 2, 4, 8],
    "PATCH_SIZE": [4, 8],
    "MERGE_SIZE": [[2], [2], [2]],
    "IN_CHANS": 1,
    "GROUP_TYPE": "linear",
    "USE_CPE": True,
    "APE": True,
    "QK_SCALE": 0.5,
    "PAD_TYPE": 1,
    "NO_MASK": True,
    "HEDGEHOGS": 3,
}


@pytest.fixture(scope="module")
def checkpoint(golden: Path) -> Checkpoint:
    return read_checkpoint(golden / "crossformer" / "crossformer.pth")


def build(
    checkpoint: Checkpoint, cros: dict[str, Any], ignore: tuple[str, ...] = (), **model: Any
) -> BuiltModel:
    config = {"MODEL": {"CROS": {**OWN, **cros}, **model}}
    match = FAMILY.match(checkpoint)
    assert match is not None
    return FAMILY.build(dataclasses.replace(checkpoint, meta={"config": config}), match, Hints(ignore=ignore))


@pytest.mark.parametrize("name", CHANGED)
def test_what_does_not_agree_or_is_not_known_is_refused_by_its_name(
    checkpoint: Checkpoint, name: str
) -> None:
    with pytest.raises(CheckpointError, match=name):
        build(checkpoint, {name: CHANGED[name]})


def test_what_agrees_with_the_weights_is_listed(checkpoint: Checkpoint) -> None:
    built = build(checkpoint, {"MLP_RATIO": [4.0] * 4, "APE": False}, TYPE="cross-scale", DROP_RATE=0.1)
    treatments = {setting.path: setting.treatment for setting in built.settings}
    assert treatments["MODEL.CROS:GROUP_SIZE"] == treatments["MODEL.CROS:APE"] == "honoured"
    assert treatments["MODEL.CROS:MLP_RATIO"] == treatments["MODEL:DROP_RATE"] == "harmless"


def test_another_type_of_model_is_refused_and_can_be_ignored(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="TYPE = 'swin'"):
        build(checkpoint, {}, TYPE="swin")
    built = build(checkpoint, {"HEDGEHOGS": 3}, ignore=("MODEL.CROS:HEDGEHOGS", "MODEL:TYPE"), TYPE="swin")
    assert {"HEDGEHOGS", "TYPE"} <= {one.name for one in built.settings if one.treatment == "ignored"}
