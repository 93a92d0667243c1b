"""``deploykit completion``: the script that lets a shell complete commands, options and names."""

from __future__ import annotations

import click

from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common
from deploykit.terminal import echo_file, echo_json

__all__ = ["command"]

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=Command,
    short_help="Print the completion script for a shell.",
    examples=(
        "deploykit completion zsh > ~/.zsh/completions/_deploykit",
        "deploykit completion fish > ~/.config/fish/completions/deploykit.fish",
    ),
)
@click.argument("shell", type=click.Choice(_SHELLS))
@common
def command(*, shell: str, json_output: bool) -> None:
    """Print the script with which SHELL completes commands, options, files and names of runtimes.

    \b
    bash, in ~/.bashrc:                   eval "$(deploykit completion bash)"
    zsh, in ~/.zshrc, behind compinit:    eval "$(deploykit completion zsh)"
    fish, in ~/.config/fish/config.fish:  deploykit completion fish | source
    """
    from click.shell_completion import get_completion_class

    from deploykit.cli import cli

    kind = get_completion_class(shell)
    if kind is None:  # a click that dropped it
        raise click.UsageError(f"click offers no completion for {shell}.")
    script = kind(cli, {}, "deploykit", "_DEPLOYKIT_COMPLETE").source()
    # click's script for fish cuts values off at a comma, as in --runtime ort-cpu,ov-cpu.
    script = script.replace('string split "," ', 'string split -m 1 "," ')
    if json_output:
        echo_json({"shell": shell, "script": script})
    else:
        echo_file(script.strip("\n") + "\n")
