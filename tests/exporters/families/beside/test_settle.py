"""What training code of one's own leaves in a file: the usual passes, what is of another network does not."""

from __future__ import annotations

import json
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.crossformer.network import CrossFormer, CrossFormerConfig
from deploykit_runtimes.errors import CheckpointError
from torch import nn
from torchvision.transforms import CenterCrop, Compose, Normalize, RandomResizedCrop, Resize, ToTensor
from training_files import built_by, built_with, networks, vit

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

EVERYDAY: dict[str, dict[str, Any]] = {
    "lightning": {
        "hyper_parameters": {
            "lr": 3e-4,
            "weight_decay": 0.05,
            "num_classes": 5,
            "batch_size": 64,
            "max_epochs": 30,
            "model_name": "my_net",
            "dropout": 0.1,
            "drop_path_rate": 0.1,
            "label_smoothing": 0.1,
            "mixup": 0.8,
            "mixup_alpha": 0.2,
            "cutmix": 1.0,
            "class_weights": [1.0, 2.0, 1.0, 0.5, 1.0],
            "freeze_backbone": True,
            "warmup_epochs": 5,
            "seed": 42,
            "num_workers": 8,
            "pretrained": True,
            "optimizer": {"name": "adamw", "eps": 1e-8, "betas": [0.9, 0.999], "lr": 1e-3},
            "scheduler": "cosine",
            "gradient_clip_val": 1.0,
            "precision": "16-mixed",
            "devices": 2,
            "data_dir": "/data/flowers",
            "log_dir": "runs",
            "experiment_name": "a",
            "monitor": "val_loss",
        },
        "epoch": 29,
        "global_step": 4711,
        "pytorch-lightning_version": "2.4.0",
        "hparams_name": "kwargs",
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"EarlyStopping": {"patience": 3, "stopped_epoch": 0}},
        "lr_schedulers": [{"base_lrs": [1e-3], "step_size": 30, "gamma": 0.1}],
    },
    "argparse": {
        "opt": Namespace(
            lr=0.01,
            momentum=0.9,
            wd=1e-4,
            epochs=90,
            bs=256,
            workers=4,
            gpu=0,
            data="/data",
            outdir="out",
            resume="",
            amp=True,
            clip_grad_norm=5.0,
            adam_eps=1e-8,
            opt_eps=1e-8,
            max_norm=5.0,
            grad_norm=1.0,
            smoothing=0.1,
            aa="rand-m9-mstd0.5",
            reprob=0.25,
            color_jitter=0.4,
            random_crop=32,
            hflip=0.5,
            val_split=0.2,
            test_size=0.2,
            train_size=0.8,
            fold=3,
            step_size=30,
        ),
        "best_acc": 0.93,
        "epoch": 17,
        "class_to_idx": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4},
        "history": {"train_loss": [1.0, 0.5], "val_acc": [0.4, 0.9], "mean": [0.1, 0.2, 0.3]},
    },
    "nested": {
        "cfg": {
            "model": {
                "name": "custom",
                "num_classes": 5,
                "dropout": 0.2,
                "hidden_dim": 256,
                "pretrained": True,
            },
            "data": {"root": "/data", "batch_size": 32, "img_size": 64, "num_workers": 4, "val_frac": 0.1},
            "train": {"epochs": 10, "lr": 1e-3, "loss": {"name": "focal", "gamma": 2.0, "eps": 1e-7}},
            "augment": {"crop": 0.8, "mean": 0.2, "size": 96, "interpolation": "nearest"},
            "logger": {"project": "flowers", "entity": "me", "tags": ["a"]},
            "trainer": {"accelerator": "gpu", "precision": 16, "log_every_n_steps": 50},
        },
        "version": "1.0",
        "date": "2025-01-01",
    },
    "scores": {
        "config": {"image_mean": MEAN, "image_std": STD, "img_size": 64, "activation_checkpointing": False},
        "metrics": {"mean": 0.8, "std": 0.1, "mAP": 0.5},
        "loss_fn": "cross_entropy",
        "norm_loss": 0.1,
        "mean_accuracy": 0.7,
        "hedgehogs": 3,
        "antialias": True,
        "qk_norm": False,
        "smoothing_window": 10,
    },
}


