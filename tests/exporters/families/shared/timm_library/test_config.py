"""Every argument of timm's constructors and every setting of its files, changed one at a time: the answers
are those of timm's own model and transform with that setting, or the checkpoint is refused."""

from __future__ import annotations

import dataclasses
import json
import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, OptionError, ParityError
from timm_models import MODELS, VIT, built_by, described, disturbed, outcome, outcome_of


def test_a_grid_that_is_a_square_number_by_chance_is_that_of_imgsz() -> None:
    """24x40 patches and a class token are 961 positions, which are 31x31, too."""
    model = disturbed(timm.create_model("vit_small_patch16_224", **{**VIT, "img_size": (384, 640)}))
    built = described(model, Hints(imgsz=(384, 640), config={"num_heads": 3}))
    assert "trained at 384x640" in built.spec.recognised[0]
    assert outcome_of(built, model, (384, 640)) == "equal"
    square = described(model, Hints(config={"num_heads": 3}))
    assert any("496x496 images, assuming a square" in line for line in square.spec.assumed)


@pytest.mark.parametrize(
    ("meta", "hints", "problem"),
    [
        ({"arch": "vit_small_patch16_rope_ape_224"}, {}, "not those of timm's vit_small_patch16_rope_ape"),
        ({"arch": "beit_base_patch16_224"}, {}, "not those of timm's beit_base_patch16_224"),
        ({}, {"variant": "vit_small_patch16_rope_ape_224"}, "not those of timm's vit_small_patch16_rope_a"),
        ({"args": Namespace(model="mine", model_kwargs={"num_heads": 6})}, {}, "num_heads = 6, and nothing"),
        (
            {"arch": "vit_small_patch16_224", "args": Namespace(model="vit_base_patch16_224")},
            {},
            r"two names .*: vit_small_patch16_224 \(arch\) and vit_base_patch16_224 \(args\)",
        ),
        (
            {"args": Namespace(model="vit_small_patch16_224", model_kwargs={"depth": 3})},
            {},
            "model_kwargs says depth = 3; the weights have 2",
        ),
        (
            {"args": Namespace(model="vit_small_patch16_224", model_kwargs={"act_layer": torch.nn.ReLU})},
            {},
            "act_layer = an object",
        ),
        (
            {"args": Namespace(model="vit_small_patch16_224", model_kwargs={"depth": 10**12})},
            {},
            "depth = 1000000000000, which no vit_small_patch16_224 has",
        ),
        (
            {},
            {"config": {"global_pool": "hedgehog"}},
            "global_pool = 'hedgehog'; wanted one of token, avg",
        ),
    ],
)
def test_what_is_not_a_plain_vit_or_not_these_weights_is_refused_by_name(
    meta: dict[str, Any], hints: dict[str, Any], problem: str
) -> None:
    model = disturbed(timm.create_model("vit_small_patch16_224", **VIT))
    with pytest.raises((CheckpointError, OptionError), match=problem):
        described(model, Hints(**hints), **meta)


def test_a_named_model_of_other_sizes_keeps_what_its_name_tells() -> None:
    model = disturbed(timm.create_model("vit_base_patch16_clip_quickgelu_224", **{**VIT, "num_heads": 12}))
    built = described(
        model, Hints(), args=Namespace(model="vit_base_patch16_clip_quickgelu_224", img_size=64)
    )
    assert outcome_of(built, model, (64, 64)) == "equal"
    assert built.spec.preprocess.mean == model.pretrained_cfg["mean"]
    assert "48 channels instead of 768, 2 blocks instead of 12" in built.spec.assumed[0]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("features", [False, True], ids=["head", "features"])
def test_timm_itself_is_the_witness_of_a_named_model(name: str, *, features: bool) -> None:
    model = disturbed(timm.create_model(name, **{"num_classes": 5, **MODELS[name]}))
    args = Namespace(model=name, model_kwargs=MODELS[name], mean=[0.4, 0.5, 0.6])
    built = described(model, Hints(features=features), args=args)
    told = ask_witness(built, built.spec)
    assert told.startswith(f"timm {timm.__version__}: network within")
    assert "of the pixels equal on a photo" in told
    other = described(
        model, Hints(features=features, config={"eps": 0.1} if "vit" in name else {}), args=args
    )
    with torch.no_grad():
        parameter = next(iter(other.module.parameters()))
        parameter.data = 1.1 * parameter  # The checkpoint's own stays.
    with pytest.raises(ParityError, match="read this checkpoint differently"):
        ask_witness(other, other.spec)


