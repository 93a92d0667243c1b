"""Every argument of timm's constructors and every setting of its files, changed one at a time: the answers
are those of timm's own model and transform with that setting, or the checkpoint is refused."""

from __future__ import annotations

import dataclasses
import json
import shlex
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, OptionError, ParityError
from deploykit_runtimes.pixels.preprocess import preprocess
from PIL import Image
from safetensors.torch import save_file
from timm.models.efficientnet import EfficientNet
from timm.models.vision_transformer import VisionTransformer

VIT = {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}
MODELS: dict[str, dict[str, Any]] = {
    "vit_small_patch16_224": VIT,
    "vit_base_patch16_clip_quickgelu_224": VIT,
    "vit_medium_patch16_gap_256": VIT,
    "vit_base_patch16_siglip_224": VIT,
    "deit3_small_patch16_224": VIT,
    "deit_tiny_distilled_patch16_224": VIT,
    "efficientnet_b0": {},
    "tf_efficientnet_lite0": {},
}
# What the generators of EfficientNets take beside the arguments of the class.
GENERATOR = {
    "bn_eps": [1e-2],
    "bn_momentum": [0.3],
    "channel_multiplier": [0.5],
    "depth_multiplier": [1.4],
    "channel_divisor": [4],
    "group_size": [8],
}
LAYERS = ["relu", "gelu", "quick_gelu", "gelu_tanh", "silu", "hard_swish", "elu", "mish", "prelu"]
VALUES: dict[str, list[Any]] = {
    "act_layer": LAYERS,
    "norm_layer": ["layernorm", "layernorm2d", "rmsnorm", "groupnorm", "batchnorm2d"],
    "aa_layer": ["blurpc", "avg"],
    "se_layer": ["ese"],
    "pad_type": ["same", "symmetric", "valid"],
    "global_pool": ["", "token", "avg", "max", "avgmax", "map", "prr", "catavgmax", "fast"],
    "pos_embed": ["none", "learn"],
    "init_values": [1e-2],
    "fc_norm": [True, False],
    "reg_tokens": [4],
    "patch_size": [8, [8, 16]],
    "img_size": [96, [48, 64], [64, 32]],
    "num_heads": [6, 1, 4],
    "mlp_ratio": [2.0, 3.5],
    "embed_norm_layer": ["layernorm"],
    "in_chans": [1, 4],
    "output_stride": [16, 8],
    "num_classes": [1, 9, 0],
    "attn_layer": ["", "diff"],
    "stem_kernel_size": [5],
    "weight_init": ["jax"],
    "norm_eps": [0.1],
    "hedgehogs": [3],
    "features_only": [True],
    "pretrained_cfg_overlay": [{"mean": [0.1, 0.2, 0.3]}],
}
SKIPPED = {"self", "device", "dtype", "block_args", "round_chs_fn", "kwargs", "args"}


def arguments(name: str) -> dict[str, list[Any]]:
    """Each argument of a model's constructor with values that differ from its default."""
    kind = EfficientNet if "efficientnet" in name else VisionTransformer
    found: dict[str, list[Any]] = {"hedgehogs": [3], "features_only": [True]}
    for parameter in signature(kind.__init__).parameters.values():
        if parameter.name in SKIPPED:
            continue
        found[parameter.name] = VALUES.get(parameter.name, others(parameter))
    return found | (GENERATOR if kind is EfficientNet else {})


def others(parameter: Parameter) -> list[Any]:
    default = parameter.default
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, int):
        return [default + 1, default * 2]
    if isinstance(default, float):
        return [0.25]
    return ["hedgehog", None]


