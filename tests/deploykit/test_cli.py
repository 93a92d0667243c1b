"""The command line as a process: what it imports, how it fails, what it leaves behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from deploykit_runtimes.errors import DeploykitError, ParityError

from deploykit import __version__, cli
from deploykit.checkup.tiny import tiny_model

HEAVY = ("torch", "onnx", "onnxruntime", "numpy", "PIL", "timm", "ultralytics", "openvino", "cv2")


def run(*args: str, code: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """A new process: the command with ``args``, or Python ``code``."""
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "deploykit", *args]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **env}, timeout=300, check=False
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `deploykit doctor` raise."""

    @click.command("doctor")
    @click.option("--debug", is_flag=True, expose_value=False)
    def command() -> None:
        raise error

    monkeypatch.setattr("deploykit.commands.doctor.command", command)


@pytest.mark.parametrize(
    "code",
    [
        "import deploykit",
        "import deploykit_runtimes",
        "from deploykit.cli import main; main(['--help'])",
        "from deploykit.cli import main; main(['--version'])",
        *(f"from deploykit.cli import main; main(['{name}', '--help'])" for name in cli.COMMANDS),
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    look = f"import sys\n{code}\nsys.exit(' '.join(m for m in {HEAVY!r} if m in sys.modules) or 0)"
    done = run(code=look)
    assert done.returncode == 0, done.stderr


def test_help_imports_no_command() -> None:
    look = (
        "import sys\nfrom deploykit.cli import main\nmain(['--help'])\n"
        "sys.exit(' '.join(m for m in sys.modules if m.startswith('deploykit.commands')) or 0)"
    )
    done = run(code=look)
    assert done.returncode == 0, done.stderr
    for name, text in cli.COMMANDS.items():
        assert name in done.stdout
        assert text.split(",")[0] in done.stdout


def test_every_command_exists_and_takes_json_and_debug() -> None:
    context = click.Context(cli.cli)
    for name in cli.COMMANDS:
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help
        for each in command.commands.values() if isinstance(command, click.Group) else [command]:
            options = {flag for parameter in each.params for flag in parameter.opts}
            assert {"--json", "--debug"} <= options, each.name


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_version(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 0
    assert capsys.readouterr().out == f"deploykit, version {__version__}\n"


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["help"], ["--help"]),
        (["help", "export"], ["export", "--help"]),
        (["help", "package"], ["package", "--help"]),
        (["help", "package", "ray"], ["package", "ray", "--help"]),
    ],
)
def test_help(words: list[str], same: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(same) == 0
    wanted = capsys.readouterr().out
    assert wanted.startswith("Usage: deploykit")
    assert cli.main(words) == 0
    assert capsys.readouterr().out == wanted
    assert cli.main(["help", "exprot"]) == 2
    assert "Did you mean 'export'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["benhc"], "Did you mean 'bench'?"),
        (["qwxz"], "Commands: export"),
        (["--nonsense"], "--nonsense"),
        (["bench"], "MODEL"),
        (["bench", "no-such-file.onnx"], "does not exist"),
        (["predict", "no-such-file.onnx", "x.jpg"], "does not exist"),
        (["export"], "CKPT"),
        (["export", "--dynamic", "batch"], "'batch' was taken as the axes of --dynamic"),
        (["export", "x.pth", "--dynamic", "batch,depth"], "batch, height, width"),
        (["export", "--dynamic", "bach", "x.pth"], "Did you mean batch?"),
        (["export", "x.pth", "--dynamic", "--batch", "4"], "exclude each other"),
        (["export", "x.pth", "--dynamic", "batch", "--batch", "4"], "exclude each other"),
        (["export", "foo:bar"], "no models are fetched from 'foo'"),
        (["export", "x.pth", "--family", "efficentnet"], "Did you mean efficientnet?"),
        (["export", "x.pth", "--imgsz", "0"], "pixels"),
        (["export", "x.pth", "--imgsz", "99999999999999999999"], "pixels"),
        (["export", "x.pth", "--imgsz", "1,2,3"], "H or H,W"),
        (["export", "x.pth", "--batch", "-1"], "--batch"),
        (["export", "x.pth", "--opset", "many"], "--opset"),
        (["export", "x.pth", "--exporter", "magic"], "torchscript"),
        (["demo", "extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_with_2(args: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.out == ""


def test_an_error_is_one_message_with_its_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ParityError("They differ.", hint="Try --no-simplify."))
    assert cli.main(["doctor"]) == 3
    captured = capsys.readouterr()
    assert captured.err == "error: They differ.\n  Try --no-simplify.\n"
    assert captured.out == ""


def test_a_message_cannot_command_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, DeploykitError("found a\x1b[2Jb\r\x07", hint="next"))
    cli.main(["doctor"])
    assert capsys.readouterr().err == "error: found a\\x1b[2Jb\\r\\x07\n  next\n"


@pytest.mark.parametrize("error", [*DeploykitError.__subclasses__(), DeploykitError])
def test_every_error_has_its_exit_code(error: type[DeploykitError], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, error("no"))
    assert cli.main(["doctor"]) == error.exit_code


def test_a_bug_is_told_as_one_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DEPLOYKIT_DEBUG", raising=False)
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    assert cli.main(["doctor"]) == 70
    error = capsys.readouterr().err
    assert "bug in deploykit: ZeroDivisionError: division by zero" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("place", ["before", "after", "environment"])
def test_debug_shows_the_traceback(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    if place == "environment":
        monkeypatch.setenv("DEPLOYKIT_DEBUG", "1")
    args = {"before": ["--debug", "doctor"], "after": ["doctor", "--debug"]}.get(place, ["doctor"])
    assert cli.main(args) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "out.onnx"))
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "error: No space left on device: out.onnx\n"