@pytest.mark.parametrize("network", networks())
@pytest.mark.parametrize("code", EVERYDAY)
def test_everyday_settings_are_listed_and_refuse_nothing(tmp_path: Path, network: str, code: str) -> None:
    options = {"config": {"interpolation": "bicubic", "mean": MEAN, "std": STD}} if network == "vit" else {}
    built = built_with(networks()[network], EVERYDAY[code], tmp_path, **options)
    assert built.spec.num_classes == 5
    assert len([note for note in built.notes if note.startswith("Unknown settings")]) <= 1
    listed = {one.path: one for one in built.settings}
    for name, value in EVERYDAY[code].items():
        if isinstance(value, int | float | str) and not name.startswith("lr_sched"):
            assert f"checkpoint:{name}" in listed, name
    if code == "lightning":
        assert listed["hyper_parameters:lr"].treatment == "harmless"
        assert not any("not known" in note for note in built.notes)
    if code == "scores":
        assert listed["config:image_mean"].why == "as built"
        assert listed["checkpoint:hedgehogs"].treatment == "unknown"
        assert any("checkpoint:hedgehogs" in note for note in built.notes)


def transform(*steps: Any) -> Compose:
    return Compose(list(steps))


OTHER: list[tuple[dict[str, Any], str]] = [
    ({"pooling": "max"}, "pooling = 'max' .*deploykit would build token"),
    ({"pool_type": "gap"}, "pool_type = 'gap'"),
    ({"use_mean_pooling": True}, "use_mean_pooling = 'avg'"),
    ({"norm_eps": 1e-5}, "norm_eps = 1e-05 .*deploykit would build 1e-06"),
    ({"layernorm_epsilon": 1e-5}, "layernorm_epsilon = 1e-05"),
    ({"act": "relu"}, "act = 'relu' .*deploykit would build gelu"),
    ({"activationFn": "nn.SiLU"}, "activationFn"),
    ({"act_fn": torch.nn.ReLU}, "act_fn = 'ReLU'"),
    ({"n_heads": 4}, "n_heads = 4 .*deploykit would build 2"),
    ({"nHeads": 4}, "nHeads = 4"),
    ({"nhead": 4}, "nhead = 4"),
    ({"attention_heads": 4}, "attention_heads = 4"),
    ({"dim_head": 32}, "dim_head = 32 .*deploykit would build 64"),
    ({"image_mean": [0.1, 0.2, 0.3]}, "image_mean"),
    ({"normalize": {"mean": [0.1, 0.2, 0.3], "std": STD}}, "mean = "),
    ({"pixel_std": [1.0, 1.0, 1.0]}, "pixel_std"),
    ({"dataset_std": np.float64(0.31), "data_mean": 0.2}, "data_mean|dataset_std"),
    ({"normalization": "minmax"}, "normalization = 'minmax'"),
    ({"crop_ratio": 0.5}, "crop_ratio = 0.5"),
    ({"center_crop": False}, "center_crop = False .*deploykit would build True"),
    ({"interp": "nearest"}, "interp = 'nearest'"),
    ({"resample": 0}, "resample = 0"),
    ({"image_size": 96}, "image_size = 96 .*deploykit would build 64x64"),
    ({"resolution": [128, 128]}, "resolution"),
    ({"patch_stride": 8}, "patch_stride = 8"),
    ({"norm_layer": "rmsnorm"}, "norm_layer = 'rmsnorm' .*deploykit would build layernorm"),
    ({"norm_first": False}, "norm_first = False"),
    ({"position_embedding": "rope"}, "position_embedding = 'rope'"),
    ({"qk_scale": 0.5}, "qk_scale = 0.5"),
    ({"color_space": "BGR"}, "color_space = 'BGR'"),
    ({"bgr": True}, "bgr = True"),
    ({"letterbox": True}, "letterbox = True"),
    ({"final_activation": "tanh"}, "final_activation = 'tanh'"),
    ({"use_cls_token": False}, "use_cls_token = False .*deploykit would build token"),
    ({"cls_token": False}, "cls_token = False .*deploykit would build a class token"),
    ({"no_class_token": True}, "no_class_token = True"),
    ({"use_patch_tokens": True}, "use_patch_tokens = True"),
    ({"h": 4}, "h = 4 .*deploykit would build 2"),
    ({"nh": 4}, "nh = 4"),
    ({"feature_layer": 0}, "feature_layer = 0"),
    ({"n_last_blocks": 4}, "n_last_blocks = 4"),
    ({"window_size": 2}, "window_size = 2 .*the whole image"),
    ({"attn_type": "linear"}, "attn_type = 'linear'"),
    ({"parallel_blocks": True}, "parallel_blocks = True"),
    ({"overlap": True}, "overlap = True .*do not overlap"),
    ({"stride": 8}, "stride = 8"),
    ({"STRIDE_SIZE": [8, 8]}, "STRIDE_SIZE = .8, 8."),
    ({"pool": ["cls", "mean"]}, "pool = .'cls', 'mean'. .*deploykit would build token"),
    ({"quick_gelu": True}, "quick_gelu = True .*deploykit would build gelu"),
    ({"use_relu6": True}, "use_relu6 = True"),
    ({"head_type": "cosine"}, "head_type = 'cosine'"),
    ({"head": {"type": "ArcFace"}}, "type = 'ArcFace'"),
    ({"norm": {"eps": 1e-3}}, "eps = 0.001"),
    ({"normalize_features": True}, "normalize_features = True"),
    ({"gem_p": 3.0}, "gem_p = 3.0"),
    ({"grayscale": True}, "grayscale = True .*deploykit would build rgb"),
    ({"color": "BGR"}, "color = 'BGR'"),
    ({"div255": False}, "div255 = False"),
    ({"invert": True}, "invert = True"),
    ({"pad_to_square": True}, "pad_to_square = True"),
    ({"use_rope": True}, "use_rope = True"),
    (
        {"norm_layer": partial(torch.nn.LayerNorm, eps=1e-3)},
        r"norm_layer\.eps = 0.001 .*deploykit would build 1e-06",
    ),
    ({"norm_cfg": {"type": "LN", "eps": 1e-3}}, r"norm_cfg\.eps = 0.001"),
    ({"num_heads": {"value": 4, "desc": None}}, "num_heads = 4"),
    ({"config": json.dumps({"num_heads": 4})}, r"num_heads = 4 \(.*config\)"),
    ({"cfg": "lr: 0.1\nmodel:\n  num_heads: 4\n"}, r"num_heads = 4 \(.*cfg\.model\)"),
    ({"transform": transform(Resize(80, 3), CenterCrop(64), ToTensor())}, r"Resize\.size = 80"),
    ({"transform": transform(ToTensor(), Normalize([0.1] * 3, [0.5] * 3))}, r"Normalize\.mean = \[0.1"),
]


