"""No pickle, however it is written, runs code."""

from __future__ import annotations

import argparse
import copyreg
import functools
import importlib
import io
import operator
import os
import pathlib
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.containers.pickles.inert import (
    InertObject,
)
from deploykit_exporters.containers.pickles.unpickle import load_inert
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError, UnsafeCheckpointError
from pickled_calls import PROTOCOLS, Call, inert


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that exists once code has run; nothing may create it."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code of the pickle was run"


def attacks(canary: Path) -> dict[str, Any]:
    touch = f"open({str(canary)!r}, 'w').close()"
    command = f"touch {canary}"
    inner = pickle.dumps(Call(os.system, command), 2)
    return {
        "os.system": Call(os.system, command),
        "subprocess": Call(subprocess.Popen, command, -1, None, None, None, None, None, True, True),
        "eval": Call(eval, touch),
        "exec": Call(exec, touch),
        "open": Call(open, str(canary), "w"),
        "getattr chain": Call(Call(getattr, Call(importlib.import_module, "os"), "system"), command),
        "methodcaller": Call(
            Call(operator.methodcaller, "system", command), Call(importlib.import_module, "os")
        ),
        "partial": Call(Call(functools.partial, os.system, command)),
        "map": Call(list, Call(map, os.system, [command])),
        "compile": Call(exec, Call(compile, touch, "x", "exec")),
        "copyreg": Call(vars(copyreg)["_reconstructor"], Call, object, Call(os.system, command)),
        "state": Call(argparse.Namespace, state={"__setstate__": Call(os.system, command)}),
        "setattr": Call(setattr, Call(importlib.import_module, "os"), "x", Call(os.system, command)),
        "torch.hub": Call(torch.hub.load, str(canary.parent), "x"),
        "torch.load": Call(torch.load, Call(io.BytesIO, inner), None, None),
        "pickle.loads": Call(pickle.loads, inner),
        "torch storage": Call(torch.storage._load_from_bytes, inner),
        "numpy.load": Call(np.load, str(canary), None, True),
        "numpy save": Call(np.save, str(canary), [1]),
        "torch.save": Call(torch.save, 1, str(canary)),
        "path": Call(Call(getattr, pathlib.Path(canary), "touch")),
        "exit": Call(sys.exit, 3),
        "nested": [({"k": (Call(os.system, command),)},)],
        "key": {Call(os.system, command): 1},
    }


ATTACKS = list(attacks(Path("x")))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_runs(name: str, protocol: int, canary: Path) -> None:
    assert inert(attacks(canary)[name], protocol) is not None


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_runs_from_a_checkpoint(name: str, legacy: bool, canary: Path, tmp_path: Path) -> None:
    path = tmp_path / "attack.pth"
    weights = {"layer.weight": torch.ones(2)}
    torch.save(
        {"attack": attacks(canary)[name], "state_dict": weights},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(UnsafeCheckpointError, match="Nothing was run") as refusal:
        read_checkpoint(path)
    ignored = tuple(re.findall(r"--ignore (\S+)", refusal.value.hint))
    checkpoint = read_checkpoint(path, ignore=ignored)
    assert list(checkpoint.tensors) == ["layer.weight"]
    assert f"Not run, as --ignore says: {', '.join(ignored)}." in checkpoint.notes


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_runs_from_a_plain_pickle(name: str, canary: Path, tmp_path: Path) -> None:
    path = tmp_path / "attack.pkl"
    path.write_bytes(pickle.dumps(attacks(canary)[name], 2))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_hand_written_operations_do_not_run(canary: Path) -> None:
    """Operations that Python's own pickler no longer writes: INST, OBJ, dotted names, BUILD on a class."""
    command = f"touch {canary}".encode()
    text = struct.pack("<I", len(command)) + command
    streams = (
        b"(S'" + command + b"'\nios\nsystem\n.",
        b"(cos\nsystem\nX" + text + b"o.",
        b"cos\nsystem\n(X" + text + b"tR.",
        b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93X" + text + b"\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93X" + text + b"\x85\x81.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93X" + text + b"\x85}\x92.",
        b"ctorch.nn.modules.module\nModule\n}(X\x07\x00\x00\x00forwardcos\nsystem\nub"
        b"ctorch.nn.modules.module\nModule\n.",
    )
    for stream in streams:
        try:
            value = load_inert(io.BytesIO(stream)).value
        except (pickle.UnpicklingError, TypeError):
            continue
        assert isinstance(value, InertObject) or issubclass(value, InertObject)
