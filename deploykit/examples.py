"""Examples at the end of a command's help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

__all__ = ["WithExamples"]


class WithExamples(click.Command):
    """A command whose help ends with examples, each in a line of its own that can be copied."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n")
        super().format_epilog(ctx, formatter)