@pytest.mark.parametrize(("told", "problem"), OTHER, ids=str)
def test_what_differs_from_what_was_built_is_named_with_what_settles_it(
    tmp_path: Path, told: dict[str, Any], problem: str
) -> None:
    model = vit()
    for place in ({"hyper_parameters": told}, {"cfg": {"model": told}}, {"my_settings": Namespace(**told)}):
        with pytest.raises(CheckpointError, match=problem) as error:
            built_with(model, place, tmp_path)
        assert error.value.hint is not None
        ignored = error.value.hint.rpartition("--ignore ")[2].strip("'")
        built = built_with(model, place, tmp_path, ignore=("*mean", "*std", ignored))
        assert any(one.treatment == "ignored" for one in built.settings)


@pytest.mark.parametrize(
    "told",
    [
        *({"pooling": word} for word in ("cls", "token", "class_token")),
        *({"act": word} for word in ("gelu", "GELU", "nn.GELU()", torch.nn.GELU)),
        {"n_heads": 2, "head_dim": 64, "dim_head": 64, "norm_eps": 1e-6, "patch_size": 16},
        {"image_size": 64, "input_size": [3, 64, 64], "resolution": (64, 64), "crop_size": 64},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "normalize": True},
        {"img_norm_cfg": {"mean": [127.5] * 3, "std": [127.5] * 3, "to_rgb": True}, "color_mode": "RGB"},
        {"interpolation": "bicubic", "resample": 3, "crop_pct": 0.9, "center_crop": True},
        {"norm_layer": "LayerNorm", "norm_first": True, "qk_scale": 0.125, "pos_embed": "learned"},
        {"image_size": 71, "crop_size": 64},
        {"norm_layer": partial(torch.nn.LayerNorm, eps=1e-6)},
        {"transform": transform(Resize(71, 3), CenterCrop(64), ToTensor(), Normalize([0.5] * 3, [0.5] * 3))},
        {"config": json.dumps({"num_heads": 2})},
        {"final_activation": "softmax", "head_hidden_dim": 512, "head_dropout": 0.1},
        {"use_cls_token": True, "cls_token": True, "use_patch_tokens": False, "h": 64, "nh": 2, "stride": 16},
        {"feature_layer": -1, "n_last_blocks": 1, "window_size": 4, "attn_type": "sdpa", "quick_gelu": False},
        {"grayscale": False, "color": "RGB", "layer_scale": 1e-5, "register_tokens": 0, "overlap": False},
    ],
    ids=str,
)
def test_what_agrees_is_listed_as_built(tmp_path: Path, told: dict[str, Any]) -> None:
    built = built_with(vit(), {"hyper_parameters": told}, tmp_path)
    assert any(one.why == "as built" for one in built.settings)
    assert not any("not known" in note for note in built.notes)


