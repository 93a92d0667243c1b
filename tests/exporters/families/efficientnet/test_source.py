"""Reading the structure of an EfficientNet from shapes, and the names of variants and keys."""

from __future__ import annotations

import pytest
import timm
import torch
from deploykit_exporters.families.efficientnet import from_timm as efficientnet_timm
from deploykit_exporters.families.efficientnet.names import (
    compound_name,
    name_in_file,
    native_size,
    parse_compound,
)
from deploykit_exporters.families.efficientnet.source import generation, read_plan, split_stages
from deploykit_exporters.families.efficientnet.tensorflow_trained.training import tensorflow_evaluation
from deploykit_runtimes.errors import CheckpointError
from hypothesis import given
from hypothesis import strategies as st

COMPOUNDS = {
    **{f"efficientnet_b{index}": f"b{index}" for index in range(9)},
    **{f"efficientnet_lite{index}": f"lite{index}" for index in range(5)},
    **{f"efficientnetv2_{size}": f"v2_{size}" for size in ("s", "m", "l", "xl", "rw_t", "rw_s", "rw_m")},
    **{f"tf_efficientnetv2_b{index}": f"v2_b{index}" for index in range(4)},
    **{f"efficientnet_{size}": size for size in ("es", "em", "el", "l2")},
}
# They share timm's key names with EfficientNet.
OTHERS = [
    *("mnasnet_100", "mnasnet_small", "semnasnet_100", "mobilenetv2_100", "mobilenetv1_100", "fbnetc_100"),
    *("spnasnet_100", "mixnet_s", "mobilenetv3_large_100", "mobilenetv3_small_100", "lcnet_050"),
    *("mobilenetv4_conv_small", "mobilenet_edgetpu_100", "mobilenet_edgetpu_v2_m", "hardcorenas_a"),
    *("fbnetv3_b", "efficientnet_x_b3", "efficientnet_h_b5"),
]


def shapes_of(name: str, **settings: object) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        tensors: dict[str, torch.Tensor] = timm.create_model(name, **settings).state_dict()
    return tensors


@pytest.mark.parametrize("name", COMPOUNDS)
def test_every_published_variant_has_its_name(name: str) -> None:
    tensors = shapes_of(name)
    plan = read_plan(tensors, padding="same", eps=1e-3)
    assert compound_name(plan) == COMPOUNDS[name] == parse_compound(name)
    headless = {key: value for key, value in tensors.items() if key.startswith(("conv_stem", "blocks"))}
    nearest = compound_name(read_plan(headless, padding="same", eps=1e-3))
    assert nearest == COMPOUNDS[name].replace("rw_s", "s")
    assert native_size(COMPOUNDS[name]) >= 224


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_of_the_same_keys_are_not_taken(name: str) -> None:
    assert not efficientnet_timm.matches(shapes_of(name))


def test_activation_is_told_by_what_a_network_lacks() -> None:
    found = {
        name: read_plan(shapes_of(name), padding="same", eps=1e-3).activation
        for name in ("efficientnet_b0", "efficientnet_lite0", "efficientnet_es", "efficientnetv2_rw_t")
    }
    assert list(found.values()) == ["silu", "relu6", "relu", "silu"]


def test_a_pruned_network_is_read_block_by_block() -> None:
    plan = read_plan(shapes_of("efficientnet_b1_pruned"), padding="same", eps=1e-3)
    assert compound_name(plan) == ""
    assert len({block.middle for stage in plan.stages for block in stage}) > 10


def test_parse_compound_in_every_origins_spelling() -> None:
    names = {
        "EfficientNetB7": "b7",
        "efficientnet-lite0": "lite0",
        "efficientnet_v2_s": "v2_s",
        "efficientnetv2-b3": "v2_b3",
        "tf_efficientnetv2_xl.in21k": "v2_xl",
        "tf_efficientnet_b0_ns-c0e6a31c": "b0",
        "efficientnet": "",
        "efficientnet_small": "",
        "resnet50": "",
    }
    assert {name: parse_compound(name) for name in names} == names