def test_without_a_name_there_is_no_witness() -> None:
    model = disturbed(timm.create_model("vit_small_patch16_224", **VIT))
    built = described(model, Hints(config={"num_heads": 3}))
    assert ask_witness(built, built.spec) == "none: the file does not say which model of timm it is"


def test_a_file_is_never_loaded_and_nothing_is_fetched(tmp_path: Path) -> None:
    """``checkpoint_path`` and ``pretrained`` of a file are not given to timm."""
    kwargs = {**VIT, "checkpoint_path": str(tmp_path / "other.pth"), "pretrained": True, "cache_dir": "/"}
    model = disturbed(timm.create_model("vit_small_patch16_224", **VIT))
    built = described(model, Hints(), args=Namespace(model="vit_small_patch16_224", model_kwargs=kwargs))
    assert outcome_of(built, model, (64, 64)) == "equal"
    harmless = {setting.name for setting in built.settings if setting.treatment == "harmless"}
    assert {"checkpoint_path", "pretrained", "cache_dir"} <= harmless


@pytest.mark.parametrize(
    ("name", "has", "says", "sizes"),
    [
        ("vit_small_patch16_224", {"qk_norm": True}, {}, VIT),
        ("vit_small_patch16_224", {"init_values": 1e-5}, {"num_heads": 3}, VIT),
        ("vit_small_patch16_224", {"pre_norm": True}, {}, VIT),
        ("vit_small_patch16_224", {"qkv_bias": False}, {}, VIT),
        ("vit_small_patch16_224", {}, {"qk_norm": True}, VIT),
        ("vit_small_patch16_224", {}, {"init_values": 0.1}, VIT),
        ("deit3_small_patch16_224", {}, {"qkv_bias": False}, VIT),
        ("efficientnet_b0", {}, {"group_size": 8, "bn_eps": 1e-5}, {}),
    ],
    ids=str,
)
def test_the_hint_mends_arguments_of_which_one_is_missing_or_wrong(
    name: str, has: dict[str, Any], says: dict[str, Any], sizes: dict[str, Any]
) -> None:
    model = disturbed(timm.create_model(name, **sizes, **has, num_classes=3))
    args = Namespace(model=name, model_kwargs={**sizes, **says})
    with pytest.raises(CheckpointError, match="The weights are not those of timm's") as error:
        described(model, Hints(), args=args)
    hint = str(error.value.hint)
    if has:
        assert f"perhaps {next(iter(has))}; " in hint
        given = json.loads(shlex.split(hint.partition("--config ")[2])[0].removesuffix("."))
        hints = Hints(config=given)
    else:
        assert "--config" not in hint
        hints = Hints(ignore=(hint.partition("--ignore ")[2],))
    assert outcome(described(model, hints, args=args), model) == "equal"


def test_an_argument_that_timm_does_not_take_is_named() -> None:
    model = disturbed(timm.create_model("efficientnet_b0", num_classes=3))
    args = Namespace(model="efficientnet_b0", model_kwargs={"channel_multiplier": 1.4})
    with pytest.raises(CheckpointError, match="timm builds no efficientnet_b0 with") as error:
        described(model, Hints(), args=args)
    assert str(error.value.hint).endswith("--ignore channel_multiplier")


def test_a_setting_whose_value_nobody_knows_is_named() -> None:
    model = disturbed(timm.create_model("vit_small_patch16_224", **VIT, mlp_ratio=3.0))
    args = Namespace(model="vit_small_patch16_224", model_kwargs=VIT)
    with pytest.raises(CheckpointError, match="are not those") as error:
        described(model, Hints(), args=args)
    assert "perhaps mlp_ratio; all of them can be given: --config" in str(error.value.hint)
    given = {"model": "vit_small_patch16_224", "model_kwargs": {**VIT, "mlp_ratio": 3.0}}
    built = described(model, Hints(config=given), args=args)
    assert outcome_of(built, model, (64, 64)) == "equal"


def test_an_ignored_setting_is_not_followed() -> None:
    model = disturbed(timm.create_model("vit_small_patch16_224", **VIT))
    args = Namespace(model="vit_small_patch16_224", model_kwargs={**VIT, "num_heads": 6})
    built = described(model, Hints(ignore=("model_kwargs:num_heads",), config={"num_heads": 3}), args=args)
    assert outcome_of(built, model, (64, 64)) == "equal"


