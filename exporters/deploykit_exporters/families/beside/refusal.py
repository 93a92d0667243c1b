"""Messages about settings that differ from what was built, and the options that settle them."""

from __future__ import annotations

import json
import math
from shlex import quote
from typing import Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.beside.as_built import BuiltNetwork
from deploykit_exporters.families.beside.entries import Entry
from deploykit_exporters.families.beside.scores import SCORES
from deploykit_exporters.families.beside.verdict import Verdict
from deploykit_exporters.families.shared.setting_values import sides_of

__all__ = ["crop_pct", "differs"]

_LARGEST_UNIT = 2


def crop_pct(entry: Entry, facts: BuiltNetwork) -> dict[str, Any]:
    """The value of --config for a resize before a crop; nothing for other settings."""
    sides, image = sides_of(entry.value), facts.spec.input
    cropped = any("crop" in name.lower() for name in entry.beside)
    if sides is None or not (entry.about == "resize" or (entry.about == "size" and cropped)):
        return {}
    share = math.floor(1e4 * min(image.height, image.width) / min(sides)) / 1e4
    mode = {"crop_mode": "squash"} if isinstance(entry.value, list | tuple) else {}
    return {**mode, "crop_pct": share} if share <= 1 else {}


def differs(entry: Entry, verdict: Verdict, option: str, *, given: dict[str, Any]) -> CheckpointError:
    told = _printed(entry.value)
    if entry.about == "pool" and isinstance(told, bool):
        told = "avg" if told else "token"
    ignore = f"--ignore {quote(entry.path)}"
    follow = "If that does not describe this network, "
    sides = sides_of(entry.value)
    if entry.about in ("scores", "multi-label"):
        told = "sigmoid" if entry.about == "multi-label" else told
        option = option if told in SCORES else ""
    if option and not given:
        given = {option: _in_units(told) if entry.about in ("mean", "std") else told}
    if given:
        config = json.dumps(given, default=str)
        follow = f"If that describes this network, --config '{config}' follows it; if it is not, "
    elif entry.about in ("size", "crop size") and sides:
        size = str(sides[0]) if sides[0] == sides[1] else ",".join(map(str, sides))
        follow = f"If that is the size of its images, --imgsz {size} follows it; if it is not, "
    return CheckpointError(
        f"The file says {entry.name} = {told!r:.60} ({entry.place[0]}); deploykit would build "
        f"{verdict.built}.",
        hint=f"{follow}say so: {ignore}",
    )


def _printed(value: Any) -> Any:
    """A value as written in errors: for a class its name, for MAE's flag its meaning."""
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, tuple):
        return list(value)
    if hasattr(value, "inert_path"):
        return str(value.inert_path)
    return value


def _in_units(value: Any) -> Any:
    """Mean and std of pixels in 0..1, in the form of --config."""
    values = value if isinstance(value, list) else [value]
    return [round(one / 255, 5) for one in values] if max(values) > _LARGEST_UNIT else value
