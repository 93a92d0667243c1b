"""Packages that add a broken runtime, real distributions on the path: they spoil nothing but themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploykit.checkup.tiny import tiny_model

Run = Callable[..., subprocess.CompletedProcess[str]]

ROW = """from deploykit_runtimes.runtimes import Runtime
RUNTIME = Runtime(name={name!r}, engine={engine!r}, device={device!r}, opener={opener!r}, builder={builder!r})
"""
SOUND = {"engine": "other", "device": "cpu", "opener": "json:loads", "builder": ""}


def row(name: str, **changed: str) -> str:
    return ROW.format(name=name, **{**SOUND, **changed})


BROKEN = {
    "raises": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "exits": ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
    "lacks": ("OTHER = 1", "AttributeError"),
    "text": ("RUNTIME = 'ort'", "wanted a Runtime, found 'ort'"),
    "renamed": (row("another"), "its row is called another"),
    "engine": (row("engine", engine="abacus"), "its engine is 'abacus', not one of onnxruntime, "),
    "device": (row("device", device="tpu"), "its device is 'tpu', not one of cpu, gpu, npu"),
    "opener": (row("opener", opener="json.loads"), "its opener is 'json.loads', not module:function"),
    "builder": (row("builder", builder=":build"), "its builder is ':build', not module:function"),
}
"""A module by name, and what is said of it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages: the broken ones, one whose functions are missing, and a sound one."""
    site = tmp_path_factory.mktemp("site")
    modules = {name: code for name, (code, _) in BROKEN.items()}
    modules["late"] = row("late", opener="no_such_module:open_it", builder="json:no_such_function")
    modules["sound"] = row("sound", builder="json:loads")
    for name, code in modules.items():
        (site / f"runtime_{name}.py").write_text(code)
        info = site / f"package_{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: package-{name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[deploykit.runtimes]\n{name} = runtime_{name}:RUNTIME\n")
    (site / "tiny.onnx").write_bytes(tiny_model())
    return site


@pytest.fixture(scope="module")
def run(site: Path) -> Run:
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, check=False)

    return call


def test_the_doctor_lists_each_with_its_reason(run: Run) -> None:
    done = run("-m", "deploykit", "doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found = {each["name"]: each for each in json.loads(done.stdout)["engines"]}
    for name, (_, reason) in BROKEN.items():
        assert not found[name]["ok"]
        assert found[name]["detail"].startswith(f"broken: The runtime {name} (runtime_{name}:RUNTIME) ")
        assert reason in found[name]["detail"]
        assert found[name]["fix"] == f"pip install --upgrade --force-reinstall package-{name}"
    assert found["ort-cpu"]["ok"]


def test_one_that_is_asked_for_is_one_clear_error(run: Run) -> None:
    script = (
        "import json, deploykit\n"
        "for name in json.loads(%r):\n"
        "    for call in (deploykit.load, deploykit.build):\n"
        "        try: call('tiny.onnx', runtime=name)\n"
        "        except deploykit.DeploykitError as error: print(error.exit_code, *str(error).split())\n"
    )
    lines = run("-W", "ignore", "-c", script % json.dumps(list(BROKEN))).stdout.splitlines()
    assert len(lines) == 2 * len(BROKEN)
    for place, (name, (_, reason)) in enumerate(BROKEN.items()):
        for line in lines[2 * place : 2 * place + 2]:
            assert line.startswith(f"6 The runtime {name} (runtime_{name}:RUNTIME) ")
            assert reason in line
            assert line.endswith(f"Update or reinstall package-{name}.")
    done = run("-m", "deploykit", "predict", "tiny.onnx", "tiny.onnx", "--runtime", "raises")
    assert done.returncode == 6
    assert done.stderr.count("error: The runtime raises ") == 1


def test_functions_that_are_missing_are_told_when_they_are_needed(run: Run) -> None:
    done = run("-m", "deploykit", "build", "tiny.onnx", "--runtime", "late")
    assert done.returncode == 6
    assert "The runtime late (json:no_such_function) cannot be loaded" in " ".join(done.stderr.split())
    done = run("-c", "import deploykit; deploykit.load('tiny.onnx', runtime='late')")
    assert "The runtime late (no_such_module:open_it) cannot be loaded: No module named" in done.stderr


def test_the_others_go_on_and_each_is_warned_of_once(run: Run) -> None:
    script = (
        "from deploykit_runtimes.runtimes import available_runtimes, buildable_runtimes\n"
        "from deploykit_runtimes.devices import runtime_of\n"
        "print(*buildable_runtimes()); buildable_runtimes(); print(runtime_of('npu'))\n"
        "import deploykit; print(deploykit.build('tiny.onnx', 'ov', 'out').runtime)\n"
        "print(len(deploykit.load('tiny.onnx').runner.inputs))\n"
        "print(set(available_runtimes()) >= {'raises', 'sound'})\n"
    )
    done = run("-W", "always", "-c", script)
    assert done.returncode == 0, done.stderr
    built, *others = done.stdout.splitlines()
    assert {"trt", "ov-cpu", "sound", "late"} <= set(built.split())
    assert not set(BROKEN) & set(built.split())
    assert others == ["('ov-npu', None)", "ov-cpu", "1", "True"]
    warned = [line for line in done.stderr.splitlines() if "RuntimeWarning" in line]
    assert len(warned) == len(BROKEN)
    assert all(sum(f"The runtime {name} " in line for line in warned) == 1 for name in BROKEN)
