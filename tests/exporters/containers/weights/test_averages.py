"""Which weights are the averaged ones, in the files of those who write both."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.containers.weights.averages import AVERAGED, is_averaged
from deploykit_runtimes.errors import CheckpointError
from torch import nn
from torch.optim.swa_utils import AveragedModel

RAW, AVERAGE = 1.0, 2.0
Tensors = dict[str, torch.Tensor]


def network(value: float, seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].bias.fill_(value)
    return net


def weights(value: float, prefix: str = "") -> Tensors:
    return {f"{prefix}{name}": tensor.clone() for name, tensor in network(value).state_dict().items()}


def averaged_model() -> AveragedModel:
    """torch's own wrapper around the average."""
    return AveragedModel(network(AVERAGE))


def updated_model() -> AveragedModel:
    average = averaged_model()
    average.update_parameters(network(AVERAGE))
    return average


class EmaPytorch(nn.Module):
    """What ema_pytorch.EMA saves of itself: both networks, and two counters."""

    def __init__(self, *, online: bool = True) -> None:
        super().__init__()
        if online:
            self.online_model = network(RAW)
        self.ema_model = network(AVERAGE)
        self.register_buffer("initted", torch.tensor(True))
        self.register_buffer("step", torch.tensor(7))


def shadow(value: float = AVERAGE) -> dict[str, Any]:
    """torch_ema's and diffusers' state: parameters without names."""
    return {
        "decay": 0.99,
        "num_updates": 7,
        "shadow_params": [parameter.detach() for parameter in network(value).parameters()],
        "collected_params": [],
    }


Reading = Callable[..., Checkpoint]


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    def read(file: Any, choice: str | None = None) -> Checkpoint:
        path = tmp_path / "model.pth"
        torch.save(file, path)
        return read_checkpoint(path, weights=choice)

    return read


def value_of(checkpoint: Checkpoint) -> float:
    assert checkpoint.tensors.keys() == weights(0).keys()
    return float(checkpoint.tensors["0.bias"][0])


