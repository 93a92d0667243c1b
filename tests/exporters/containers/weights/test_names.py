"""Names of weights, cleaned of wrappers and seen under prefixes."""

from __future__ import annotations

import pytest
import torch
from deploykit_exporters.containers.weights.names import clean_names, strip_wrappers
from deploykit_exporters.state_views import prefix_views
from hypothesis import given
from hypothesis import strategies as st

PLAIN = ["conv.weight", "blocks.0.norm.weight", "head.bias"]


@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        "module.{}",
        "_orig_mod.{}",
        "module._orig_mod.{}",
        "_orig_mod.module.{}",
        "module.module.{}",
        "_fsdp_wrapped_module.{}",
        "_fsdp_wrapped_module._checkpoint_wrapped_module.{}",
    ],
)
def test_wrappers_leave_no_trace(wrap: str) -> None:
    names = [wrap.format(name) for name in PLAIN]
    assert clean_names(names) == dict(zip(names, PLAIN, strict=True))


@pytest.mark.parametrize("outer", ["model", "student", "model.backbone"])
def test_wrappers_inside_a_lightning_module(outer: str) -> None:
    names = [f"{outer}.module._orig_mod.{name}" for name in PLAIN]
    assert list(clean_names([*names, "criterion.weight"]).values()) == [
        *(f"{outer}.{name}" for name in PLAIN),
        "criterion.weight",
    ]


def test_artefacts_in_the_middle() -> None:
    names = ["blocks.0._orig_mod.fc.weight", "blocks.1._checkpoint_wrapped_module.fc.weight"]
    assert list(clean_names(names).values()) == ["blocks.0.fc.weight", "blocks.1.fc.weight"]


def test_a_real_module_named_module_stays() -> None:
    names = ["module.weight", "head.weight", "blocks.0.module.weight", "blocks.0.norm.weight"]
    assert list(clean_names(names).values()) == names


def test_counters_and_copies_are_left_out() -> None:
    names = ["module.a.weight", "n_averaged", "module.b.weight"]
    assert list(clean_names(names).values()) == ["a.weight", "b.weight"]
    mmcv = ["backbone.conv.weight", "ema_backbone_conv_weight", "ema_other"]
    assert list(clean_names(mmcv).values()) == ["backbone.conv.weight", "ema_other"]


def test_names_that_would_collide_are_left() -> None:
    names = ["a._orig_mod.weight", "a.weight"]
    assert list(clean_names(names).values()) == names


@given(st.lists(st.text("ab.m", min_size=1, max_size=12), unique=True, max_size=12))
def test_no_tensor_is_lost(names: list[str]) -> None:
    tensors = {name: torch.tensor(index) for index, name in enumerate(names)}
    assert sorted(map(int, strip_wrappers(tensors).values())) == list(range(len(names)))


def prefixes(*names: str) -> list[str]:
    return [view.prefix for view in prefix_views({name: torch.zeros(1) for name in names})]


def test_views_of_usual_wrappers() -> None:
    assert prefixes("conv.weight", "blocks.0.weight", "blocks.1.weight") == [""]
    assert prefixes("model.conv.weight", "model.head.bias", "criterion.weight") == ["", "model."]
    assert prefixes("model.backbone.conv.weight", "model.head.bias") == ["", "model.", "model.backbone."]
    assert prefixes("backbone.conv.weight", "head.bias") == ["", "backbone."]
    assert prefixes("model.0.conv.weight", "model.1.conv.weight") == ["", "model."]


def test_averaged_copies_come_first() -> None:
    assert prefixes("model.a.weight", "model.b.weight", "ema.a.weight")[:2] == ["", "ema."]


def test_views_of_a_name_of_their_own() -> None:
    assert prefixes("classification_net.conv.weight", "classification_net.head.bias", "loss.weight") == [
        "",
        "classification_net.",
    ]


def test_a_view_holds_its_own_keys_only() -> None:
    tensors = {"model.a.weight": torch.ones(1), "model.b.bias": torch.ones(1), "other.c": torch.ones(1)}
    whole, view = prefix_views(tensors)
    assert whole.tensors is tensors
    assert list(view.tensors) == ["a.weight", "b.bias"]