def disturbed(model: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.float().eval()


def built_from(path: Path, hints: Hints) -> BuiltModel | None:
    """The model; None where it is refused."""
    checkpoint = read_checkpoint(path)
    try:
        family, match = recognise(checkpoint, hints)
        return family.build(checkpoint, match, hints)
    except (CheckpointError, OptionError):
        return None


def outcome(built: BuiltModel | None, model: Any) -> str:
    """``equal``, ``refused`` or ``DIFFERENT``."""
    if built is None:
        return "refused"
    image = built.spec.input
    # In float64: what an untrained EfficientNet answers is rounding to a good part.
    images = torch.randn(2, image.channels, image.height, image.width, dtype=torch.float64)
    with torch.inference_mode():
        tokens = built.spec.task == "features"
        expected = (model.double().forward_features if tokens else model.double())(images)
        found = built.module.double()(images)
        found = found[0] if tokens else found
    return "equal" if found.shape == expected.shape and near(found, expected) else "DIFFERENT"


def near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


PLACES = [
    *((name, "model_kwargs") for name in MODELS),
    *(("vit_base_patch16_clip_quickgelu_224", "model_args"), ("efficientnet_b0", "model_args")),
]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_model_with_another_argument_is_equal_or_refused(tmp_path: Path, name: str, place: str) -> None:
    told: Counter[str] = Counter()
    different = []
    for key, values in arguments(name).items():
        for value in values:
            given = {**MODELS[name], key: value}
            try:
                model = disturbed(timm.create_model(name, **{"num_classes": 5, **given}))
                if isinstance(model, torch.nn.Module) and hasattr(model, "forward_features"):
                    image = given.get("img_size", 64)
                    sides = image if isinstance(image, list) else [image, image]
                    model(torch.randn(2, given.get("in_chans", 3), *sides))
            except Exception:  # noqa: BLE001 - timm itself has no such model
                told["impossible"] += 1
                continue
            size = Hints(imgsz=(64, 64)) if "efficientnet" in name else Hints()
            found = outcome(built_from(written(tmp_path, name, model, given, place), size), model)
            told[found] += 1
            if found == "DIFFERENT":
                different.append(f"{key} = {value!r}")
    assert different == []
    assert told["equal"] >= 15, told


def written(folder: Path, name: str, model: Any, given: Mapping[str, Any], place: str) -> Path:
    """The model as timm's training script writes it, or as timm publishes one."""
    weights = model.state_dict()
    if place == "model_kwargs":
        args = Namespace(model=name, model_kwargs=dict(given), interpolation="", mean=None)
        torch.save({"state_dict": weights, "arch": name, "args": args}, folder / "last.pth.tar")
        return folder / "last.pth.tar"
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "model.safetensors")
    config = {"architecture": name, "model_args": dict(given), "pretrained_cfg": {"interpolation": "bicubic"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


PREPROCESSING: dict[str, list[Any]] = {
    "mean": [[0.1, 0.2, 0.3], [0.4], (), None],
    "std": [[0.1, 0.2, 0.3], [0.4], None],
    "interpolation": ["bilinear", "nearest", "lanczos", "random", "", None],
    "crop_pct": [0.5, 1.0, None],
    "crop_mode": ["squash", "border", "center", "", None],
    "img_size": [96, None],
    "input_size": [[3, 96, 96], [3, 64, 96], None],
}


@pytest.mark.parametrize("place", ["args", "pretrained_cfg"])
@pytest.mark.parametrize("name", ["vit_small_patch16_224", "tf_efficientnet_lite0"])
def test_other_images_are_prepared_as_timm_does_or_refused(
    tmp_path: Path, photos: dict[str, np.ndarray], name: str, place: str
) -> None:
    told: Counter[str] = Counter()
    different = []
    for key, values in PREPROCESSING.items():
        for value in values:
            sides = (64, 64)
            if "size" in key and value:
                sides = (value, value) if isinstance(value, int) else tuple(value[1:])
            own = {"img_size": sides} if name.startswith("vit") else {}
            model = disturbed(timm.create_model(name, **{**MODELS[name], **own}))
            path = saved(tmp_path, name, model, own, {place: {key: value}})
            built = built_from(path, Hints() if "size" in key and value else Hints(imgsz=(64, 64)))
            if built is None:
                told["refused"] += 1
                continue
            found, _ = preprocess(photos["cat"], built.spec)
            expected = prepared(photos["cat"], model, place, {key: value}, (3, *sides))
            step = 1.01 * built.spec.preprocess.scale / min(built.spec.preprocess.std)
            same = found.shape == expected.shape and float(np.abs(found - expected).max()) <= step
            told["equal" if same else "DIFFERENT"] += 1
            if not same:
                different.append(f"{key} = {value!r}")
    assert different == []
    assert told["equal"] > 15, told


def saved(
    folder: Path, name: str, model: Any, own: Mapping[str, Any], said: Mapping[str, Mapping[str, Any]]
) -> Path:
    kwargs = {**MODELS[name], **own}
    if "args" in said:
        args = Namespace(model=name, model_kwargs=kwargs, **said["args"])
        torch.save({"state_dict": model.state_dict(), "arch": name, "args": args}, folder / "last.pth.tar")
        return folder / "last.pth.tar"
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": name, "model_args": kwargs, **said}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def prepared(
    image: np.ndarray, model: Any, place: str, said: dict[str, Any], size: tuple[int, ...]
) -> np.ndarray:
    """As timm's validation does it with these settings."""
    args = {"input_size": size, **(said if place == "args" else {})}
    told = place == "pretrained_cfg" and any(said[key] for key in said if "size" not in key)
    published = said if told else model.pretrained_cfg
    if args.get("input_size") is None:
        args["input_size"] = size
    if args.get("mean") == ():
        args["mean"] = None
    config = timm.data.resolve_data_config(args, pretrained_cfg={**published, "tag": ""})
    if config["interpolation"] == "random":
        config["interpolation"] = "bilinear"
    pixels: torch.Tensor = timm.data.create_transform(**config)(Image.fromarray(image))
    return pixels.numpy()


def test_a_grid_that_is_a_square_number_by_chance_is_that_of_imgsz() -> None:
    """24x40 patches and a class token are 961 positions, which are 31x31, too."""
    model = disturbed(timm.create_model("vit_small_patch16_224", **{**VIT, "img_size": (384, 640)}))
    built = described(model, Hints(imgsz=(384, 640), config={"num_heads": 3}))
    assert "trained at 384x640" in built.spec.recognised[0]
    assert outcome_of(built, model, (384, 640)) == "equal"
    square = described(model, Hints(config={"num_heads": 3}))
    assert any("496x496 images, assuming a square" in line for line in square.spec.assumed)


def described(model: Any, hints: Hints, **meta: Any) -> BuiltModel:
    checkpoint = Checkpoint(
        path=Path("weights.pth"), sha256="", container="torch", tensors=model.state_dict(), meta=meta
    )
    family, match = recognise(checkpoint, hints)
    return family.build(checkpoint, match, hints)


def outcome_of(built: BuiltModel, model: Any, size: tuple[int, int]) -> str:
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        expected, found = model(images), built.module(images)
    return "equal" if near(found, expected) else "DIFFERENT"


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


def built_by(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    family, match = recognise(checkpoint, Hints(**hints))
    return family.build(checkpoint, match, Hints(**hints))