def test_gaps_and_foreign_stages_are_refused() -> None:
    tensors = shapes_of("efficientnet_b0")
    gap = {key: value for key, value in tensors.items() if not key.startswith("blocks.2.0.")}
    with pytest.raises(CheckpointError, match="numbered without gaps"):
        read_plan(gap, padding="same", eps=1e-3)
    short = {key: value for key, value in tensors.items() if not key.startswith("blocks.6.")}
    with pytest.raises(CheckpointError, match=r"3-3-5-3-5-5-3.*found 3-3-5-3-5-5\."):
        read_plan(short, padding="same", eps=1e-3)
    conditional = shapes_of("efficientnet_cc_b0_4e")
    with pytest.raises(CheckpointError, match=r"a convolution blocks\.4\.0\.conv_dw\.weight, found \(4, "):
        read_plan(conditional, padding="same", eps=1e-3)
    assert generation({}) is None


@given(
    keys=st.dictionaries(
        st.sampled_from(["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.0.conv_pwl.weight"])
        | st.from_regex(r"blocks\.\d{1,20}\.\d\.(conv|se\.conv_reduce)\.weight", fullmatch=True),
        st.lists(st.integers(0, 3), max_size=5),
        max_size=6,
    )
)
def test_any_shapes_are_read_or_refused(keys: dict[str, list[int]]) -> None:
    tensors = {key: torch.zeros(shape) for key, shape in keys.items()}
    with pytest.raises(CheckpointError):
        read_plan(tensors, padding="same", eps=1e-3)


def test_split_stages_at_every_change() -> None:
    blocks: list[tuple[int, ...]] = [(8, 3, 0), (8, 3, 1), (8, 3, 1), (8, 5, 1), (16, 5, 1)]
    assert split_stages(blocks) == [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]
    assert split_stages([]) == []


def test_missing_keys_are_named_as_the_file_would() -> None:
    names = {
        "bn1.weight": "_bn0.weight",
        "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "blocks.0.0.bn1.weight": "_blocks.0._bn1.weight",
        "blocks.1.0.conv_pwl.weight": "_blocks.1._project_conv.weight",
        "blocks.1.0.bn2.weight": "_blocks.1._bn1.weight",
        "blocks.1.0.bn2.running_mean": "_blocks.1._bn1.running_mean",
        "blocks.1.1.conv_pwl.weight": "_blocks.2._project_conv.weight",
    }
    assert name_in_file(names, "bn1.weight") == "_bn0.weight"
    assert name_in_file(names, "bn1.running_mean") == "_bn0.running_mean"
    assert name_in_file(names, "blocks.1.1.bn2.weight") == "_blocks.2._bn1.weight"
    assert name_in_file(names, "classifier.bias") == "classifier.bias"


def test_tensorflow_evaluation() -> None:
    plain = tensorflow_evaluation("b0", None).build((224, 224))
    assert (plain.pre_crop, plain.resize, plain.resize_to) == (224 / 256, "stretch", (224, 224))
    assert plain.mean == (0.485, 0.456, 0.406)
    assert tensorflow_evaluation("b8", None).build((672, 672)).mean == (0.5, 0.5, 0.5)
    lite = tensorflow_evaluation("lite0", None).build((224, 224))
    assert (lite.mean[0] * 255, lite.std[0] * 255) == pytest.approx((127, 128))
    advprop = tensorflow_evaluation("b0", {"advprop": True})
    assert advprop.told_by == "--config"
    assert advprop.build((300, 300)).std == (0.5, 0.5, 0.5)
    asked = tensorflow_evaluation("b0", {"mean": [0, 0, 0]}).build((240, 240))
    assert (asked.mean, asked.std) == ((0, 0, 0), (0.229, 0.224, 0.225))
