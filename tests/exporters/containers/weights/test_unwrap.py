"""Where the weights are in the files of every kind of training code."""

from __future__ import annotations

import argparse
import collections
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import class_path, to_plain
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError, UnsafeCheckpointError
from timm.utils import CheckpointSaver, ModelEmaV2
from torch import nn


def weights(value: float = 1.0, prefix: str = "") -> dict[str, torch.Tensor]:
    return {
        f"{prefix}conv.weight": torch.full((2, 3), value),
        f"{prefix}bn.running_mean": torch.full((2,), value),
        f"{prefix}head.bias": torch.full((2,), value),
    }


OPTIMIZER = {
    "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(6)}},
    "param_groups": [{"lr": 0.1}],
}


@pytest.fixture
def reading(tmp_path: Path) -> Callable[[Any], Checkpoint]:
    def read(obj: Any, name: str = "model.pth") -> Checkpoint:
        path = tmp_path / name
        torch.save(obj, path)
        return read_checkpoint(path)

    return read


Reading = Callable[..., Checkpoint]


def value_of(checkpoint: Checkpoint) -> float:
    """Which of the copies was taken; its names must be clean."""
    assert list(checkpoint.tensors) == list(weights())
    return float(checkpoint.tensors["conv.weight"][0, 0])


@pytest.mark.parametrize(
    "key",
    ["state_dict", "model", "model_state_dict", "module", "net", "network", "weights", "params", "student"],
)
def test_weights_under_a_key(key: str, reading: Reading) -> None:
    checkpoint = reading({key: weights(), "optimizer": OPTIMIZER, "epoch": 3, "args": {"lr": 0.1}})
    assert value_of(checkpoint) == 1.0
    assert checkpoint.weights_key == key
    assert checkpoint.meta == {"epoch": 3, "args": {"lr": 0.1}}
    assert checkpoint.container == "torch"


def test_a_bare_state_dict(reading: Reading) -> None:
    checkpoint = reading(collections.OrderedDict(weights()))
    assert (value_of(checkpoint), checkpoint.weights_key, checkpoint.meta) == (1.0, "", {})
    mixed = reading({**weights(), "epoch": 3})
    assert (value_of(mixed), mixed.meta) == (1.0, {"epoch": 3})


@pytest.mark.parametrize(
    ("raw", "averaged"),
    [
        ("state_dict", "state_dict_ema"),
        ("model", "ema"),
        ("model", "model_ema"),
        ("model_state_dict", "ema_state_dict"),
        ("params", "params_ema"),
        ("student", "teacher"),
    ],
)
def test_ema_weights_are_preferred(raw: str, averaged: str, reading: Reading) -> None:
    checkpoint = reading({raw: weights(1.0, "module."), averaged: weights(2.0)})
    assert value_of(checkpoint) == 2.0
    assert checkpoint.weights_key == averaged
    assert checkpoint.notes == (
        f"Took the EMA weights ('{averaged}'); the file also holds '{raw}': --weights {raw} takes those.",
    )
    assert checkpoint.meta == {}


def test_ema_inside_its_own_dictionary(reading: Reading) -> None:
    checkpoint = reading({"model": weights(1.0), "ema": {"module": weights(2.0, "module."), "decay": 0.99}})
    assert (value_of(checkpoint), checkpoint.weights_key) == (2.0, "ema.module")


def test_ema_without_statistics_is_completed(reading: Reading) -> None:
    averaged = weights(2.0)
    del averaged["bn.running_mean"]
    checkpoint = reading({"state_dict": weights(1.0), "ema": averaged})
    assert value_of(checkpoint) == 2.0
    assert checkpoint.tensors["bn.running_mean"].tolist() == [1.0, 1.0]
    assert "come from 'state_dict'" in checkpoint.notes[-1]


@pytest.mark.parametrize("change", ["part", "shape"])
def test_ema_of_something_else_is_left(change: str, reading: Reading) -> None:
    averaged = weights(2.0)
    if change == "part":
        del averaged["conv.weight"]
    else:
        averaged["conv.weight"] = torch.zeros(5, 5)
    checkpoint = reading({"model": weights(1.0), "teacher": averaged})
    assert value_of(checkpoint) == 1.0
    assert "does not hold the same tensors" in checkpoint.notes[0]


@pytest.mark.parametrize("choice", ["student", "teacher"])
def test_weights_are_chosen_by_their_key(choice: str, tmp_path: Path) -> None:
    path = tmp_path / "two.pth"
    torch.save({"student": weights(1.0), "teacher": weights(2.0)}, path)
    checkpoint = read_checkpoint(path, weights=choice)
    assert (value_of(checkpoint), checkpoint.weights_key) == (
        {"student": 1.0, "teacher": 2.0}[choice],
        choice,
    )
    assert sorted(checkpoint.sets) == ["student", "teacher"]