WRITERS: dict[str, tuple[Callable[[], dict[str, Any]], str, str]] = {
    # file, key of the average, key of the raw weights
    "timm": (
        lambda: {"state_dict": weights(RAW), "state_dict_ema": weights(AVERAGE)},
        "state_dict_ema",
        "state_dict",
    ),
    "torchvision": (
        lambda: {"model": weights(RAW), "model_ema": updated_model().state_dict()},
        "model_ema",
        "model",
    ),
    "d2go": (lambda: {"model": weights(RAW), "ema_state": weights(AVERAGE)}, "ema_state", "model"),
    "Ultralytics": (lambda: {"model": network(RAW), "ema": network(AVERAGE)}, "ema", "model"),
    "BasicSR": (lambda: {"params": weights(RAW), "params_ema": weights(AVERAGE)}, "params_ema", "params"),
    "mmengine": (
        lambda: {
            "state_dict": weights(AVERAGE),
            "ema_state_dict": {**weights(RAW, "module."), "steps": torch.tensor(5)},
            "message_hub": {},
        },
        "state_dict",
        "ema_state_dict",
    ),
    "mmengine by its version": (
        lambda: {
            "state_dict": weights(AVERAGE),
            "ema_state_dict": weights(RAW),
            "meta": {"mmengine_version": "0.10.5"},
        },
        "state_dict",
        "ema_state_dict",
    ),
    "mmengine by its configuration": (
        lambda: {
            "state_dict": weights(AVERAGE),
            "ema_state_dict": weights(RAW),
            "meta": {"cfg": "custom_hooks = [dict(type='EMAHook')]"},
        },
        "state_dict",
        "ema_state_dict",
    ),
    "mmengine by its counter": (
        lambda: {
            "state_dict": weights(AVERAGE),
            "ema_state_dict": {**weights(RAW, "module."), "steps": torch.tensor(5)},
        },
        "state_dict",
        "ema_state_dict",
    ),
    "AveragedModel in ema_state_dict": (
        lambda: {"state_dict": weights(RAW), "ema_state_dict": updated_model().state_dict()},
        "ema_state_dict",
        "state_dict",
    ),
    "Lightning": (
        lambda: {
            "state_dict": weights(AVERAGE),
            "current_model_state": weights(RAW),
            "averaging_state": {"n_averaged": torch.tensor(3)},
        },
        "state_dict",
        "current_model_state",
    ),
    "Lightning's callback": (
        lambda: {"state_dict": weights(RAW), "callbacks": {"EMA": {"ema_weights": weights(AVERAGE)}}},
        "callbacks.EMA.ema_weights",
        "state_dict",
    ),
    "ema-pytorch": (
        lambda: {"model": weights(RAW), "ema": EmaPytorch().state_dict()},
        "ema.ema_model",
        "model",
    ),
    "ema-pytorch without the online model": (
        lambda: {"model": weights(RAW), "ema": EmaPytorch(online=False).state_dict()},
        "ema.ema_model",
        "model",
    ),
    "a shadow": (
        lambda: {"model": weights(RAW), "ema": {"decay": 0.9, "shadow": weights(AVERAGE)}},
        "ema.shadow",
        "model",
    ),
    "a key of its own": (
        lambda: {"net": weights(RAW), "averaged_net": weights(AVERAGE)},
        "averaged_net",
        "net",
    ),
    "shadow parameters": (lambda: {"model": weights(RAW), "ema": shadow()}, "ema.shadow_params", "model"),
    "a list": (
        lambda: {"model": weights(RAW), "ema_params": shadow()["shadow_params"]},
        "ema_params",
        "model",
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_the_average_is_taken_and_both_are_told(writer: str, reading: Reading) -> None:
    make, average, raw = WRITERS[writer]
    checkpoint = reading(make())
    assert value_of(checkpoint) == AVERAGE
    assert checkpoint.weights_key == average
    told = " ".join(checkpoint.notes)
    assert f"--weights {raw} " in told
    assert "Left out" not in told


@pytest.mark.parametrize("writer", WRITERS)
def test_either_is_taken_by_its_key(writer: str, reading: Reading) -> None:
    make, average, raw = WRITERS[writer]
    for key, value in ((average, AVERAGE), (raw, RAW)):
        if key == "ema.ema_model":  # a part of one state dict, which the families take out of it
            assert reading(make(), key).part == "ema_model"
            continue
        checkpoint = reading(make(), key)
        assert value_of(checkpoint) == value
        assert checkpoint.notes == (f"Took the weights under {key!r}, as --weights says.",)


def untouched_lightning() -> dict[str, Any]:
    return {
        "state_dict": weights(AVERAGE),
        "current_model_state": weights(RAW),
        "averaging_state": {"n_averaged": torch.tensor(0)},
    }


UNTOUCHED: dict[str, tuple[Callable[[], dict[str, Any]], str, str]] = {
    "torch": (
        lambda: {"model": weights(RAW), "model_ema": averaged_model().state_dict()},
        "model",
        "model_ema",
    ),
    "torch, pickled": (lambda: {"model": network(RAW), "swa": averaged_model()}, "model", "swa"),
    "Lightning": (untouched_lightning, "current_model_state", "state_dict"),
    "torch-ema": (
        lambda: {"model": weights(RAW), "ema": {**shadow(), "num_updates": 0}},
        "model",
        "ema.shadow_params",
    ),
}


@pytest.mark.parametrize("writer", UNTOUCHED)
def test_an_average_that_was_never_updated_is_not_taken(writer: str, reading: Reading) -> None:
    """It holds the weights that it was made with: those before the training, or before SWA began."""
    make, raw, average = UNTOUCHED[writer]
    checkpoint = reading(make())
    assert (value_of(checkpoint), checkpoint.weights_key) == (RAW, raw)
    assert "never updated" in " ".join(checkpoint.notes)
    assert value_of(reading(make(), average)) == AVERAGE


def test_an_average_alone_that_was_never_updated_is_told(reading: Reading) -> None:
    for saved in (averaged_model().state_dict(), averaged_model()):
        assert "never updated" in reading(saved).notes[0]


UNMARKED: list[dict[str, Any]] = [
    {},
    {"meta": {"mmcv_version": "1.7.0", "epoch": 3}},
    {"meta": {"cfg": "model = dict(type='ImageClassifier')"}},
    {"epoch": 3, "pytorch-lightning_version": "2.4.0"},
]


@pytest.mark.parametrize("beside", UNMARKED, ids=["nothing", "mmcv", "configuration", "Lightning"])
def test_without_a_mark_of_the_writer_it_is_asked(beside: dict[str, Any], reading: Reading) -> None:
    file = {"state_dict": weights(1.0), "ema_state_dict": weights(2.0, "module."), **beside}
    with pytest.raises(CheckpointError, match="does not say who wrote them") as question:
        reading(file)
    assert "--weights state_dict or --weights ema_state_dict" in question.value.hint
    assert value_of(reading(file, "state_dict")) == 1.0
    assert value_of(reading(file, "ema_state_dict")) == 2.0


def test_keys_of_notes_and_questions_are_those_to_type(reading: Reading) -> None:
    """Where the dictionary that holds both lies deeper."""
    pair = {"model": weights(RAW), "ema": weights(AVERAGE)}
    assert "--weights checkpoint.model takes those." in reading({"checkpoint": pair}).notes[0]
    assert value_of(reading({"checkpoint": pair}, "checkpoint.model")) == RAW
    with pytest.raises(CheckpointError) as question:
        reading({"best": {"state_dict": weights(1.0), "ema_state_dict": weights(2.0)}})
    assert "--weights best.state_dict or --weights best.ema_state_dict" in question.value.hint


def test_keys_in_notes_are_words_of_a_shell(reading: Reading) -> None:
    """A note is there to be copied; callbacks of Lightning have such names without any malice."""
    callbacks = {"EMA{'decay': 0.9}": {"weights": weights(2.0)}}
    file = {"state_dict": weights(1.0), "callbacks": callbacks}
    key = "callbacks.EMA{'decay': 0.9}.weights"
    assert f"--weights {shlex.quote(key)} takes those." in reading(file).notes[0]
    assert value_of(reading(file, key)) == 2.0
    assert "--weights 'a;rm x' takes" in reading({"model": weights(1.0), "a;rm x": weights(2.0)}).notes[0]


def test_keys_cannot_command_a_terminal(reading: Reading) -> None:
    notes = reading({"model": weights(1.0), "a\x1b[2J\n": {"b": torch.ones(2)}}).notes
    assert notes == (r"Left out: the tensors under 'a\x1b[2J\n'.",)


def test_equal_weights_are_not_asked_about(reading: Reading) -> None:
    checkpoint = reading({"state_dict": weights(1.0), "ema_state_dict": weights(1.0)})
    assert value_of(checkpoint) == 1.0
    assert checkpoint.notes == ("'state_dict' and 'ema_state_dict' hold the same values.",)


def test_a_list_that_does_not_fit_is_told(reading: Reading) -> None:
    state = shadow()
    state["shadow_params"].pop()
    checkpoint = reading({"model": weights(RAW), "ema": state})
    assert value_of(checkpoint) == RAW
    assert "'ema.shadow_params' holds averaged weights without names" in checkpoint.notes[0]


def test_statistics_that_are_not_averaged_are_completed_for_a_chosen_set_too(reading: Reading) -> None:
    average = {name: tensor for name, tensor in weights(AVERAGE).items() if "running" not in name}
    del average["1.num_batches_tracked"]
    file = {"model": weights(RAW), "ema": average}
    assert value_of(reading(file)) == value_of(reading(file, "ema")) == AVERAGE


@pytest.mark.parametrize("key", ["best_model", "initial", "pretrained", "model_2"])
def test_other_weights_of_the_same_network_are_told(key: str, reading: Reading) -> None:
    file = {"model": weights(1.0), key: weights(2.0)}
    checkpoint = reading(file)
    assert value_of(checkpoint) == 1.0
    assert checkpoint.notes == (
        f"{key!r} holds other weights of the same network: --weights {key} takes those.",
    )
    assert value_of(reading(file, key)) == 2.0


def test_weights_of_lightnings_callbacks_are_told(reading: Reading) -> None:
    """StochasticWeightAveraging's average has no statistics of BatchNorm before the training ends."""
    name = "StochasticWeightAveraging"
    callbacks = {name: {"n_averaged": 2, "average_model_state": weights(2.0)}}
    checkpoint = reading({"state_dict": weights(1.0), "callbacks": callbacks})
    assert value_of(checkpoint) == 1.0
    key = f"callbacks.{name}.average_model_state"
    assert checkpoint.notes == (
        f"{key!r} holds averaged weights of the same network: --weights {key} takes those.",
    )
    assert value_of(reading({"state_dict": weights(1.0), "callbacks": callbacks}, key)) == 2.0


def test_tensors_that_are_left_out_are_told(reading: Reading) -> None:
    head = {"weight": torch.ones(2, 4)}
    checkpoint = reading({"model": weights(1.0), "head": head, "optimizer": {"a": torch.ones(2)}})
    assert checkpoint.notes == ("Left out: the tensors under 'head'.",)


@pytest.mark.parametrize("name", [*AVERAGED, "net_ema", "swa_model", "averaged_model", "avg", "model.ema"])
def test_names_of_averages(name: str) -> None:
    assert is_averaged(name)


@pytest.mark.parametrize("name", ["schema", "remap", "cinema", "savgol", "thermal"])
def test_names_of_other_things(name: str) -> None:
    assert not is_averaged(name)