def test_the_arguments_that_timm_writes_beside_its_files_can_be_given() -> None:
    """``train.py`` writes args.yaml; weights alone and that file are the whole checkpoint."""
    model = disturbed(timm.create_model("vit_small_patch16_224", **{**VIT, "num_heads": 6}))
    told = {
        "model": "vit_small_patch16_224",
        "model_kwargs": {**VIT, "num_heads": 6},
        "mean": [0.1, 0.2, 0.3],
    }
    built = described(model, Hints(config={**told, "lr": 0.1}))
    assert outcome_of(built, model, (64, 64)) == "equal"
    assert (built.spec.variant, built.spec.preprocess.mean) == ("vit_small_patch16_224", (0.1, 0.2, 0.3))
    assert {setting.name: setting.treatment for setting in built.settings}["lr"] == "harmless"


@pytest.mark.parametrize("name", ["vit_small_patch16_224", "efficientnet_b0"])
def test_a_mistyped_setting_is_not_passed_over(name: str) -> None:
    model = timm.create_model(name, **MODELS[name])
    with pytest.raises(OptionError, match="'crop_pcd', which is not one of") as error:
        described(model, Hints(config={"crop_pcd": 0.9}))
    assert error.value.hint == "Did you mean crop_pct?"


def test_names_that_are_not_as_many_as_the_classes_are_left_out_with_a_word() -> None:
    model = disturbed(timm.create_model("vit_small_patch16_224", **{**VIT, "num_classes": 3}))
    config = {"architecture": "vit_small_patch16_224", "model_args": VIT, "label_names": ["bee", "ant"]}
    built = described(model, Hints(), config=config)
    assert built.spec.classes == ()
    assert "The file names 2 classes, the model has 3: the names are left out." in built.spec.assumed


def test_a_library_that_does_not_take_the_weights_is_one_clear_error() -> None:
    model = disturbed(timm.create_model("vit_small_patch16_224", **VIT))
    built = described(model, Hints(config={"num_heads": 3}))

    def witness() -> str:
        model.load_state_dict({"hedgehog": torch.zeros(1)}, strict=True)
        return "not reached"

    with pytest.raises(ParityError, match=r"does not take these weights: .*Missing key") as error:
        ask_witness(dataclasses.replace(built, witness=witness), built.spec)
    assert "--no-witness" in error.value.hint


PLACES_OF_ONES_OWN: list[dict[str, Any]] = [
    {"hyper_parameters": {"num_heads": 6}},
    {"cfg": {"model": {"num_heads": 6}}},
    {"opt": Namespace(num_heads=6)},
    {"config": {"num_heads": 6}},
    {"num_heads": 6},
    {"args": {"num_heads": 6}},
]


@pytest.mark.parametrize("meta", PLACES_OF_ONES_OWN, ids=str)
def test_settings_at_any_place_are_not_passed_over(tmp_path: Path, meta: dict[str, Any]) -> None:
    model = disturbed(timm.create_model("vit_small_patch16_224", **{**VIT, "num_heads": 6, "num_classes": 5}))
    torch.save({"state_dict": model.state_dict(), **meta}, tmp_path / "mine.pth")
    checkpoint = read_checkpoint(tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=r"num_heads = 6 .*; deploykit would build 1") as error:
        built_by(checkpoint)
    assert "--config '{\"num_heads\": 6}'" in error.value.hint
    assert outcome_of(built_by(checkpoint, config={"num_heads": 6}), model, (64, 64)) == "equal"
    ignored = error.value.hint.rpartition("--ignore ")[2]
    assert built_by(checkpoint, ignore=(ignored,)).spec.num_classes == 5


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"act_layer": "relu"}, "act_layer = 'relu'"),
        ({"act_layer": torch.nn.ReLU}, "act_layer = 'ReLU'"),
        ({"global_pool": True}, "global_pool = 'avg'"),
        ({"norm_eps": 1e-5}, "norm_eps = 1e-05"),
        ({"act_layer": torch.nn.GELU, "global_pool": False, "norm_eps": 1e-6, "eps": 0.1}, ""),
    ],
)
def test_what_agrees_passes_and_what_does_not_is_named(
    tmp_path: Path, told: dict[str, Any], problem: str
) -> None:
    model = disturbed(timm.create_model("vit_small_patch16_224", **VIT))
    settings = {**told, "num_heads": 3}
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": settings}, tmp_path / "mine.ckpt")
    checkpoint = read_checkpoint(tmp_path / "mine.ckpt")
    if not problem:
        assert outcome_of(built_by(checkpoint, config={"num_heads": 3}), model, (64, 64)) == "equal"
        return
    with pytest.raises(CheckpointError, match=problem):
        built_by(checkpoint, config={"num_heads": 3})
