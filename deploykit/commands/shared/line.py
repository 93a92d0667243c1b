"""How every command parses its arguments: nothing that was typed is dropped silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from deploykit_runtimes.options.arguments import suggestion

from deploykit.examples import WithExamples

__all__ = ["Command", "DynamicCommand", "Group"]

_FP16 = (
    "A file in float16 is written by export --precision fp16, or from the float32 file: deploykit quantize "
    "MODEL.onnx --fp16"
)
_BF16 = (
    "The file keeps the precision of its proof; the engine may use a lower one: --precision auto of "
    "predict, bench, verify and build, or deploykit package triton MODEL.onnx --tensorrt --precision fp16"
)
_INT8 = (
    "8 bits are made of the float32 file, with pictures that calibrate them: deploykit quantize MODEL.onnx "
    "--int8 --calib DIR"
)
_ELSEWHERE = {
    **dict.fromkeys(("--half", "--fp16"), _FP16),
    "--bf16": _BF16,
    **dict.fromkeys(("--int8", "--quantize", "--quantise"), _INT8),
}


class Command(WithExamples, click.Command):
    """A command that refuses an option given twice or without a value, instead of dropping it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            self._tell_elsewhere(args, ctx)
            found, _, order = self.make_parser(ctx).parse_args(list(args))
            _refuse_repeated(order, ctx)
            _refuse_empty(order, found, ctx)
        return super().parse_args(ctx, args)

    def _tell_elsewhere(self, args: list[str], ctx: click.Context) -> None:
        """Point to the place of options that other exporters have in their export."""
        own = {flag for param in self.params for flag in param.opts}
        options = args[: args.index("--")] if "--" in args else args
        for word in options:
            flag = word.partition("=")[0]
            if flag in _ELSEWHERE and flag not in own:
                raise click.UsageError(f"There is no {flag}. {_ELSEWHERE[flag]}", ctx)


class Group(WithExamples, click.Group):
    """A group of such commands."""

    command_class = Command


def _refuse_repeated(order: Iterable[click.Parameter], ctx: click.Context) -> None:
    """Refuse repeated options, of which click would silently take the last."""
    options = [one for one in order if isinstance(one, click.Option) and not (one.multiple or one.count)]
    given: dict[str | None, list[click.Option]] = {}
    for option in options:
        given.setdefault(option.name, []).append(option)
    for same in given.values():
        flags = list(dict.fromkeys(_flag(option) for option in same))
        if len(flags) > 1:
            raise click.UsageError(f"{' and '.join(flags)} exclude each other: give one of them.", ctx)
        if len(same) > 1 and not same[0].is_flag:
            raise click.UsageError(f"{flags[0]} is given {len(same)} times, and takes one value.", ctx)


def _refuse_empty(order: Iterable[click.Parameter], found: Mapping[str, Any], ctx: click.Context) -> None:
    """Refuse empty values: ``-o "$OUT"`` with an unset variable would write to this folder."""
    for param, count in Counter(order).items():
        value = found.get(param.name or "")
        values = value if isinstance(value, list | tuple) else [value]
        if count and "" in values:
            told = _flag(param) if isinstance(param, click.Option) else param.human_readable_name
            raise click.UsageError(
                f"{told} is empty. Give a value or leave it out; perhaps a shell variable is not set.", ctx
            )


def _flag(option: click.Parameter) -> str:
    return max(option.opts, key=len)


class DynamicCommand(Command):
    """A command whose ``--dynamic`` takes an optional value, even directly before a positional argument.

    ``--dynamic`` alone frees every axis. The next word is its value only when it reads as a list of
    axes, so that ``--dynamic model.pth`` keeps its file.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        joined = _join_dynamic(args)
        try:
            return super().parse_args(ctx, list(joined))  # which the parser empties
        except click.MissingParameter as error:
            taken = [word.removeprefix("--dynamic=") for word in joined if word not in args]
            if not isinstance(error.param, click.Argument) or taken in ([], ["all"]):
                raise
            raise click.MissingParameter(
                f"{taken[-1]!r} was taken as the axes of --dynamic.", ctx=ctx, param=error.param
            ) from error


def _join_dynamic(args: list[str]) -> list[str]:
    end = args.index("--") if "--" in args else len(args)
    joined: list[str] = []
    position = 0
    while position < end:
        word = args[position]
        position += 1
        if word != "--dynamic":
            joined.append(word)
        elif position < end and _reads_as_axes(args[position]):
            joined.append(f"--dynamic={args[position]}")
            position += 1
        else:
            joined.append("--dynamic=all")
    return joined + args[end:]


def _reads_as_axes(word: str) -> bool:
    """Whether a word names an axis, or nearly so; ``ExportOptions`` refuses misspelt ones.

    An existing file is a checkpoint, whatever its name.
    """
    from deploykit_runtimes.contract.axes import AXES

    parts = [part.strip() for part in word.split(",")]
    if any(part in (*AXES, "all") for part in parts):
        return True
    bare = all(part.isalpha() for part in parts) and not Path(word).exists()
    return bare and any(suggestion(part, AXES) for part in parts)