@pytest.mark.parametrize(
    ("choice", "key", "part"),
    [
        ("state_dict", "state_dict", ""),
        ("state_dict.teacher", "state_dict", "teacher"),
        ("state_dict.teacher.conv", "state_dict", "teacher.conv"),
        ("teacher", "state_dict", "teacher"),
        ("nothing", "state_dict", "nothing"),
        ("best.net", "best.net", ""),
        ("best.net.teacher", "best.net", "teacher"),
    ],
)
def test_keys_may_be_dotted(choice: str, key: str, part: str, tmp_path: Path) -> None:
    """A name that is not a key of the file is left to the families, which know what a network is."""
    path = tmp_path / "two.pth"
    both = {**weights(1.0, "student."), **weights(2.0, "teacher.")}
    torch.save({"state_dict": both, "best": {"net": both}}, path)
    checkpoint = read_checkpoint(path, weights=choice)
    assert (checkpoint.weights_key, checkpoint.part) == (key, part)
    assert list(checkpoint.tensors) == list(both)


def test_lightning(reading: Reading) -> None:
    callbacks: dict[str, Any] = {"ModelCheckpoint{'monitor': None}": {"best_model_path": "x.ckpt"}}
    file: dict[str, Any] = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": weights(1.0, "model."),
        "loops": {"fit_loop": {"state": torch.zeros(1)}},
        "callbacks": callbacks,
        "optimizer_states": [OPTIMIZER],
        "lr_schedulers": [{"last_epoch": 1}],
        "hyper_parameters": {"lr": 0.1, "backbone": "vit"},
    }
    file["state_dict"]["criterion.weight"] = torch.ones(3)
    checkpoint = reading(file, "last.ckpt")
    assert "criterion.weight" in checkpoint.tensors
    views = {view.prefix: view.tensors for view in checkpoint.views()}
    assert list(views["model."]) == list(weights())
    assert checkpoint.meta["hyper_parameters"] == {"lr": 0.1, "backbone": "vit"}
    assert not {"loops", "callbacks", "optimizer_states", "lr_schedulers"} & checkpoint.meta.keys()

    callbacks["EMA"] = {"ema_state_dict": weights(2.0, "model.") | {"criterion.weight": torch.ones(3)}}
    averaged = reading(file, "last.ckpt")
    assert averaged.weights_key == "callbacks.EMA.ema_state_dict"
    assert averaged.tensors["model.conv.weight"][0, 0] == 2.0


def test_timms_own_saver(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=3)
    average = ModelEmaV2(model)
    with torch.no_grad():
        average.module.head.bias.fill_(7.0)
    args = argparse.Namespace(model="test_vit", img_size=160, mean=[0.5] * 3, opt="sgd")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    saver = CheckpointSaver(
        model, optimizer, args, average, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(epoch=2, metric=71.5)
    checkpoint = read_checkpoint(tmp_path / "last.pth.tar")
    assert list(checkpoint.tensors) == list(model.state_dict())
    assert checkpoint.tensors["head.bias"].tolist() == [7.0] * 3
    assert checkpoint.weights_key == "state_dict_ema"
    assert checkpoint.meta["args"].img_size == 160
    assert (checkpoint.meta["arch"], checkpoint.meta["epoch"], checkpoint.meta["metric"]) == (
        "test_vit",
        2,
        71.5,
    )
    assert "optimizer" not in checkpoint.meta


def test_ultralytics_files(tmp_path: Path, reading: Reading) -> None:
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import IterableSimpleNamespace

    average = DetectionModel("yolov8n.yaml", nc=2, verbose=False).half()
    average.args = IterableSimpleNamespace(imgsz=320, task="detect")
    average.names = {0: "cat", 1: "dog"}
    file = {"epoch": 5, "model": None, "ema": average, "optimizer": OPTIMIZER, "train_args": {"imgsz": 320}}
    checkpoint = reading(file, "last.pt")
    expected = average.state_dict()
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.tensors[name], expected[name]) for name in expected)
    assert checkpoint.weights_key == "ema"
    assert class_path(checkpoint.module) == "ultralytics.nn.tasks.DetectionModel"
    assert checkpoint.module.names == {0: "cat", 1: "dog"}
    assert checkpoint.module.args.imgsz == 320
    assert to_plain(checkpoint.module.yaml)["nc"] == 2
    assert checkpoint.meta["train_args"] == {"imgsz": 320}


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Linear(3, 2, bias=False), nn.Module(), nn.Module()
        self.bn.register_buffer("running_mean", torch.ones(2))
        self.head.bias = nn.Parameter(torch.ones(2))
        nn.init.ones_(self.conv.weight)


@pytest.mark.parametrize("whole", [True, False], ids=["module", "state_dict"])
def test_modules_inside_wrappers(whole: bool, reading: Reading) -> None:
    wrapped = nn.DataParallel(Wrapped())
    average = torch.optim.swa_utils.AveragedModel(nn.DataParallel(Wrapped()))
    for module in (wrapped, average):
        checkpoint = reading(module if whole else module.state_dict())
        assert value_of(checkpoint) == 1.0
        if whole:
            assert class_path(checkpoint.module).endswith(".Wrapped")


