"""Architectures are read back from keys and shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from deploykit_exporters.families.crossformer import from_official as official
from deploykit_exporters.families.crossformer.family import VARIANTS
from deploykit_exporters.families.crossformer.network import CrossFormer, CrossFormerConfig
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(("facts", "name"), VARIANTS.items(), ids=VARIANTS.values())
def test_published_variants_are_read_from_keys_and_shapes(
    facts: tuple[int, tuple[int, ...], bool], name: str
) -> None:
    width, depths, plus = facts
    tensors, config = made(width, depths, plus=plus)
    found = official.architecture(tensors, official.attention_plan(tensors, None), features=False)
    assert found == config
    assert VARIANTS[found.widths[0], found.depths, any(found.cooling)] == name


@settings(deadline=None, max_examples=15)
@given(
    width=st.sampled_from([16, 32, 48]),
    depths=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    plus=st.booleans(),
    classes=st.integers(0, 12),
    kernels=st.sampled_from([(4,), (4, 8), (2, 4, 8)]),
    norm=st.booleans(),
    bias=st.booleans(),
)
def test_any_architecture_is_read_back(
    width: int,
    depths: tuple[int, ...],
    plus: bool,
    classes: int,
    kernels: tuple[int, ...],
    norm: bool,
    bias: bool,
) -> None:
    tensors, config = made(
        width,
        depths,
        plus=plus,
        num_classes=classes,
        embed_kernels=kernels,
        embed_norm=norm,
        qkv_bias=bias,
        groups=(3,) * len(depths),
        intervals=(2,) * len(depths),
    )
    plan = official.AttentionPlan(groups=config.groups, intervals=config.intervals, origin="", assumed=False)
    assert official.has_head(tensors) == bool(classes)
    assert official.architecture(tensors, plan, features=not classes) == config


def made(
    width: int, depths: tuple[int, ...], *, plus: bool, **settings: Any
) -> tuple[dict[str, torch.Tensor], CrossFormerConfig]:
    """Keys and shapes, without data, of a network of the official proportions."""
    widths = tuple(width << stage for stage in range(len(depths)))
    config = CrossFormerConfig(
        **{
            "widths": widths,
            "depths": depths,
            "heads": tuple(max(1, wide // 32) for wide in widths),
            "groups": (4, 4, 14, 7) if plus else (7, 7, 7, 7),
            "intervals": (4, 2, 1, 1) if plus else (8, 4, 2, 1),
            "cooling": tuple(tuple(range(2, depth - 1, 3)) if plus else () for depth in depths),
            "mlp_widths": tuple(4 * wide for wide in widths),
            "position_widths": tuple(wide // 16 for wide in widths),
            "merge_kernels": ((2, 4),) * (len(depths) - 1),
            **settings,
        }
    )
    with torch.device("meta"):
        return dict(CrossFormer(config).state_dict()), config
