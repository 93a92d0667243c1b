"""Averaged copies in the same state dict as the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError
from torch import nn
from torch.optim.swa_utils import AveragedModel

Reading = Callable[..., Checkpoint]


def network(value: float) -> nn.Module:
    net = nn.Module()
    net.conv, net.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def mmcv(plain: float = 2.0, buffers: float = 1.0) -> dict[str, torch.Tensor]:
    """A model as mmcv 1's EMAHook leaves it: a buffer at the top for each parameter."""
    net = network(plain)
    for name, parameter in network(buffers).named_parameters():
        net.register_buffer(f"ema_{name.replace('.', '_')}", parameter.detach())
    return net.state_dict()


def lit_ema(raw: float = 1.0, average: float = 2.0, updates: int = 3) -> dict[str, torch.Tensor]:
    whole = nn.Module()
    whole.model, whole.model_ema = network(raw), nn.Module()
    whole.model_ema.register_buffer("decay", torch.tensor(0.99))
    whole.model_ema.register_buffer("num_updates", torch.tensor(updates))
    for name, parameter in network(average).named_parameters():
        whole.model_ema.register_buffer(name.replace(".", ""), parameter.detach())
    return whole.state_dict()


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    def read(file: Any, choice: str | None = None) -> Checkpoint:
        path = tmp_path / "model.pth"
        torch.save(file, path)
        return read_checkpoint(path, weights=choice)

    return read


@pytest.mark.parametrize("wrapped", [True, False], ids=["file", "bare"])
def test_mmcv_keeps_the_average_under_the_plain_names(wrapped: bool, reading: Reading) -> None:
    file = {"state_dict": mmcv(), "meta": {"mmcv_version": "1.7.0"}} if wrapped else mmcv()
    checkpoint = reading(file)
    assert checkpoint.tensors.keys() == network(0).state_dict().keys()
    assert checkpoint.tensors["conv.bias"][0] == 2.0
    key = "state_dict.ema_" if wrapped else "ema_"
    assert f"--weights {key} takes the 4 tensors ema_*" in checkpoint.notes[0]
    for choice in ("ema_", *(["state_dict.ema_"] if wrapped else [])):
        other = reading(file, choice)
        assert other.tensors.keys() == checkpoint.tensors.keys()
        assert other.tensors["conv.bias"][0] == 1.0


def test_equal_copies_of_mmcv_are_not_told(reading: Reading) -> None:
    assert reading(mmcv(1.0, 1.0)).notes == ()


EMA = "custom_hooks = [dict(type='{}', momentum=0.1{})]"


@pytest.mark.parametrize(
    "config",
    [
        "runner = dict(type='IterBasedRunner')",
        "checkpoint_config = dict(interval=9, by_epoch=False)",
        EMA.format("EMAHook", ""),
        EMA.format("ExpMomentumEMAHook", ", priority='NORMAL'"),
        EMA.format("EMAHook", ", priority=50"),
    ],
)
def test_mmcv_that_saved_before_the_swap_is_asked_about(config: str, reading: Reading) -> None:
    file = {"state_dict": mmcv(), "meta": {"mmcv_version": "1.7.0", "config": config}}
    with pytest.raises(CheckpointError, match="may be the raw weights") as question:
        reading(file)
    assert "--weights state_dict or --weights state_dict.ema_" in question.value.hint
    assert reading(file, "state_dict").tensors["conv.bias"][0] == 2.0
    assert reading(file, "ema_").tensors["conv.bias"][0] == 1.0


@pytest.mark.parametrize(
    "config",
    [
        "lr_config = dict(by_epoch=False)",
        EMA.format("EMAHook", ", priority='ABOVE_NORMAL'"),
        EMA.format("ExpMomentumEMAHook", ", priority=49"),
    ],
)
def test_mmcv_that_saved_after_the_swap_is_told(config: str, reading: Reading) -> None:
    checkpoint = reading({"state_dict": mmcv(), "meta": {"mmcv_version": "1.7.0", "config": config}})
    assert checkpoint.tensors["conv.bias"][0] == 2.0
    assert "puts the averaged weights under the plain names" in checkpoint.notes[0]


def test_lit_ema(reading: Reading) -> None:
    checkpoint = reading({"state_dict": lit_ema()})
    expected = {f"model.{name}" for name in network(0).state_dict()}
    assert checkpoint.tensors.keys() == expected
    assert checkpoint.tensors["model.conv.bias"][0] == 2.0
    assert checkpoint.notes == (
        "Took the EMA weights ('state_dict.model_ema'); --weights state_dict.model takes the raw ones.",
    )
    assert reading({"state_dict": lit_ema()}, "model").tensors["model.conv.bias"][0] == 1.0
    assert reading({"state_dict": lit_ema()}, "model_ema").tensors["model.conv.bias"][0] == 2.0


def test_lit_ema_that_was_never_updated(reading: Reading) -> None:
    checkpoint = reading(lit_ema(updates=0))
    assert checkpoint.tensors["model.conv.bias"][0] == 1.0
    assert checkpoint.notes == ("The average under 'model_ema' was never updated: took the raw weights.",)
    assert reading(lit_ema(updates=0), "model_ema").tensors["model.conv.bias"][0] == 2.0


@pytest.mark.parametrize("updates", [0, 1])
def test_an_averaged_model_inside_another_module(updates: int, reading: Reading) -> None:
    whole = nn.Module()
    whole.model = network(1.0)
    whole.average = AveragedModel(network(2.0))
    if updates:
        whole.average.update_parameters(network(2.0))
    checkpoint = reading({"state_dict": whole.state_dict()})
    left = any(name.startswith("average.") for name in checkpoint.tensors)
    assert left == bool(updates)
    note = "Left out: the average under 'state_dict.average', which was never updated."
    assert checkpoint.notes == (() if updates else (note,))


def test_an_averaged_model_that_is_all_there_is_stays(reading: Reading) -> None:
    whole = nn.Module()
    whole.model, whole.criterion = AveragedModel(network(2.0)), nn.Linear(2, 2)
    assert "model.conv.bias" in reading(whole.state_dict()).tensors
