"""Weights found in a file, where they were, and what must be reported about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import Any

import torch
from deploykit_runtimes.text.printable import printable

__all__ = [
    "STATISTICS",
    "Found",
    "Tensors",
    "copies",
    "covers",
    "entries_of",
    "equal",
    "option",
    "quoted",
    "said",
]

Tensors = Mapping[str, torch.Tensor]
HERE = "\x00"
"""Stands in notes for where the dictionary lies that their keys are of, until that is known."""
_END = "\x01"
_TYPED = re.compile(f"{HERE}([^{HERE}{_END}]*){_END}")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Found:
    """Weights in a file.

    Attributes:
        tensors: The weights by their cleaned names.
        key: Where they are, dotted: ``state_dict``, ``callbacks.EMA.ema_weights``; empty at the top.
        module: The pickled module that they belong to, or None.
        notes: What was decided, in sentences, with ``HERE`` before each key.
        question: Why these may not be the intended weights, which only the user can decide; empty if they
            certainly are.
        others: Weights of the same network in a form other than a dictionary, by key.
    """

    tensors: Tensors
    key: str = ""
    module: Any = None
    notes: tuple[str, ...] = ()
    question: str = ""
    others: Mapping[str, Tensors] = field(default_factory=dict)

    def under(self, key: str) -> Found:
        """The same weights, found one level deeper."""
        return replace(
            self,
            key=f"{key}.{self.key}" if self.key else key,
            others={f"{key}.{name}": tensors for name, tensors in self.others.items()},
            notes=tuple(note.replace(HERE, f"{HERE}{key}.") for note in self.notes),
            question=self.question.replace(HERE, f"{HERE}{key}."),
        )

    def noting(self, *notes: str) -> Found:
        return replace(self, notes=(*self.notes, *notes))


def quoted(key: str) -> str:
    """A key as written in notes."""
    return f"'{HERE}{key}'"


def option(key: str) -> str:
    """A key as the user types it, for notes."""
    return f"--weights {HERE}{key}{_END}"


def said(text: str) -> str:
    """A note or question for the user: keys from the top of the file, keys to type quoted for the shell,
    and control characters made harmless.
    """
    text = _TYPED.sub(lambda typed: quote(typed[1]), text)
    return printable(text.replace(HERE, ""))


def entries_of(value: Any) -> dict[str, Any]:
    """The entries of a dictionary, or the attributes of an inert object that is not one."""
    source = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    return {key: entry for key, entry in source.items() if isinstance(key, str)}


def copies(one: Tensors, other: Tensors) -> bool:
    """Whether both are weights of the same network: the same names and shapes, except for the statistics of
    BatchNorm, which not everyone averages.
    """
    return covers(one, other) and covers(other, one)


def covers(one: Tensors, other: Tensors) -> bool:
    """Whether one has all weights of the other, except for the statistics of BatchNorm."""
    return all(
        one[name].shape == tensor.shape if name in one else name.endswith(STATISTICS)
        for name, tensor in other.items()
    )


def equal(one: Tensors, other: Tensors) -> bool:
    """Whether both have the same names, types and values."""
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]) for name, tensor in one.items()
    )
