"""Measurements on disk, so that an interrupted search can continue and decide as it would have."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import atomic_path
from deploykit_runtimes.machine.engine_cache import default_cache
from deploykit_runtimes.machine.trusted_folder import trusted_folder

__all__ = ["State"]

_FILE = "measurements.json"


class State:
    """The measurements of one search, by name.

    Args:
        key: All that the measurements depend on, as plain values.
        resume: Continue from an interrupted run; otherwise start over.
        folder: Where; None: ``quantize`` in deploykit's cache.

    Raises:
        OptionError: the cache cannot be written, is not trusted, or holds a damaged file.
    """

    def __init__(self, key: Mapping[str, object], *, resume: bool = True, folder: Path | None = None) -> None:
        text = json.dumps(dict(key), sort_keys=True)
        root = trusted_folder(folder or default_cache() / "quantize", contents=False)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:24]
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.measured: dict[str, Any] = self._read()
        self.resumed = len(self.measured)

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """The stored measurement of this name, or the plain values that ``measure`` now returns."""
        if name not in self.measured:
            self.measured[name] = measure()
            trusted_folder(self.folder)
            with atomic_path(self.folder / _FILE) as draft:
                draft.write_text(json.dumps(self.measured), encoding="utf-8")
        return self.measured[name]

    def discard(self) -> None:
        """Remove the measurements, since the search is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> dict[str, Any]:
        file = self.folder / _FILE
        if not file.is_file():
            return {}
        trusted_folder(self.folder)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OptionError(
                f"{file}, which an interrupted search left, cannot be read: {error}.",
                hint="--fresh starts over.",
            ) from error
        return found if isinstance(found, dict) else {}
