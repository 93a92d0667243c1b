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


def test_counting_with_the_time_left(capsys: Output) -> None:
    now = [0.0]
    with Progress(animate=False, clock=lambda: now[0]) as report:
        report("Predicting 5 images")
        for done, moment in ((1, 4.0), (2, 12.0), (3, 15.0), (4, 80.0), (5, 100.0)):
            now[0] = moment
            report.count(done, 5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Predicting 5 images", "2/5, 18 s left", "4/5, 20 s left"]


def test_the_moving_line_counts(capsys: Output) -> None:
    now = [0.0]
    report = Progress(animate=True, clock=lambda: now[0])
    report("Comparing")
    now[0] = 60.0
    report.count(1, 3)
    assert report._fitted() == "Comparing 1/3, 2 min left 60 s"
    report.count(3, 3)
    assert report._fitted() == "Comparing 3/3 60 s"
    report("The next step")
    assert report._fitted() == "The next step 0 s"
    assert "1/3" not in capsys.readouterr().err