def test_parts_of_one_network_are_joined(reading: Reading) -> None:
    checkpoint = reading({"encoder": weights(1.0), "decoder": weights(2.0), "optimizer_d": OPTIMIZER})
    assert list(checkpoint.tensors) == [*weights(0, "encoder."), *weights(0, "decoder.")]
    assert checkpoint.notes == ("Joined the weights under 'encoder', 'decoder' into one network.",)
    alone = reading({"my_net": weights(), "iteration": torch.tensor(3), "optimizer": OPTIMIZER})
    assert (value_of(alone), alone.weights_key) == (1.0, "my_net")


def test_a_compiled_module(reading: Reading) -> None:
    checkpoint = reading(torch.compile(Wrapped()))
    assert value_of(checkpoint) == 1.0
    assert class_path(checkpoint.module).endswith(".Wrapped")


def test_half_precision_is_kept(reading: Reading) -> None:
    checkpoint = reading({"model": {name: tensor.bfloat16() for name, tensor in weights().items()}})
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (OPTIMIZER, "only the state of an optimiser"),
        ({"optimizer": OPTIMIZER, "epoch": 2}, "only the state of an optimiser"),
        ({"epoch": 3, "names": ["cat"]}, r"found none in what it holds \('epoch', 'names'\)"),
        ({}, "found none"),
        ([1, 2], "found none"),
        (torch.zeros(3), "found none"),
        ({"state_dict": {}}, "found none"),
        ({"model.lora_A.weight": torch.ones(2), "model.lora_B.weight": torch.ones(2)}, "adapter"),
        (
            {"layer.q.base_layer.weight": torch.ones(2), "layer.q.lora_A.default.weight": torch.ones(2)},
            "adapter",
        ),
        ({"_flat_param": torch.ones(2)}, "shard written by FSDP"),
        (
            {"module": {"a": torch.zeros(0), "b": torch.zeros(0)}, "ds_version": "0.1"},
            "shard written by DeepSpeed",
        ),
        ({"ds_version": "0.1", "param_shapes": []}, "shard written by DeepSpeed"),
        ({"module": {"a": torch.ones(2)}, "mp_world_size": 2}, "shard written by DeepSpeed"),
    ],
)
def test_files_without_whole_weights_say_so(file: Any, message: str, reading: Reading) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        reading(file)
    assert caught.value.hint


def test_what_only_code_could_give_is_named(reading: Reading) -> None:
    class Lazy:
        def __reduce__(self) -> Any:
            return sys.intern, ("weights",)

    with pytest.raises(UnsafeCheckpointError, match=r"builtins\.intern") as caught:
        reading({"model": Lazy()})
    assert "--trust" in caught.value.hint


def test_distributed_tensors_are_a_shard(reading: Reading) -> None:
    module = types.ModuleType("torch.distributed.fake_tensor")

    class ShardedTensor:
        pass

    ShardedTensor.__module__, ShardedTensor.__qualname__ = module.__name__, "ShardedTensor"
    module.ShardedTensor = ShardedTensor  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    try:
        with pytest.raises(CheckpointError, match="one shard"):
            reading({"state_dict": {"a.weight": ShardedTensor()}})
    finally:
        del sys.modules[module.__name__]


def test_a_wrapper_around_itself_ends(reading: Reading) -> None:
    loop = nn.Module()
    loop._modules["module"] = loop
    with pytest.raises(CheckpointError, match="no end"):
        reading(loop)


def test_objects_inside_themselves_end(reading: Reading) -> None:
    loop: dict[str, Any] = {"state_dict": weights()}
    loop["self"] = loop
    wide: Any = {}
    for _ in range(3):
        wide = {str(i): wide for i in range(20)}
    assert value_of(reading({**loop, "wide": wide})) == 1.0


def test_tensors_that_lie_beside_the_weights_are_told(tmp_path: Path) -> None:
    weights = {f"blocks.{number}.weight": torch.ones(2, 2) for number in range(4)}
    more = {"foo_token": torch.ones(1, 3), "loss": torch.tensor(0.5), "epoch": 3}
    torch.save({"state_dict": weights, **more}, tmp_path / "a.pth")
    notes = read_checkpoint(tmp_path / "a.pth").notes
    assert [note for note in notes if "beside the weights" in note] == [
        "Left out: the tensors 'foo_token' beside the weights."
    ]


@pytest.mark.parametrize("name", ["temperature", "T_scale", "logit_bias", "calibration", "threshold"])
def test_a_number_that_could_act_on_the_scores_is_told(name: str, tmp_path: Path) -> None:
    weights = {f"blocks.{number}.weight": torch.ones(2, 2) for number in range(4)}
    content = {"state_dict": weights, name: torch.tensor(2.0), "best_acc": torch.tensor(0.5)}
    torch.save(content, tmp_path / "a.pth")
    assert f"Left out: the tensors '{name}' beside the weights." in read_checkpoint(tmp_path / "a.pth").notes
