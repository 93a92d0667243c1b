"""Damaged and hostile weights in every origin's form: an error that names them, and nothing else."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.efficientnet.family import FAMILY
from deploykit_runtimes.errors import CheckpointError
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[3] / "fixtures"
Weights = dict[str, torch.Tensor]
QUICK = settings(max_examples=25, deadline=None)


def torchvision_narrow() -> Weights:
    from torchvision.models import efficientnet as library

    settings_of = ((1, 3, 1, 8, 8), (6, 3, 2, 8, 8), (6, 5, 2, 8, 8), (6, 3, 2, 8, 16))
    later = ((6, 5, 1, 16, 16), (6, 5, 2, 16, 24), (6, 3, 1, 24, 32))
    blocks = [library.MBConvConfig(*row, 1) for row in (*settings_of, *later)]
    weights: Weights = library.EfficientNet(blocks, 0.0, num_classes=3).state_dict()
    return weights


def lukemelas_narrow() -> Weights:
    from efficientnet_pytorch import EfficientNet

    network = EfficientNet.from_name(
        "efficientnet-b0", width_coefficient=0.1, depth_coefficient=0.3, num_classes=3
    )
    weights: Weights = network.state_dict()
    return weights


def timm_narrow() -> Weights:
    from timm.models.efficientnet import _gen_efficientnet

    network = _gen_efficientnet("efficientnet_b0", 0.1, 0.3, num_classes=3)
    weights: Weights = network.state_dict()
    return weights


def from_file(name: str) -> Weights:
    return dict(read_checkpoint(FIXTURES / name).tensors)


MAKERS = {
    "timm": timm_narrow,
    "torchvision": torchvision_narrow,
    "lukemelas": lukemelas_narrow,
    "mmpretrain": partial(from_file, "mmpretrain_efficientnet_em.pth"),
    "keras": partial(from_file, "keras_efficientnet.h5"),
}


@cache
def weights_of(origin: str) -> Weights:
    return MAKERS[origin]()


def build(weights: Weights) -> str:
    """The origin; empty for weights that are not taken for an EfficientNet."""
    checkpoint = Checkpoint(path=Path("weights.bin"), sha256="", container="torch", tensors=weights)
    match = FAMILY.match(checkpoint)
    if match is None:
        return ""
    FAMILY.build(checkpoint, match, Hints())
    return match.origin


@pytest.mark.parametrize("origin", MAKERS)
def test_narrow_networks_are_built(origin: str) -> None:
    assert build(weights_of(origin)) == origin


@pytest.mark.parametrize("origin", MAKERS)
@QUICK
@given(data=st.data())
def test_a_missing_weight_is_named(origin: str, data: st.DataObject) -> None:
    tensors = weights_of(origin)
    essential = [key for key in tensors if not key.endswith("num_batches_tracked")]
    lost = data.draw(st.sampled_from(essential))
    try:
        found = build({key: value for key, value in tensors.items() if key != lost})
    except CheckpointError as error:
        # Without its last convolution a block's structure is read differently, so other keys are named.
        layer = lost.rpartition("/")[0] or lost.rpartition(".")[0]
        assert layer in str(error) or tensors[lost].ndim > 1
    else:
        assert found == ""


@pytest.mark.parametrize("origin", MAKERS)
@QUICK
@given(
    data=st.data(),
    shape=st.lists(st.integers(0, 9), max_size=5),
    name=st.text("blocks.0123_features/:weight", max_size=30),
)
def test_misshapen_and_foreign_weights_are_refused(
    origin: str, data: st.DataObject, shape: list[int], name: str
) -> None:
    tensors = weights_of(origin)
    essential = [key for key in tensors if not key.endswith("num_batches_tracked")]
    key = data.draw(st.sampled_from(essential))
    for changed in ({**tensors, key: torch.zeros(shape)}, {**tensors, name: torch.zeros(shape)}):
        same = all(key in tensors and changed[key].shape == tensors[key].shape for key in changed)
        try:
            assert build(changed) == "" or same
        except CheckpointError:
            assert not same


@pytest.mark.parametrize("origin", MAKERS)
def test_blocks_with_huge_numbers_are_refused(origin: str) -> None:
    tensors = weights_of(origin)
    names = {
        "timm": "blocks.{}.0.conv_pwl.weight",
        "torchvision": "features.{}.0.block.0.0.weight",
        "lukemelas": "_blocks.{}._bn1.weight",
        "mmpretrain": "backbone.layers.{}.0.conv1.conv.weight",
        "keras": "block{}a_bn/gamma:0",
    }
    more = {names[origin].format(10**index): torch.zeros(1) for index in range(2, 12)}
    try:
        assert build({**tensors, **more}) == ""
    except CheckpointError:
        return
