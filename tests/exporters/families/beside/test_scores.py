"""What acts on the scores of a classifier: temperatures, priors, activations, losses, thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.families.base import Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_runtimes.errors import CheckpointError, OptionError
from training_files import built_with, networks, vit

CALIBRATION: list[dict[str, Any]] = [
    {"temperature": 1.7},
    {"T": 2.0},
    {"tau": 1.5},
    {"calibrated_temperature": 0.8},
    {"logit_scale": 30.0},
    {"logit_adjustment": True},
    {"logit_adj_tau": 1.0},
    {"class_prior": [0.1, 0.2, 0.3, 0.2, 0.2]},
    {"s": 30.0, "m": 0.5},
    {"temperature": torch.tensor([1.7])},
]


@pytest.mark.parametrize("told", CALIBRATION, ids=str)
def test_a_setting_that_acts_on_scores_is_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    name = next(iter(told))
    for network in ("vit", "timm efficientnet", "efficientnet"):
        with pytest.raises(CheckpointError, match=f"says {name} = .*scores as the classifier gives") as error:
            built_with(networks()[network], told, tmp_path)
        ignored = str(error.value.hint).rpartition("--ignore ")[2].strip("'")
        built = built_with(networks()[network], told, tmp_path, ignore=(ignored,))
        assert any(one.name == name and one.treatment == "ignored" for one in built.settings)


@pytest.mark.parametrize(
    "told",
    [
        {"temperature": 1.0, "T": 1, "logit_scale": None, "class_prior": [0.2] * 5, "logit_bias": 0.0},
        {
            "distill_temperature": 4.0,
            "kd_temperature": 2.0,
            "supcon_temp": 0.1,
            "loss": {"temperature": 0.07},
        },
        {
            "threshold": 0.3,
            "thresholds": [0.1] * 5,
            "class_weights": [1.0, 2.0, 3.0, 4.0, 5.0],
            "temp_dir": "/t",
        },
        {"tau": 0.996, "s": 3, "prior_prob": 0.01},
    ],
    ids=str,
)
def test_what_does_not_act_on_them_is_not(tmp_path: Path, told: dict[str, Any]) -> None:
    assert built_with(vit(), {"hyper_parameters": told}, tmp_path).spec.num_classes == 5


TENSORS = {
    "temperature": torch.tensor([1.7]),
    "logit_scale": torch.tensor(2.3),
    "class_prior": torch.rand(5),
    "class_weights": torch.rand(5),
    "scaler.T": torch.tensor([1.3]),
    "calibration.weight": torch.rand(5),
    "anything": torch.rand(5),
    "prompt_embeddings": torch.rand(1, 4, 128),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_beside_the_network_that_may_act_on_its_answers_is_refused(
    tmp_path: Path, name: str
) -> None:
    saved = {f"model.{key}": tensor for key, tensor in vit().state_dict().items()}
    torch.save({**saved, name: TENSORS[name]}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=f"{name} is beside the network and may act on") as error:
        load_checkpoint(tmp_path / "w.pth", Hints())
    ignored = str(error.value.hint).rpartition("--ignore ")[2]
    built = load_checkpoint(tmp_path / "w.pth", Hints(ignore=(ignored,))).built
    assert [one.treatment for one in built.settings if one.name == ignored] == ["ignored"]


@pytest.mark.parametrize(
    "name", ["val_metric", "best_acc", "ema_decay", "epoch", "criterion.weight", "steps"]
)
def test_records_of_the_training_are_not(tmp_path: Path, name: str) -> None:
    saved = {f"model.{key}": tensor for key, tensor in vit().state_dict().items()}
    torch.save({**saved, name: torch.rand(1)}, tmp_path / "w.pth")
    assert load_checkpoint(tmp_path / "w.pth", Hints()).built.spec.num_classes == 5


@pytest.mark.parametrize(
    "told",
    [
        {"final_activation": "sigmoid"},
        {"output_activation": torch.nn.Sigmoid},
        {"sigmoid": True},
        {"use_sigmoid": True},
        {"multi_label": True},
    ],
    ids=str,
)
def test_a_sigmoid_that_the_settings_say_is_honoured(tmp_path: Path, told: dict[str, Any]) -> None:
    for network in ("vit", "efficientnet"):
        spec = built_with(networks()[network], {"hparams": told}, tmp_path).spec
        assert spec.output.activation == "sigmoid"
        assert any(next(iter(told)) in line for line in spec.recognised)


@pytest.mark.parametrize(
    "told",
    [
        {"loss": "bce"},
        {"criterion": "BCEWithLogitsLoss"},
        {"loss_fn": "nn.BCEWithLogitsLoss()"},
        {"loss": {"name": "bce"}},
    ],
    ids=str,
)
def test_a_loss_of_each_class_is_said_with_the_option_that_follows_it(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    spec = built_with(vit(), {"hparams": told}, tmp_path).spec
    assert spec.output.activation == "softmax"
    assert any("""--config '{"scores": "sigmoid"}'""" in line for line in spec.assumed)
    followed = built_with(vit(), {"hparams": told}, tmp_path, config={"scores": "sigmoid"}).spec
    assert followed.output.activation == "sigmoid"
    assert not any("scores" in line for line in followed.assumed)


def test_config_says_how_scores_are_made(tmp_path: Path) -> None:
    for asked in ("softmax", "sigmoid", "none"):
        spec = built_with(vit(), {"hparams": {"multi_label": True}}, tmp_path, config={"scores": asked}).spec
        assert spec.output.activation == asked
    with pytest.raises(OptionError, match="softmax, sigmoid, none"):
        built_with(vit(), {}, tmp_path, config={"scores": "tanh"})
