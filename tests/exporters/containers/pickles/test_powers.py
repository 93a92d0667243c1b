"""What the globals of a pickle could do, over the whole standard library."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import functools
import importlib
import inspect
import io
import multiprocessing
import os
import pathlib
import pickle
import re
import sys
import types
import uuid
from typing import Any

import pytest
from deploykit_exporters.containers.pickles import powers
from deploykit_exporters.containers.pickles.powers import canonical, power_of

DATA = {"collections", "datetime", "decimal", "enum", "numbers", "typing"}


@pytest.mark.parametrize("module", sorted(sys.stdlib_module_names))
def test_no_module_of_the_standard_library_is_passed_over(module: str) -> None:
    if module.removeprefix("_") in DATA or canonical(f"{module}.x").partition(".")[0] in DATA:
        assert power_of(f"{module}.x") == "none"
    else:
        assert power_of(f"{module}.x") != "none"
        assert power_of(f"{module}.X.method") != "none"


@pytest.mark.parametrize(
    "module",
    [
        *(
            "asyncio",
            "builtins",
            "glob",
            "http.client",
            "importlib",
            "marshal",
            "multiprocessing",
            "operator",
        ),
        *("os", "runpy", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "urllib.request"),
        *("webbrowser", "zipfile", "code", "ctypes", "pty", "threading", "tarfile", "logging.config"),
    ],
)
def test_every_public_function_has_a_power(module: str) -> None:
    found = importlib.import_module(module)
    names = [name for name, value in vars(found).items() if inspect.isroutine(value) and name[0] != "_"]
    assert names
    for name in names:
        path = f"{found.__name__}.{name}"
        assert power_of(path) == ("compute" if module == "operator" else power_of(path)) != "none", path


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("posix.system", "os.system"),
        ("nt.system", "os.system"),
        ("commands.Popen", "subprocess.Popen"),
        ("__builtin__.eval", "builtins.eval"),
        ("cPickle.loads", "pickle.loads"),
        ("_io.open", "io.open"),
        ("urllib2.urlopen", "urllib.request.urlopen"),
        ("torch.os.system", "os.system"),
        ("timm.models._builder.os.posix.system", "os.system"),
        ("torch.serialization.builtins.exec", "builtins.exec"),
        ("torch.nn.modules.module.sys.modules", "sys.modules"),
        ("ultralytics.utils.files.glob.glob", "glob.glob"),
        ("torch.multiprocessing.Process", "multiprocessing.Process"),
        ("torch.os", "os"),
        ("random._os.system", "os.system"),
        ("collections._sys.exit", "sys.exit"),
        ("torch.nn.builtins", "builtins"),
        ("builtins.reduce", "functools.reduce"),
        ("thread.start_new_thread", "_thread.start_new_thread"),
        ("_frozen_importlib._call_with_frames_removed", "importlib._call_with_frames_removed"),
    ],
)
def test_other_names_of_the_same_function(path: str, known: str) -> None:
    assert canonical(path) == known
    assert canonical(known) == known
    assert power_of(path) == ("compute" if known == "functools.reduce" else "harm")


@pytest.mark.parametrize(
    "path",
    [
        "torch.nn.Module.__init__.__globals__",
        "builtins.object.__subclasses__",
        "pathlib.PosixPath.unlink",
        "timm.models._hub.urlopen",
        "enum.bltns.eval",
        "types.FunctionType",
        "types.CodeType",
        "dataclasses.make_dataclass",
        "logging.FileHandler",
        "torch.hub.load",
        "numpy.f2py.crackfortran.myeval",
        "asyncio.create_subprocess_shell",
    ],
)
def test_what_harms_by_other_ways(path: str) -> None:
    assert power_of(path) == "harm"


@pytest.mark.parametrize("module", [*powers._COMPUTING.split(), "os.path"])
def test_modules_that_a_module_imported_lead_nowhere(module: str) -> None:
    """``random._os.system``: what a module of the standard library holds of others is judged as theirs."""
    if module not in sys.stdlib_module_names and module != "os.path":
        pytest.skip("newer than this Python")
    missed = []
    for name, value in vars(importlib.import_module(module)).items():
        if not isinstance(value, types.ModuleType) or value.__name__.startswith(f"{module}."):
            continue
        for inside, function in vars(value).items():
            known = f"{value.__name__}.{inside}"
            if inspect.isroutine(function) and inside[0] != "_" and power_of(known) == "harm":
                missed += [known] if power_of(f"{module}.{name}.{inside}") != "harm" else []
    assert missed == []


def test_names_of_many_parts_are_judged_at_once() -> None:
    assert power_of("abc." * 250 + "x") == power_of("a." * 400 + "x") == "harm"
    assert power_of("abc." * 11 + "x") == "compute"


class Colour(enum.Enum):
    RED = "red"


PLAIN = [
    argparse.Namespace(a=1),
    collections.ChainMap({}),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("1.5"),
    functools.partial(dict, a=1),
    io.BytesIO(b"a"),
    multiprocessing.get_context("spawn"),
    os.stat_result(range(10)),
    pathlib.Path("a"),
    re.compile("a"),
    types.SimpleNamespace(a=1),
    uuid.UUID(int=1),
    type(None),
    ValueError("a"),
    Colour.RED,
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("protocol", range(6))
def test_plain_objects_have_none(value: Any, protocol: int) -> None:
    from deploykit_exporters.containers.pickles.unpickle import load_inert

    if isinstance(value, io.BytesIO) and protocol < 2:
        protocol = 2  # it cannot be pickled so
    named = load_inert(io.BytesIO(pickle.dumps(value, protocol))).inert
    assert {path: power_of(path) for path in named if power_of(path) != "none"} == {}


@pytest.mark.parametrize(
    "path",
    [
        "torch.multiprocessing.reductions.rebuild_storage_filename",
        "torch._dynamo.eval_frame.OptimizedModule",
        "models.yolo.Model",
        "utils.profile.Profile",
        "mypackage.code.Net",
        "mypackage.Net.__init__",
        "mypackage.signal.Filter",
        "mypackage.platform.Net",
        "mypackage.types.Config",
        "lightning.fabric.utilities.data.AttributeDict",
        "__main__.Net",
        "numpy.random._pickle.__randomstate_ctor",
    ],
)
def test_other_packages_are_not_mistaken_for_it(path: str) -> None:
    assert (canonical(path), power_of(path)) == (path, "none")
