"""Compiled engines on disk, under a key of everything they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.machine.scratch import scratch_folder
from deploykit_runtimes.machine.trusted_folder import trusted_folder

__all__ = ["KEY_FILE", "cache_folder", "default_cache"]

KEY_FILE = "key.json"
_DIGITS = 24


def default_cache() -> Path:
    """``$DEPLOYKIT_CACHE``, or ``deploykit`` below the user's cache folder."""
    if chosen := os.environ.get("DEPLOYKIT_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deploykit"


@contextlib.contextmanager
def cache_folder(root: Path, key: Mapping[str, object]) -> Iterator[Path]:
    """The folder of an engine: the finished one, or a fresh one that is published when the block succeeds.

    An engine that was built for another file, GPU, version or option has another key, and so another
    folder: it is never found, and never overwritten. A folder appears under its final name only as a
    whole, by a rename; of two processes that build at once, the first one to finish publishes.

    Args:
        root: Folder of all engines.
        key: Everything the engine depends on, as plain values.

    Raises:
        OptionError: ``root`` cannot be written, or is not trusted (see ``trusted_folder``).
    """
    root = trusted_folder(root, contents=False)
    text = json.dumps(dict(key), sort_keys=True, indent=1)
    folder = root / hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    if (folder / KEY_FILE).is_file():
        yield trusted_folder(folder)
        return
    with contextlib.ExitStack() as stack:
        try:
            draft = stack.enter_context(scratch_folder(root, folder.name)) / folder.name
            draft.mkdir(mode=0o755)  # not for a group to write to, whatever the umask
        except OSError as error:
            raise OptionError(f"The cache {root} cannot be written: {error.strerror}.") from error
        yield draft
        (draft / KEY_FILE).write_text(text, encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was first: its folder is as good
            draft.rename(folder)
