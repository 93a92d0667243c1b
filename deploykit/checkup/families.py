"""Families from other packages that cannot be loaded."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import entry_points

from deploykit.checkup.finding import Finding
from deploykit.process.children import run_child

__all__ = ["broken_families", "family_findings"]

_GROUP = "deploykit.families"
_SECONDS = 120


def broken_families() -> dict[str, str]:
    """Why each family from another package cannot be loaded, found by importing it, with torch, in a
    separate process.
    """
    points = entry_points(group=_GROUP)
    if not points:
        return {}
    with suppress(subprocess.TimeoutExpired, json.JSONDecodeError, IndexError):
        done = run_child("deploykit_exporters.families.registry", seconds=_SECONDS)
        reasons: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
        return reasons
    return {point.name: "the process that tried to load it ended without an answer" for point in points}


def family_findings(broken: Mapping[str, str]) -> tuple[Finding, ...]:
    """A finding for each of them."""
    packages = {point.name: point.dist.name for point in entry_points(group=_GROUP) if point.dist is not None}
    return tuple(
        Finding(
            name=f"family {name}",
            ok=False,
            detail=f"broken: {reason}",
            fix=f"pip install --upgrade --force-reinstall {packages[name]}"
            if name in packages
            else "reinstall the package that brings it",
        )
        for name, reason in broken.items()
    )