@pytest.mark.parametrize(
    ("told", "given"),
    [
        ({"n_heads": 4}, {"num_heads": 4}),
        ({"act": "relu"}, {"activation": "relu"}),
        ({"norm_eps": 1e-5}, {"eps": 1e-5}),
        ({"image_mean": [0.1, 0.2, 0.3]}, {"mean": [0.1, 0.2, 0.3]}),
        ({"pixel_mean": [25.5, 51.0, 76.5]}, {"mean": [0.1, 0.2, 0.3]}),
        ({"interp": "nearest"}, {"interpolation": "nearest"}),
        ({"crop_ratio": 0.5}, {"crop_pct": 0.5}),
        ({"resize": 73, "crop": 64}, {"crop_pct": 0.8767}),
        ({"image_size": 80, "crop_size": 64}, {"crop_pct": 0.8}),
    ],
    ids=str,
)
def test_the_option_of_the_hint_settles_it(tmp_path: Path, told: Any, given: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError) as error:
        built_with(vit(), {"cfg": told}, tmp_path)
    assert error.value.hint is not None
    assert f"--config '{json.dumps(given)}'" in error.value.hint
    assert built_with(vit(), {"cfg": told}, tmp_path, config=given).spec.num_classes == 5


@pytest.mark.parametrize(("name", "known"), [("mode", True), ("task", True), ("attn_mode", False)])
def test_a_word_of_the_training_is_harmless_alone(tmp_path: Path, name: str, known: bool) -> None:
    (found,) = (one for one in built_with(vit(), {name: "own"}, tmp_path).settings if one.name == name)
    assert (found.why == "of the training") == known


def test_transforms_of_the_training_are_no_settings(tmp_path: Path) -> None:
    told = {"transform": transform(RandomResizedCrop(96), ToTensor(), Normalize([0.1] * 3, [0.5] * 3))}
    assert built_with(vit(), told, tmp_path).spec.preprocess.mean == (0.5, 0.5, 0.5)


def test_the_activation_of_a_classifier_of_ones_own_agrees(tmp_path: Path) -> None:
    model = nn.Module()
    model.backbone = vit(num_classes=0)
    model.head = nn.Sequential(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 5))
    told = {"hyper_parameters": {"hidden_dim": 32, "activation": "relu", "lr": 0.1}}
    built = built_with(model, told, tmp_path, head_activation="relu")
    assert any(one.name == "activation" and one.why == "as built" for one in built.settings)


