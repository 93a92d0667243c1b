"""The registry of families."""

from __future__ import annotations

import json
import sys
from functools import cache
from importlib import import_module
from typing import cast

from deploykit_runtimes.added import Added
from deploykit_runtimes.errors import OptionError, UnrecognisedCheckpointError
from deploykit_runtimes.text.described import described

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import Family, Hints, Match
from deploykit_exporters.families.unsupported import READS, unsupported_name

__all__ = ["GROUP", "broken_families", "families", "family_names", "recognise"]

GROUP = "deploykit.families"
_BUILT_IN = ("vit", "efficientnet", "crossformer", "yolo")


def _read_added(name: str, found: object) -> Family:
    """A family from another package, checked here, because its defects would otherwise surface far from
    their cause.
    """
    missing = [each for each in ("name", "match", "build") if not hasattr(found, each)]
    if missing:
        raise TypeError(f"a family has name, match and build; {described(found)} has no {missing[0]}")
    family = cast("Family", found)
    if family.name != name:
        raise ValueError(f"it calls itself {family.name}")
    return family


_ADDED = Added(GROUP, noun="family", read=_read_added)
"""The families of other packages."""


def family_names() -> tuple[str, ...]:
    """The names of every known family, found without importing any."""
    return (*_BUILT_IN, *(name for name in _ADDED.names if name not in _BUILT_IN))


@cache
def _built_in() -> dict[str, Family]:
    return {name: import_module(f"deploykit_exporters.families.{name}.family").FAMILY for name in _BUILT_IN}


def families() -> dict[str, Family]:
    """Every known family by name: the built-in ones and those of the entry-point group
    ``deploykit.families``. Families that cannot be loaded are left out, with a warning.
    """
    return {**_ADDED.working(), **_built_in()}


def broken_families() -> dict[str, str]:
    """The families from other packages that cannot be loaded, and why."""
    return {name: reason for name, reason in _ADDED.broken().items() if name not in _BUILT_IN}


def recognise(checkpoint: Checkpoint, hints: Hints) -> tuple[Family, Match]:
    """The family with the strongest claim on the checkpoint.

    Raises:
        OptionError: ``hints.family`` names no family.
        DependencyError: it names a family from another package that cannot be loaded.
        UnrecognisedCheckpointError: no family claims the weights, or they are known to belong to another
            architecture that shares the names of a known one.
    """
    if hints.family in _ADDED.names and hints.family not in _BUILT_IN:
        _ADDED.load(hints.family)
    known = families()
    if hints.family is not None and hints.family not in known:
        raise OptionError(f"--family {hints.family} is not one of {', '.join(sorted(known))}.")
    candidates = [known[hints.family]] if hints.family else list(known.values())
    claims = [(match, family) for family in candidates if (match := family.match(checkpoint)) is not None]
    wanted = [claim for claim in claims if hints.origin in (None, claim[0].origin)]
    if not wanted:
        raise UnrecognisedCheckpointError(
            _no_claim(checkpoint, hints), hint=_advice(checkpoint, hints, claims)
        )
    match, family = max(wanted, key=_score)
    if family.name in _BUILT_IN:
        _refuse_unsupported(checkpoint, match, hints)
    return family, match


def _refuse_unsupported(checkpoint: Checkpoint, match: Match, hints: Hints) -> None:
    """Refuse weights that only look like ours, unless the user names the family."""
    if hints.family or hints.origin or hints.variant:
        return
    view = next((view.tensors for view in checkpoint.views() if view.prefix == match.prefix), {})
    name = unsupported_name(checkpoint, claimed=view)
    if name:
        raise UnrecognisedCheckpointError(
            f"{checkpoint.path.name}: this is {name}; deploykit reads {READS}.",
            hint=f"If it is a {match.family} after all, say so: --family {match.family}",
        )


def _score(claim: tuple[Match, Family]) -> float:
    return claim[0].score


def _advice(checkpoint: Checkpoint, hints: Hints, claims: list[tuple[Match, Family]]) -> str:
    if hints.origin and claims:
        match, family = max(claims, key=_score)
        return f"Without --origin, it is recognised as {family.name} weights in the {match.origin} form."
    if unsupported_name(checkpoint):
        return (
            "Export it with its own library, or torch.onnx.export; deploykit takes that file too: "
            "deploykit predict MODEL.onnx IMAGE"
        )
    return "If it is one of these, say so with --family, --origin or --variant."


def _no_claim(checkpoint: Checkpoint, hints: Hints) -> str:
    name = unsupported_name(checkpoint)
    if name:
        return f"{checkpoint.path.name}: this is {name}; deploykit reads {READS}."
    wanted = " or ".join([hints.family] if hints.family else sorted(families()))
    if hints.origin:
        wanted += f" weights in the {hints.origin} form"
    keys = list(checkpoint.tensors)
    sample = ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")
    alone = [key for key in keys if key.endswith(".bias") and f"{key[:-4]}weight" not in checkpoint.tensors]
    lost = f" Missing beside a bias: {alone[0][:-4]}weight." if len(alone) == 1 else ""
    return f"{checkpoint.path.name}: wanted {wanted}, found {len(keys)} tensors ({sample}).{lost}"


if __name__ == "__main__":  # for `deploykit doctor`, in a process of its own: families import torch
    sys.stdout.write("\n" + json.dumps(broken_families()) + "\n")
