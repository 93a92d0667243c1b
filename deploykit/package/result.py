"""What was packaged, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PackageResult"]


@dataclass(frozen=True, kw_only=True)
class PackageResult:
    """A folder that was written.

    Attributes:
        kind: ``triton``, ``ray``, ``kserve`` or ``docker``.
        path: The folder.
        files: Its files, relative to it.
        models: Facts about each model by the name it is served under.
        notes: What was derived or left out, and why.
        next: What to type next; ``{path}`` stands for the folder.
    """

    kind: str
    path: Path
    files: tuple[str, ...]
    models: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()
    next: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": self.kind,
            "path": str(self.path),
            "files": list(self.files),
            "models": {name: dict(facts) for name, facts in self.models.items()},
            "notes": list(self.notes),
            "next": list(self.commands),
        }

    @property
    def commands(self) -> tuple[str, ...]:
        """What to type next, with the path filled in."""
        return tuple(command.replace("{path}", str(self.path)) for command in self.next)
