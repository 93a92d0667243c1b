"""Files that name calls: refused, told by inspect, or read as ever; and nothing of them runs."""

from __future__ import annotations

import datetime
import functools
import glob
import io
import operator
import os
import pickle
import random
import runpy
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import webbrowser
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.containers.torch_file import LEGACY_MAGIC
from deploykit_runtimes.errors import CheckpointError, UnsafeCheckpointError

WEIGHTS = {"layer.weight": torch.ones(2)}


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


class Named:
    """Pickles as a call of a function of any name, which need not exist here."""

    def __init__(self, path: str, *args: Any) -> None:
        self.path, self.args = path, args


class Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes names as given, as a pickle made by hand has them."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        if not isinstance(obj, Named):
            return super().save(obj, save_persistent_id)
        module, _, name = obj.path.rpartition(".")
        self.write(f"c{module}\n{name}\n".encode())
        self.save(obj.args)
        self.write(pickle.REDUCE)
        return None


class ByHand:
    """A pickle module for ``torch.save``."""

    __name__ = "by_hand"
    Pickler = Pickler

    @staticmethod
    def dump(obj: Any, file: Any, protocol: int) -> None:
        Pickler(file, protocol).dump(obj)


def write(path: Path, value: Any, *, legacy: bool = False, protocol: int = 2) -> Path:
    torch.save(
        {"extra": value, "state_dict": WEIGHTS},
        path,
        pickle_module=ByHand,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not legacy,
    )
    return path


def says(path: Path, **options: Any) -> str:
    with pytest.raises(UnsafeCheckpointError) as refusal:
        read_checkpoint(path, **options)
    return str(refusal.value)


