"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import threading

import click
import pytest

from deploykit.progress import Progress

Output = pytest.CaptureFixture[str]


def test_plain_lines_elsewhere(capsys: Output) -> None:
    with Progress(animate=False) as report:
        report("reading")
        report.note("invisible")
        report("building")
    captured = capsys.readouterr()
    assert captured.err == "reading\nbuilding\n"
    assert captured.out == ""


def test_finished_steps_stay_on_a_terminal(capsys: Output) -> None:
    with Progress(animate=True) as report:
        report("reading")
        report("building")
    lines = click.unstyle(capsys.readouterr().err).splitlines()
    assert [line.split()[-4:-2] for line in lines if "+" in line] == [["+", "reading"], ["+", "building"]]


def test_a_failed_step_is_not_told_as_finished(capsys: Output) -> None:
    with pytest.raises(ValueError), Progress(animate=True) as report:
        report("reading")
        raise ValueError
    assert "+" not in capsys.readouterr().err
    assert all(thread.name != "progress" for thread in threading.enumerate())


def test_quiet_says_nothing(capsys: Output) -> None:
    with Progress(quiet=True, animate=True) as report:
        report("reading")
        report.note("more")
    assert capsys.readouterr().err == ""
