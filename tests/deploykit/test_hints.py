"""Every command and option that an error or a note names can be typed where it is named."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from deploykit import cli

ROOT = Path(__file__).parents[2]
SOURCES = ("deploykit", "exporters/deploykit_exporters", "runtimes/python/deploykit_runtimes")
READING = ("families", "containers", "labels.py", "load.py", "download.py")
"""What export, inspect and verify run alike, in the exporters."""

_OTHER_TOOLS = (
    "deploykit/package",
    "deploykit/checkup",
    "deploykit/benchmark/html",
    "deploykit/evaluation/html",
    "deploykit/quantization/int8/html",
    "deploykit/evaluation/charts",
    "deploykit/serve/page",
)
"""They name options of docker, pip and kubectl, and variables of CSS."""

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w+])")
COMMAND = re.compile(r"\bdeploykit ([a-z]+)((?: (?:--?[\w-]+|[A-Z][A-Z.]*|\[[A-Z]+\]|[\w./-]+\.\w+|x))*)")

NOT_OURS = {
    "--gpus": "of docker, in whose containers alone it means something",
    "--force-reinstall": "of pip, which would change this environment",
    "--upgrade": "of pip, which would change this environment",
    "--help": "of every command, by click",
    "--version": "of the whole program, by click",
    "--debug": "of every command",
    **dict.fromkeys(
        ("--half", "--quantize", "--quantise"), "of other exporters; the answer says where that is"
    ),
}
"""Options that cannot be typed here, or belong to no single command, and why."""


_OPENING = ("predict", "bench", "verify", "build", "serve", "inspect")
"""The commands that open a model."""


def command_of(name: str) -> click.Command | None:
    return cli.cli.get_command(click.Context(cli.cli), name)


def options_of(name: str) -> set[str]:
    """All options of a command, those of its sub-commands too."""
    command = command_of(name)
    assert command is not None
    each = command.commands.values() if isinstance(command, click.Group) else [command]
    return {flag for one in each for parameter in one.params for flag in parameter.opts}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a module but its docstrings, with X for what is put in."""
    skipped = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr):
                skipped.update(map(id, ast.walk(statement.value)))
        if isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in ast.walk(node) if part is not node)
    for node in ast.walk(tree):
        if id(node) in skipped and not isinstance(node, ast.JoinedStr):
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "x" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def hints(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of every ``hint=``, also those of names of the module that it uses."""
    constants = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            found = [node.value]
            found += [
                constants[n.id] for n in ast.walk(node.value) if isinstance(n, ast.Name) and n.id in constants
            ]
            for value in found:
                yield from texts(value)


def modules() -> list[tuple[str, ast.AST]]:
    paths = [path for top in SOURCES for path in sorted((ROOT / top).rglob("*.py"))]
    return [
        (str(path.relative_to(ROOT)), ast.parse(path.read_text()))
        for path in paths
        if "_pb2" not in path.name
    ]


def commands_for(path: str, text: str) -> list[set[str]]:
    """The commands that a hint is for: one of each set has to take its options."""
    if re.search(r"\b[Ee]xport (it |again |the checkpoint |the checkpoint again )?with", text):
        return [{"export", *_OPENING}]
    if re.search(r"\b([Bb]uild|[Bb]uilt)\b", text) and "export" not in path:
        return [{"build", *_OPENING}]
    parts = Path(path).parts
    if parts[0] == "exporters":
        if any(part in READING for part in parts):
            return [{"export"}, {"inspect"}, {"verify"}]
        return [{"export", "verify", "bench"}]
    if parts[0] == "runtimes":
        return [set(_OPENING)]
    own = {
        "benchmark": "bench",
        "evaluation": "eval",
        "quantization": "quantize",
        "checkup": "doctor",
        "remote": "selftest",
        "model_names.py": "serve",
        "recording.py": "record",
        "api.py": "export",
    }
    name = parts[2].removesuffix(".py") if parts[1] == "commands" else own.get(parts[1], parts[1])
    return [{name if name in cli.COMMANDS else "export"}]


def test_every_option_of_a_hint_is_one_of_the_command_that_gives_it() -> None:
    wrong, seen = [], 0
    for path, tree in modules():
        for line, text in hints(tree):
            # What names its command is looked at below; the options of other programs are theirs.
            bare = re.sub(r"`pip [^`]*`", "", COMMAND.sub("", text))
            for option in OPTION.findall(bare):
                seen += 1
                if option in NOT_OURS:
                    continue
                wrong += [
                    f"{path}:{line}: {option} of {' or '.join(sorted(one_of))}: {text}"
                    for one_of in commands_for(path, text)
                    if not any(option in options_of(name) for name in one_of)
                ]
    assert seen > 100
    assert not wrong, "\n".join(wrong)


def test_every_option_that_is_named_anywhere_exists() -> None:
    known = {option for name in cli.COMMANDS for option in options_of(name)} | set(NOT_OURS)
    wrong = [
        f"{path}:{line}: {option}"
        for path, tree in modules()
        if not path.startswith(_OTHER_TOOLS)
        for line, text in texts(tree)
        for option in OPTION.findall(text)
        if option not in known
    ]
    assert not wrong, "\n".join(wrong)


def named_commands() -> list[tuple[str, str, str]]:
    """Where a command is named, the command, and what stands behind it."""
    return [
        (f"{path}:{line}", *match.groups())
        for path, tree in modules()
        for line, text in texts(tree)
        if text not in cli.COMMANDS.values()
        for match in COMMAND.finditer(text)
    ]


def test_every_command_that_is_named_can_be_typed() -> None:
    found, typed = named_commands(), 0
    for place, name, words in found:
        command = command_of(name)
        if command is None:  # "deploykit reads ViT", and such sentences
            assert not words.strip().startswith("-"), place
            continue
        arguments = shlex.split(words)
        if isinstance(command, click.Group) and arguments:
            command = command.commands.get(arguments.pop(0))
            assert command is not None, place
        with click.Context(command, info_name=name) as context:
            try:
                command.make_parser(context).parse_args(arguments)
            except click.BadOptionUsage as error:  # an option without its value stands for any
                assert "requires an argument" in str(error), place
            except click.UsageError as error:
                pytest.fail(f"{place}: deploykit {name}{words}: {error}")
        typed += 1
    assert typed > 40


def test_no_hint_advises_what_has_just_failed() -> None:
    """`inspect` recognises as `export` does: where recognition fails, it lists nothing."""
    wrong = [
        f"{path}:{line}: {text}"
        for path, tree in modules()
        if path.startswith("exporters") and "families" in Path(path).parts
        for line, text in hints(tree)
        if "deploykit inspect" in text
    ]
    assert not wrong, "\n".join(wrong)


def test_examples_of_settings_are_json() -> None:
    """What stands behind --config can be typed as it is printed."""
    import json

    found = 0
    for path, tree in modules():
        for line, text in texts(tree):
            for example in re.findall(r"--config(?:,? for instance,?)? '(\{.*?\})'", text):
                found += 1
                try:
                    json.loads(example.replace("x", "1") if re.search(r"[:\[] ?x\b", example) else example)
                except ValueError as error:
                    pytest.fail(f"{path}:{line}: {example}: {error}")
    assert found > 8
