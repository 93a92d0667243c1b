"""One thing that the doctor checked."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was checked: an engine, an ability, or a conflict.

    Attributes:
        ok: It works.
        detail: What runs, or the reason why it does not.
        fix: The one line that would change that; empty when nothing needs to change.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
