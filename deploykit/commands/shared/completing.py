"""Shell completions of options and arguments: existing names, found without an engine or torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

__all__ = ["axes", "bench_runtimes", "buildable", "families", "files", "readings", "runtimes"]

_Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, completed by the shell itself."""
    return [CompletionItem(incomplete, type="file")]


def runtimes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ``--runtime``."""
    from deploykit_runtimes.runtimes import available_runtimes

    return _starting(available_runtimes(), incomplete)


def buildable(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ``--runtime`` of ``build``."""
    from deploykit_runtimes.runtimes import buildable_runtimes

    return _starting(buildable_runtimes(), incomplete)


def bench_runtimes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ``--runtime`` of ``bench``, also after a comma."""
    from deploykit_runtimes.runtimes import available_runtimes

    names = (*available_runtimes(), "torch", "torch-channels-last", "torch-compile")
    return _listed(names, incomplete)


def readings(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ``--outputs``."""
    from deploykit_runtimes.contract.readings import READINGS

    return _starting(READINGS, incomplete)


def families(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ``--family``."""
    from deploykit_exporters.families.registry import family_names

    return _starting(family_names(), incomplete)


def axes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Axes of ``--dynamic``, also after a comma; the value may be omitted and a file follow."""
    from deploykit_runtimes.contract.axes import AXES

    return _listed((*AXES, "all"), incomplete) or files(ctx, param, incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _listed(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Completions of the last name of a list with commas."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{name}")
        for name in names
        if name.startswith(last) and name not in given
    ]