def test_interruption_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_interruption_of_the_imports_is_quiet() -> None:
    script = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from deploykit.__main__ import run
sys.exit(run())
"""
    done = run(code=script)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_what_an_interruption_breaks_is_no_bug() -> None:
    """An extension module whose import Ctrl-C broke off raises ImportError when it is tried again."""
    script = """
import contextlib, os, signal, sys
import click, deploykit.commands.doctor as doctor
from deploykit.cli import main

@click.command("doctor")
def command():
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    raise ImportError("cannot load module more than once per process")

doctor.command = command
sys.exit(main(["doctor"]))
"""
    done = run(code=script)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_the_signals_of_an_embedding_program_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert cli.main(["--version"]) == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_nothing_half_written(tmp_path: Path, number: signal.Signals, code: int) -> None:
    script = f"""
import os, sys, time
import click, deploykit.commands.doctor as doctor
from deploykit.cli import main
from deploykit_runtimes.files import atomic_path

@click.command("doctor")
def command():
    with atomic_path({str(tmp_path / "model.onnx")!r}) as draft:
        draft.write_bytes(b"half")
        os.kill(os.getpid(), {int(number)})
        time.sleep(30)

doctor.command = command
sys.exit(main(["doctor"]))
"""
    done = run(code=script)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_quiet(model: Path) -> None:
    script = (
        "set -o pipefail; "
        + f"{sys.executable} -m deploykit bench {model} --json --runs 99 2>err | true; cat err >&2"
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=model.parent, timeout=300, check=False
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "bug" not in done.stderr


def test_json_alone_on_stdout(model: Path) -> None:
    done = run("inspect", str(model), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "model"
    assert "Opening the model" in done.stderr


def test_no_colour_in_pipes_nor_against_the_users_will(model: Path) -> None:
    command = ["bench", str(model), "--runs", "1", "--warmup", "0"]
    assert "\x1b[" not in run(*command).stdout
    terminal = f"import pty, sys; pty.spawn([sys.executable, '-m', 'deploykit', *{command!r}])"
    assert "\x1b[1m" in run(code=terminal).stdout
    assert "\x1b[1m" not in run(code=terminal, NO_COLOR="1").stdout
