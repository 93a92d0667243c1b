"""`deploykit doctor` on this machine and on made-up ones."""

from __future__ import annotations

import json
import re

import pytest
from deploykit_runtimes.runtimes import available_runtimes

from deploykit.checkup.machine import Machine
from deploykit.cli import main
from deploykit.machine import Cpu

Output = pytest.CaptureFixture[str]


def pretend(monkeypatch: pytest.MonkeyPatch, **facts: object) -> None:
    machine = Machine(python="p", system="s", cpu=Cpu(model="m", architecture="a"), **facts)  # type: ignore[arg-type]
    monkeypatch.setattr("deploykit.checkup.machine.collect", lambda report: machine)


def test_this_machine_runs_models(capsys: Output) -> None:
    assert main(["doctor", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert "ort-cpu" in data["ready"]
    assert data["machine"]["packages"]["onnxruntime"]


@pytest.mark.parametrize(("runtime", "code"), [("ort-cpu", 0), ("ov", 1), ("ort-cuda", 1), ("abacus", 2)])
def test_the_exit_code_can_be_that_of_one_engine(
    monkeypatch: pytest.MonkeyPatch, runtime: str, code: int
) -> None:
    from deploykit.checkup.probe import Probe

    probes = {"ort-cpu": Probe(ok=True, detail="onnxruntime 1.32.0 on cpu")}
    pretend(monkeypatch, packages={"onnxruntime": "1.32.0"}, probes=probes)
    assert main(["doctor", "--runtime", runtime]) == code


def test_a_bare_machine_exits_with_1_and_prints_the_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    pretend(monkeypatch)
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "pip install 'deploykit[cpu]'" in output
    assert "No engine runs here." in output


def test_both_wheels_exit_with_1(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    from deploykit.checkup.probe import Probe

    pretend(
        monkeypatch,
        packages={"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"},
        probes={"ort-cpu": Probe(ok=True, detail="onnxruntime 1.32.0 on cpu")},
    )
    assert main(["doctor"]) == 1
    assert "both installed" in capsys.readouterr().out


@pytest.mark.parametrize("runtime", available_runtimes()[1:])
def test_an_engine_that_does_not_run_is_told_with_its_reason_and_fix(
    runtime: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    from deploykit.checkup.probe import Probe

    probes = {"ort-cpu": Probe(ok=True, detail="onnxruntime 1.32.0 on cpu")}
    pretend(monkeypatch, packages={"onnxruntime": "1.32.0"}, probes=probes)
    assert main(["doctor", "--runtime", runtime]) == 1
    told, fix = capsys.readouterr().out.strip().splitlines()[-2:]
    assert told.startswith(f"{runtime} does not run here: ")
    assert len(told) > len(f"{runtime} does not run here: ")
    assert re.match(r"fix: (pip install|use a machine) \S+", fix)
    assert main(["doctor", "--runtime", runtime, "--json"]) == 1
    asked = json.loads(capsys.readouterr().out)["runtime"]
    assert (asked["name"], asked["ok"]) == (runtime, False)
    assert asked["fix"] in fix


def test_a_terminal_of_80_columns_cuts_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr("deploykit.terminal._columns", lambda **_: 80)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.lstrip().startswith("fix:") for line in lines)
    cut = [line for line in lines if len(line) > 80]
    assert all(re.match(r" +(fix: )?(pip|deploykit) ", line) for line in cut), "commands stay whole"
