"""Records on disk, so that an interrupted run can be resumed.

One folder per model and data set, named by a key of everything the records depend on: the files of the
model, the engine and its options, the pictures and their labels, the settings, and the release. Parts are
written whole or not at all; at most the last few seconds are lost.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import atomic_path
from deploykit_runtimes.machine.engine_cache import default_cache
from deploykit_runtimes.machine.trusted_folder import trusted_folder
from deploykit_runtimes.text.printable import one_line

from deploykit.evaluation.scores.records import Record, pack, unpack

__all__ = ["State"]

_EVERY = 5.0
"""Seconds between two parts."""
_PLACES = "places"


class State:
    """The records of one model on one data set.

    Used as a context manager: added records are written at the end, even if the run is interrupted.

    Args:
        key: All that the records depend on, as plain values.
        resume: Continue from an interrupted run; otherwise start over.
        folder: Where; None: ``eval`` in deploykit's cache.

    Raises:
        OptionError: the cache cannot be written, or is not trusted.
    """

    def __init__(self, key: Mapping[str, object], *, resume: bool = True, folder: Path | None = None) -> None:
        text = json.dumps(dict(key), sort_keys=True)
        root = trusted_folder(folder or default_cache() / "eval", contents=False)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:24]
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.records: dict[int, Record] = self._read()
        self._new: dict[int, Record] = {}
        self._written = time.monotonic()

    def add(self, place: int, record: Record) -> None:
        """Keep the record of a sample."""
        self.records[place] = self._new[place] = record
        if time.monotonic() - self._written >= _EVERY:
            self.write()

    def write(self) -> None:
        """Write what was added since the last part."""
        self._written = time.monotonic()
        if not self._new:
            return
        trusted_folder(self.folder)
        target = self.folder / f"{min(self._new):08d}-{len(self._new)}.npz"
        places = np.array(list(self._new), np.int64)
        with atomic_path(target) as draft, draft.open("wb") as file:
            arrays: dict[str, Any] = {_PLACES: places, **pack(list(self._new.values()))}
            np.savez_compressed(file, **arrays)
        self._new = {}

    def discard(self) -> None:
        """Remove the records, since the run is finished."""
        self._new = {}
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write()

    def _read(self) -> dict[int, Record]:
        if not self.folder.is_dir():
            return {}
        trusted_folder(self.folder)
        found: dict[int, Record] = {}
        for part in sorted(self.folder.glob("*.npz")):
            try:
                with part.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                    packed = {name: arrays[name] for name in arrays.files}
                places = packed.pop(_PLACES).tolist()
                found.update(zip(places, unpack(packed), strict=True))
            except Exception as error:  # zipfile, zlib and numpy each have errors of their own
                reason = one_line(error) or type(error).__name__
                raise OptionError(
                    f"{part}, which an interrupted evaluation left, cannot be read: {reason}.",
                    hint="--fresh starts over.",
                ) from error
        return found
