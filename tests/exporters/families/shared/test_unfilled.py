"""Networks without weights are those of their constructors, but for the weights."""

from __future__ import annotations

import pytest
import timm
import torch
from deploykit_exporters.families.shared.unfilled import unfilled


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "beit_base_patch16_224", "efficientnet_b0"])
def test_shapes_are_those_of_the_constructor(name: str) -> None:
    with torch.device("meta"):
        wanted = timm.create_model(name, pretrained=False)
    with unfilled():
        found = timm.create_model(name, pretrained=False)
    shapes = [
        {key: (value.shape, value.dtype, value.device) for key, value in model.state_dict().items()}
        for model in (wanted, found)
    ]
    assert shapes[0] == shapes[1]
    assert repr(wanted) == repr(found)


def test_tensors_with_memory_are_filled() -> None:
    kept = torch.zeros(3)
    with unfilled():
        kept.add_(1).mul_(2)
        assert torch.ones(3).mul_(2).is_meta
    assert kept.tolist() == [2, 2, 2]
    assert torch.zeros(3).fill_(5).tolist() == [5, 5, 5]