def test_configurations_of_hydra_are_read(tmp_path: Path) -> None:
    """As omegaconf pickles them: nodes with ``_content`` and ``_val``."""
    checkpoint = Checkpoint(
        path=tmp_path / "mine.ckpt",
        sha256="",
        container="torch",
        tensors=vit().state_dict(),
        meta={"hyper_parameters": node({"model": {"n_heads": 4}, "image_mean": [0.5] * 3, "lr": 0.1})},
    )
    with pytest.raises(CheckpointError, match=r"n_heads = 4 \(hyper_parameters.model\)"):
        built_by(checkpoint)
    built = built_by(checkpoint, ignore=("*:n_heads",))
    assert {one.path: one.why for one in built.settings}["hyper_parameters:image_mean"] == "as built"


def node(value: Any) -> Any:
    if isinstance(value, dict):
        return Namespace(_metadata=None, _content={name: node(one) for name, one in value.items()})
    if isinstance(value, list):
        return Namespace(_metadata=None, _content=[node(one) for one in value])
    return Namespace(_metadata=None, _val=value)


def test_a_size_is_followed_by_the_option_that_the_hint_names(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        built_with(vit(), {"cfg": {"image_size": 96}}, tmp_path)
    assert "--imgsz 96 follows it" in str(error.value.hint)
    assert built_with(vit(), {"cfg": {"image_size": 96}}, tmp_path, imgsz=(96, 96)).spec.input.height == 96


@pytest.mark.parametrize("network", ["efficientnet", "timm efficientnet"])
def test_an_efficientnet_has_the_size_that_its_training_says(tmp_path: Path, network: str) -> None:
    model = networks()[network]
    for told in ({"img_size": 96}, {"input_size": [3, 96, 96]}, {"data": {"image_size": (96, 96)}}):
        built = built_with(model, {"hyper_parameters": told}, tmp_path)
        assert (built.spec.input.height, built.spec.input.width) == (96, 96)
        assert any("96x96, is that of hyper_parameters" in note for note in built.notes)
    assert built_with(model, {"cfg": {"img_size": 96}}, tmp_path, imgsz=(64, 64)).spec.input.height == 64
    with pytest.raises(CheckpointError, match="size"):
        built_with(model, {"cfg": {"img_size": 96}, "opt": {"input_size": 128}}, tmp_path)


def test_a_crossformer_is_held_against_its_settings(tmp_path: Path) -> None:
    model = CrossFormer(
        CrossFormerConfig(
            channels=3,
            num_classes=5,
            depths=(1, 1, 1, 1),
            widths=(16, 32, 64, 128),
            heads=(1, 2, 4, 8),
            groups=(7, 7, 7, 7),
            intervals=(8, 4, 2, 1),
            embed_kernels=(4, 8, 16, 32),
            merge_kernels=((2, 4), (2, 4), (2, 4)),
            mlp_widths=(64, 128, 256, 512),
            position_widths=(4, 4, 8, 16),
            cooling=((), (), (), ()),
        )
    )
    built = built_with(model, {"hyper_parameters": {"img_size": 112, "num_heads": [1, 2, 4, 8]}}, tmp_path)
    assert built.spec.input.height == 112
    for told in ({"act": "relu"}, {"norm_eps": 1e-6}, {"pooling": "max"}, {"num_heads": [2, 2, 4, 8]}):
        with pytest.raises(CheckpointError, match="deploykit would build"):
            built_with(model, {"hyper_parameters": told}, tmp_path)


def test_settings_of_the_training_script_that_nobody_read_are_compared_too(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="pooling = 'max'"):
        built_with(vit(), {"args": Namespace(pooling="max", lr=0.1)}, tmp_path)


def test_padding_is_held_against_what_was_built(tmp_path: Path) -> None:
    for name, built, other in (("efficientnet_b0", "symmetric", "same"), ("tf_efficientnet_b0", "same", "")):
        model = timm.create_model(name, num_classes=5)
        told = {"hyper_parameters": {"pad_type": built}}
        assert built_with(model, told, tmp_path, variant=name).spec.num_classes == 5
        if other:
            with pytest.raises(
                CheckpointError, match=f"pad_type = '{other}' .*deploykit would build {built}"
            ):
                built_with(model, {"hyper_parameters": {"pad_type": other}}, tmp_path, variant=name)
    told = {"hyper_parameters": {"pad_type": "same"}}
    assert built_with(vit(), told, tmp_path).notes  # a ViT has none