HARMFUL: dict[str, Callable[[str], Any]] = {
    "os": lambda command: Call(os.system, command),
    "subprocess": lambda command: Call(subprocess.check_output, command),
    "glob": lambda _: Call(glob.glob, "/*"),
    "tempfile": lambda _: Call(tempfile.mkdtemp),
    "zipfile": lambda command: Call(zipfile.ZipFile, command, "w"),
    "sqlite3": lambda command: Call(sqlite3.connect, command),
    "signal": lambda _: Call(signal.raise_signal, 15),
    "runpy": lambda command: Call(runpy.run_path, command),
    "webbrowser": lambda command: Call(webbrowser.open, command),
    "shutil": lambda command: Call(shutil.rmtree, command),
    "socket": lambda _: Call(socket.create_connection, ("localhost", 1)),
    "partial": lambda command: Call(Call(functools.partial, os.system, command)),  # type: ignore[arg-type]
    "reduce": lambda command: Call(functools.reduce, os.system, [command, command]),
    **{
        path: lambda command, path=path: Named(path, command)  # type: ignore[misc]
        for path in (
            *("nt.system", "commands.getoutput", "asyncio.create_subprocess_shell", "pty.spawn"),
            *("ctypes.CDLL", "marshal.loads", "types.FunctionType", "http.client.HTTPConnection"),
            *("urllib.request.urlopen", "multiprocessing.Process", "importlib.import_module"),
            *("torch.os.system", "popen2.popen2", "builtins.eval", "_posixsubprocess.fork_exec"),
        )
    },
}
Call.__call__ = lambda self: None  # type: ignore[attr-defined]  # pickle only takes what can be called


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", HARMFUL)
def test_harmful_calls_are_refused_by_name(kind: str, legacy: bool, protocol: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = write(tmp_path / "file.pth", HARMFUL[kind](f"touch {canary}"), legacy=legacy, protocol=protocol)
    message = says(path)
    assert "Nothing was run" in message
    tokens = message.partition("without running anything: ")[2].replace("--ignore ", "").split()
    assert tokens
    checkpoint = read_checkpoint(path, ignore=tuple(tokens))  # the hint is exactly what must be typed
    assert list(checkpoint.tensors) == list(WEIGHTS)
    assert any("Not run, as --ignore says" in note for note in checkpoint.notes)
    assert not canary.exists()


@pytest.mark.parametrize("written", ["posix.system", "nt.system", "os.system", "torch.os.system"])
@pytest.mark.parametrize("typed", ["posix.system", "nt.system", "os.system", "os.*", "posix.sys*"])
def test_ignore_takes_any_name_of_the_function(written: str, typed: str, tmp_path: Path) -> None:
    path = write(tmp_path / "file.pth", Named(written, "true"))
    assert list(read_checkpoint(path, ignore=(typed,)).tensors) == list(WEIGHTS)
    assert "os.system" in says(path, ignore=("os.popen", "subprocess.*", "system"))


def test_all_names_that_must_be_typed_are_told(tmp_path: Path) -> None:
    names = [f"os.{name}" for name in ("system", "popen", "remove", "rename", "mkdir", "rmdir", "kill")]
    message = says(write(tmp_path / "file.pth", [Named(name) for name in names]))
    assert all(f"--ignore {name}" in message for name in names)
    assert "and others" in message


COMPUTING = {
    "builtins.getattr": Call(getattr, torch.nn.Linear, "forward"),
    "operator.attrgetter": Call(operator.attrgetter, "a"),
    "operator.methodcaller": Call(operator.methodcaller, "a"),
    "operator.itemgetter": Call(operator.itemgetter, 1),
    "functools.reduce": Call(functools.reduce, max, [1, 2]),
    "builtins.map": Call(map, len, ["a"]),
}


@pytest.mark.parametrize("name", COMPUTING)
def test_calls_without_harm_are_told_by_inspect_alone(name: str, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write(tmp_path / "file.pth", COMPUTING[name]))
    assert name in checkpoint.not_executed
    assert checkpoint.notes == ()


def test_inspect_names_what_was_not_executed(tmp_path: Path) -> None:
    import timm
    from deploykit_exporters.inspect import inspect_checkpoint

    path = tmp_path / "vit.pth"
    model = timm.create_model("test_vit", num_classes=3)
    torch.save({"state_dict": model.state_dict(), "extra": COMPUTING["operator.attrgetter"]}, path)
    assert "Named in the file and not executed: operator.attrgetter." in inspect_checkpoint(path).notes


def honest() -> dict[str, Any]:
    import timm
    import torchvision
    from torchvision.transforms import InterpolationMode, v2
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import IterableSimpleNamespace

    yolo = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    yolo.args = IterableSimpleNamespace(imgsz=64)
    linear = torch.nn.Linear(2, 2)
    return {
        "timm": timm.create_model("test_vit"),
        "timm efficientnet": timm.create_model("test_efficientnet"),
        "torchvision": torchvision.models.efficientnet_b0(),
        "transform": [v2.Resize(3), InterpolationMode.BICUBIC],
        "ultralytics": yolo,
        "bound method": linear.forward,  # as YOLOv5 and mmengine have them: through getattr
        "states": [
            np.random.default_rng(1),
            np.random.RandomState(1),
            random.Random(1),
            torch.get_rng_state(),
        ],
        "swa": torch.optim.swa_utils.AveragedModel(linear),
        "parallel": torch.nn.DataParallel(linear),
    }


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_honest_objects_are_not_refused(legacy: bool, tmp_path: Path) -> None:
    told = {}
    for name, value in honest().items():
        path = tmp_path / "file.pth"
        torch.save({"extra": value, "state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=not legacy)
        told[name] = read_checkpoint(path).not_executed
    assert {name: names for name, names in told.items() if names} == {"bound method": ("builtins.getattr",)}


def test_training_arguments_of_transformers(tmp_path: Path) -> None:
    """Made without its constructor, which asks for accelerate."""
    from transformers import TrainingArguments
    from transformers.trainer_utils import IntervalStrategy, SchedulerType

    args = TrainingArguments.__new__(TrainingArguments)
    vars(args).update(
        output_dir=str(tmp_path),
        lr_scheduler_type=SchedulerType.COSINE,
        save_strategy=IntervalStrategy.EPOCH,
        device=torch.device("cpu"),
        started=datetime.datetime(2024, 1, 1),
    )
    checkpoint = read_checkpoint(write(tmp_path / "file.pth", args))
    assert (checkpoint.notes, checkpoint.not_executed) == ((), ())


def storage_bytes(value: Any) -> bytes:
    """A storage as a plain pickle has it: the content of a file of its own."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


class Nested:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> Any:
        return torch.storage._load_from_bytes, (self.content,)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_storages_inside_are_looked_into(legacy: bool, tmp_path: Path) -> None:
    def read(content: bytes) -> Checkpoint:
        path = tmp_path / "file.pth"
        value = {"extra": Nested(content), "state_dict": WEIGHTS}
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        return read_checkpoint(path)

    for honest in (torch.ones(3).untyped_storage(), {"a": torch.ones(3)}):
        assert list(read(storage_bytes(honest)).tensors) == list(WEIGHTS)
    attack = pickle.dumps(Call(os.system, "true"), 2)
    for content in (attack, storage_bytes(Nested(attack)), storage_bytes(Call(os.system, "true"))):
        with pytest.raises(UnsafeCheckpointError, match=r"posix\.system"):
            read(content)
    for content in (b"", b"garbage", attack[:-1]):
        with pytest.raises(CheckpointError, match="not a complete checkpoint"):
            read(content)


def test_storages_inside_storages_end(tmp_path: Path) -> None:
    content = storage_bytes(1)
    for _ in range(6):
        content = storage_bytes(Nested(content))
    path = tmp_path / "file.pth"
    torch.save({"extra": Nested(content), "state_dict": WEIGHTS}, path)
    with pytest.raises(CheckpointError, match="without end"):
        read_checkpoint(path)
    many = Nested(storage_bytes(bytes(1 << 16)))
    torch.save({"extra": [Nested(many.content) for _ in range(3)], "state_dict": WEIGHTS}, path)
    assert list(read_checkpoint(path).tensors) == list(WEIGHTS)


@pytest.mark.parametrize("place", range(5))
def test_every_pickle_of_an_older_file_counts(place: int, tmp_path: Path) -> None:
    """torch unpickles five objects of one: magic number, version, system, the object, names of storages."""
    parts: list[Any] = [LEGACY_MAGIC, 1001, {"little_endian": True}, {"a.weight": 1}, []]
    parts[place] = Call(os.system, "true") if place == 0 else [parts[place], Call(os.system, "true")]
    path = tmp_path / "file.pth"
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + struct.pack("<q", 0))
    with pytest.raises(CheckpointError, match=r"posix\.system|not a complete"):
        read_checkpoint(path)


def test_names_in_hints_are_words_of_a_shell(tmp_path: Path) -> None:
    """A hint is there to be copied: no name of a file may end it and begin another command."""
    message = says(write(tmp_path / "file.pth", Named("os.system;rm x")))
    assert message.endswith("--ignore 'os.system;rm x'")
    assert read_checkpoint(tmp_path / "file.pth", ignore=("os.system;rm x",)).tensors


def test_code_that_fastai_stores_is_refused_without_a_word_of_attack(tmp_path: Path) -> None:
    stored = Named("cloudpickle.cloudpickle._make_function")
    file = write(tmp_path / "export.pkl", stored)
    with pytest.raises(UnsafeCheckpointError, match=r"learn\.export") as error:
        read_checkpoint(file)
    assert "honest" not in str(error.value)
    assert "torch.save(learn.model.state_dict()" in str(error.value.hint)
    found = read_checkpoint(file, ignore=("cloudpickle.*",))
    assert list(found.tensors) == ["layer.weight"]
    with pytest.raises(UnsafeCheckpointError, match="no honest checkpoint"):
        read_checkpoint(write(file, [stored, Named("os.system", "x")]))
