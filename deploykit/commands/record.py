"""``deploykit record``: the file with which a training process writes down golden answers."""

from __future__ import annotations

import click

from deploykit.commands.options import common
from deploykit.recording import source
from deploykit.terminal import as_json

__all__ = ["command"]

_HOW = """\
A model is recorded in the process that trained it, where it is in memory:

  import deploykit
  deploykit.record(model, "golden.npz", transform=eval_transform, labels=class_names)

Where deploykit is not installed, one file does it, with numpy and torch alone:

  deploykit record --print > record.py      # then there: from record import record

Its answers are what an export is proven against:

  deploykit export CKPT --golden golden.npz"""


@click.command("record")
@click.option("--print", "print_file", is_flag=True, help="Print the file that records, and nothing else.")
@common
def command(*, print_file: bool, json_output: bool) -> None:
    """Show how to record what a model answers where it is trained: golden answers.

    `deploykit export CKPT --golden FILE` holds its reading of the checkpoint against them: pre-processing,
    network and head.
    """
    file = source()
    if json_output:
        click.echo(as_json({"path": str(file), "source": file.read_text(encoding="utf-8")}))
    elif print_file:
        click.echo(file.read_text(encoding="utf-8"), nl=False)
    else:
        click.echo(_HOW)
