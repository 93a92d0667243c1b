"""``deploykit record``: the script with which a training process records golden answers, and what it
recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common, existing_file
from deploykit.recording import source
from deploykit.terminal import echo, echo_file, echo_json, name, pairs, size

if TYPE_CHECKING:
    from deploykit_exporters.golden.file import Golden, GoldenCase

__all__ = ["command", "show"]

_MOST_NAMES = 4
_HOW = """\
Record a model in the process that trained it, where it is in memory:

  import deploykit
  deploykit.record(model, "golden.npz", transform=eval_transform, labels=class_names)

Where deploykit is not installed, one file does the same with only numpy and torch:

  deploykit record --print > record.py      # then there: from record import record

An export is then compared with the recorded answers:

  deploykit export CKPT --golden golden.npz
"""


@click.command(
    "record",
    cls=Command,
    examples=(
        "deploykit record --print > record.py",
        "deploykit record golden.npz",
    ),
)
@click.argument("file", required=False, type=existing_file, metavar="[FILE]")
@click.option(
    "--print", "print_file", is_flag=True, help="Print only the Python file that does the recording."
)
@common
def command(*, file: Path | None, print_file: bool, json_output: bool) -> None:
    """Show how to record golden answers (what a model answers where it is trained), or what FILE holds.

    `deploykit export CKPT --golden FILE` compares its reading of the checkpoint with them: pre-processing,
    network and head.
    """
    if file is not None and not print_file:
        show(file, json_output=json_output)
        return
    path = source()
    if json_output:
        echo_json({"path": str(path), "source": path.read_text(encoding="utf-8")})
    elif print_file:
        echo_file(path.read_text(encoding="utf-8"))
    else:
        echo_file(_HOW)


def show(file: Path, *, json_output: bool) -> None:
    """Print what a file of golden answers holds.

    Raises:
        OptionError: it cannot be read.
    """
    from deploykit_exporters.golden.file import read_golden

    golden = read_golden(file)
    if json_output:
        echo_json(_plain(golden))
        return
    more = ", ..." if len(golden.labels) > _MOST_NAMES else ""
    names = f"{len(golden.labels)}: {', '.join(map(name, golden.labels[:_MOST_NAMES]))}{more}"
    rows: list[tuple[str, str | list[str]]] = [
        ("file", f"{file} ({size(file.stat().st_size)})"),
        ("holds", f"golden answers of {golden.inputs} images, format {golden.format}"),
        ("recorded from", golden.model),
        ("versions", ", ".join(f"{package} {version}" for package, version in golden.versions.items())),
        ("classes", names if golden.labels else "not recorded"),
        ("weights", f"the means of {len(golden.weights)}"),
        ("answers", [_case(case) for case in golden.cases]),
        ("sha256", golden.sha256),
    ]
    echo(*pairs(rows))


def _case(case: GoldenCase) -> str:
    shown = ", ".join(f"{name(one.name)} {list(one.shape)}" for one in case.outputs)
    through = ", as the transform makes it" if case.of in ("photo", "picture") else ""
    return f"{case.name} {'x'.join(map(str, case.shape))}{through}: {shown}"


def _plain(golden: Golden) -> dict[str, object]:
    return {
        "kind": "golden",
        "path": str(golden.path),
        "format": golden.format,
        "inputs": golden.inputs,
        "sha256": golden.sha256,
        "model": golden.model,
        "versions": dict(golden.versions),
        "labels": list(golden.labels),
        "cases": [
            {
                "name": case.name,
                "of": case.of,
                "shape": list(case.shape),
                "outputs": {one.name: list(one.shape) for one in case.outputs},
            }
            for case in golden.cases
        ],
    }
