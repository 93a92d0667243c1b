"""The ``deploykit`` command: sub-commands loaded when they are used, errors reported in one message.

Exit codes: 0 done, 1 other failures, such as no memory or a full disk, 2 wrong options or checkpoint,
3 parity beyond tolerance, 5 model file, 6 missing package, 7 engine or device not available, 8 image or
tensor, 9 download, 70 a bug in deploykit, 130 interrupted.
"""

from __future__ import annotations

import difflib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.machine.exhausted import EXHAUSTED, exhausted, out_of_files
from deploykit_runtimes.machine.scratch import scratch_folder
from deploykit_runtimes.text.printable import printable

from deploykit import __version__
from deploykit.examples import WithExamples
from deploykit.process.interrupted import EXIT_INTERRUPTED, INTERRUPTED
from deploykit.process.interruption import ending_signals
from deploykit.terminal import color, echo, problem_lines

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["cli", "main"]

COMMANDS = {
    "export": "Turn a checkpoint into one proven, self-describing ONNX file.",
    "inspect": "Show what a checkpoint or a model file holds.",
    "predict": "Run a model on images and print, draw or save the answers.",
    "verify": "Compare a model file with its checkpoint again, on your own images.",
    "selftest": "Run the golden cases that a model file carries, on this machine.",
    "eval": "Measure accuracy on labelled pictures, and compare models.",
    "record": "Show how to record a model's answers in its training, or what was recorded.",
    "quantize": "Write a model file in a lower precision, and prove it.",
    "build": "Build an engine ahead of time.",
    "serve": "Serve models over HTTP and gRPC.",
    "package": "Write a folder for Triton, Ray Serve, KServe or Docker.",
    "bench": "Measure latency and throughput, and show what ran where.",
    "doctor": "Show what this machine can run, and how to fix what it cannot.",
    "cpp": "Print where the C++ runtime is, for CMake and compilers.",
    "demo": "Export, prove, run and measure a real trained model.",
    "completion": "Print the script for completion in bash, zsh or fish.",
}

EXIT_BUG = 70


class LazyGroup(WithExamples, click.Group):
    """A group that lists its commands from a table and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"deploykit.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            advice = f"Did you mean {close[0]!r}?" if close else f"Commands: {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command {name!r}. {advice}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands from the table, without importing any of them, or this group's options."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem

        found = ((name, text) for name, text in COMMANDS.items() if name.startswith(incomplete))
        return [CompletionItem(name, help=text) for name, text in found]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Treat ``version`` and ``help [COMMAND]`` like ``--version`` and ``--help``."""
        word = args[0] if args else ""
        if word == "version":
            args = ["--version", *args[1:]]
        elif word == "help":
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None  # click itself would print an empty line first

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`deploykit COMMAND --help` lists the options of a command.",
    examples=(
        "deploykit demo",
        "deploykit export best.pt --dynamic",
    ),
)
@click.version_option(__version__, "-V", "--version", prog_name="deploykit")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """From a trained ViT, CrossFormer, EfficientNet or YOLO checkpoint to one proven ONNX file."""
    ctx.color = color()
    ctx.with_resource(_temporary_files())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        argv: Arguments without the program name; None takes those of the process.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or os.environ.get("DEPLOYKIT_DEBUG", "0") not in ("", "0")
    with ending_signals() as interrupted:
        try:
            code = cli.main(args, prog_name="deploykit", standalone_mode=False)
        except click.Abort:
            return _interrupted()
        except Exception as error:  # noqa: BLE001 - the last stop: a bug must be told as one
            # An import that Ctrl-C broke off can fail with any error, also later.
            return _interrupted() if interrupted.is_set() else _explain(error, debug=debug)
    return code if isinstance(code, int) else 0


def _explain(error: Exception, *, debug: bool) -> int:
    """Print an error as one message; returns its exit code."""
    if isinstance(error, click.ClickException):
        echo(*_click_lines(error), err=True)
        return error.exit_code
    if (problem := out_of_files(error)) is not None:
        _tell(problem, debug=debug)
        return EXHAUSTED
    if isinstance(error, DeploykitError):
        _tell(error.problem, error.hint, debug=debug)
        return error.exit_code
    if (problem := exhausted(error)) is not None:
        _tell(problem, debug=debug)
        return EXHAUSTED
    if isinstance(error, OSError):
        _tell(_os_problem(error), debug=debug)
        return 1
    _tell(
        f"this is a bug in deploykit: {type(error).__name__}: {error}",
        "Run again with --debug for the traceback and report it with the command you typed.",
        debug=debug,
    )
    return EXIT_BUG


def _interrupted() -> int:
    echo(INTERRUPTED.rstrip(), err=True)
    return EXIT_INTERRUPTED


def _tell(problem: str, hint: str = "", *, debug: bool) -> None:
    if debug:
        echo(*traceback.format_exc().rstrip("\n").split("\n"), err=True)
    echo(*problem_lines(problem, hint), err=True)


def _click_lines(error: click.ClickException) -> list[str]:
    """What click reports about an error: usage, a hint, and the message, which quotes the command line."""
    vars(error)["message"] = printable(error.message)  # before its line ends and ours are mixed
    shown = io.StringIO()
    error.show(file=shown)
    return shown.getvalue().rstrip("\n").expandtabs(4).split("\n")


def _os_problem(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}: {error.filename}" if error.filename else reason


@contextmanager
def _temporary_files() -> Iterator[None]:
    """Redirect the temporary files of all libraries to a folder that is removed after this run."""
    with ExitStack() as stack:
        before = os.environ.get("TMPDIR"), tempfile.tempdir
        with suppress(OSError):  # where nothing can be written, whoever needs it says so
            folder = str(stack.enter_context(scratch_folder()))
            os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            yield
        finally:
            os.environ.pop("TMPDIR", None)
            if before[0] is not None:
                os.environ["TMPDIR"] = before[0]
            tempfile.tempdir = before[1]
