"""A difference from golden answers: where it is, why, and what fixes it; and several of them in one error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deploykit_runtimes.errors import ParityError

__all__ = ["DifferenceError", "Why", "one_error"]

_LONGEST = 300
"""Characters of a --config that fit into a line; a whole configuration does not."""


@dataclass(frozen=True, kw_only=True)
class Why:
    """What explains a difference.

    Attributes:
        said: The explanation, in a sentence or two; empty where there is none.
        config: The settings of --config that fix it.
        options: Other options that do.
    """

    said: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()


class DifferenceError(Exception):
    """A part of the answers differs.

    Args:
        where: Which part.
        problem: What is different, in a sentence that follows on a colon.
        why: The explanation.
        otherwise: What to do where there is none.
        exact: What is said of the part in brackets.
    """

    def __init__(
        self,
        where: Literal["pre-processing", "network", "head"],
        problem: str,
        *,
        why: Why | None = None,
        otherwise: str = "",
        exact: str = "",
    ) -> None:
        super().__init__(problem)
        self.where, self.problem, self.why = where, problem, why or Why()
        self.otherwise, self.exact = otherwise, exact


def one_error(
    differences: Sequence[DifferenceError], name: str, given: Mapping[str, Any] | None
) -> ParityError:
    """The first difference as the problem, the others after it, and the options that fix all of them.

    Args:
        differences: In the order of the parts.
        name: Name of the file with the golden answers.
        given: What --config was given, which another one would replace.
    """
    first, *others = differences
    hints = [
        first.why.said or first.otherwise,
        *(f"The {one.where} differs, too: {one.problem} {one.why.said}".rstrip() for one in others),
        _command([one.why for one in differences], given or {}),
    ]
    return ParityError(
        f"{name} and deploykit differ in the {first.where}{first.exact}: {first.problem}",
        hint=" ".join(one for one in hints if one),
    )


def _command(whys: Sequence[Why], given: Mapping[str, Any]) -> str:
    config: dict[str, Any] = {}
    for why in whys:
        config |= why.config
    options = [option for why in whys for option in why.options]
    if not config:
        return f"Export with {' '.join(options)}." if options else ""
    if len(json.dumps(dict(given), default=str)) > _LONGEST:
        more = f", and export with {' '.join(options)}" if options else ""
        return f"Add {json.dumps(config)} to what --config gives{more}."
    merged = f"--config '{json.dumps({**given, **config}, default=str)}'"
    return f"Export with {' '.join([merged, *options])}."
