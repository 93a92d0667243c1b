"""``build``, ``doctor`` and ``demo`` of the facade."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from deploykit_runtimes.build_options import BuildReport
from deploykit_runtimes.errors import DeploykitError, ModelError, OptionError

import deploykit
from deploykit import demonstration
from deploykit.checkup.tiny import tiny_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


def test_build_what_load_opens(model: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    result = deploykit.build(model, "ov", tmp_path / "out", report=steps.append)
    assert isinstance(result, deploykit.BuildResult)
    assert steps
    assert not result.reused
    assert repr(result).startswith(f"BuildResult({result.built} for ov-cpu")
    with deploykit.load(result.path, runtime="ov") as opened:
        assert opened.runner.inputs
    again = deploykit.build(model, runtime="ov", output=str(tmp_path / "out"), report=BuildReport())
    assert again.reused
    options = deploykit.BuildOptions(output=tmp_path / "out", force=True)
    assert not deploykit.build(model, "ov", options=options).reused
    assert repr(options) == f"BuildOptions(output={tmp_path / 'out'!r}, force=True)"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (deploykit.build, "wants the runtime to build for"),
        (lambda m: deploykit.build(m, "ort-cpu"), "found 'ort-cpu'"),
        (lambda m: deploykit.build(m, "ov", precission="auto"), "build() has no option 'precission'"),
        (lambda m: deploykit.build(m, "ov", precission="auto"), "Did you mean precision?"),
        (lambda m: deploykit.build(m, "ov", options={"force": True}), "found dict"),
        (lambda m: deploykit.build(m, "ov", optimization_level=9), "0 to 5"),
        (lambda m: deploykit.doctor(runtimes="ov"), "doctor() has no option 'runtimes'"),
        (lambda m: deploykit.demo(second=1), "demo() has no option 'second'.\n  Did you mean seconds?"),
        (lambda m: deploykit.demo(3), "output wants a path, found 3"),
        (lambda m: deploykit.demo(seconds="1"), "seconds wants a number"),
    ],
)
def test_what_is_refused(call: Callable[[Path], object], told: str, model: Path) -> None:
    with pytest.raises(OptionError) as caught:
        call(model)
    assert told in str(caught.value)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        deploykit.build(tmp_path / "none.onnx", "ov")


def test_the_doctor_says_what_runs() -> None:
    tried: list[str] = []
    found = deploykit.doctor(report=tried.append)
    assert isinstance(found, deploykit.Diagnosis)
    assert "ort-cpu" in found.ready
    assert any("ort-cpu" in sentence for sentence in tried)
    lines = str(found).splitlines()
    assert any(line.startswith("ok  ort-cpu: ") for line in lines)
    fixes = [each.fix for each in (*found.engines, *found.abilities, *found.conflicts) if each.fix]
    assert [line.removeprefix("    fix: ") for line in lines if line.startswith("    fix: ")] == fixes


def test_the_demonstration_gets_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple] = []
    monkeypatch.setattr(
        demonstration, "run_demo", lambda folder, seconds, report: seen.append((folder, seconds, report))
    )
    deploykit.demo(str(tmp_path), seconds=1, report=print)
    assert seen == [(tmp_path, 1.0, print)]


def test_names_of_the_facade_stay_functions_whatever_was_imported() -> None:
    """A package of the same name would take the place of a function as soon as it is imported."""
    script = (
        "import pkgutil, importlib, deploykit\n"
        "modules = {one.name for one in pkgutil.iter_modules(deploykit.__path__)}\n"
        "print(sorted(modules & set(deploykit.__all__)))\n"
        "import deploykit.cli, deploykit.commands.doctor, deploykit.commands.demo, deploykit.commands.build\n"
        "print(all(callable(getattr(deploykit, name)) for name in ('build', 'demo', 'doctor', 'export')))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["['serve']", "True"]


def test_errors_are_deploykits() -> None:
    with pytest.raises(DeploykitError):
        deploykit.build("none.onnx", "no-such")
