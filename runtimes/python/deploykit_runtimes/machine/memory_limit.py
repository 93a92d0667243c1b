"""How much memory a model may take, in a process that is deploykit's own.

What a graph asks for shows only when it is loaded or run: any operator can make something large of something
small. So the process itself is limited, in the memory that it has for itself alone (RLIMIT_DATA): the system
then refuses what goes beyond, to whichever part of an engine that asks, and the engine says so. It costs
nothing where nothing is refused. Linux otherwise grants more than it has, and ends the process that uses it.

The same rules stand in ``runtimes/cpp/src/machine/memory_limit.cpp``.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploykit_runtimes.errors import OptionError

if sys.platform != "win32":
    import resource

__all__ = [
    "LOAD_BYTES",
    "LOAD_PER_BYTE",
    "MEMORY",
    "allocating",
    "container_memory",
    "limit_memory",
    "loading",
    "share_memory",
]

MEMORY = "DEPLOYKIT_MEMORY"
"""Environment variable: the most that a process may have (``4G``, ``500M``), or ``off``."""

LOAD_BYTES = 1 << 30
"""Memory that every model may take while it is loaded: four times the constants of ``limits.MADE``."""

LOAD_PER_BYTE = 16
"""Memory for each byte of a model and its weights: weights of 4 bits, as float32, and packed again."""

RUN_BYTES = 1 << 30
"""Memory that every model may take in its first run."""

RUN_PER_VALUE = 16384
"""Memory for each value of its inputs: attention of 16 heads between patches of 8 pixels, at 1024 pixels."""

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_UNLIMITED = 1 << 60  # control groups of version 1 write it as the largest page-aligned number


class _State:
    """Of this process. Soft limits are the process' own to lower and raise."""

    lock = threading.Lock()
    own = False
    shared = False
    bounded = 0
    before: int | None = None


def limit_memory() -> None:
    """Hold this process to the memory that the machine or its container has, from the first model on.

    For programs that run only deploykit: the limit also holds for everything else in the process.
    The loading of a model and its first run have limits of their own, which follow from its size and that of
    its inputs. ``DEPLOYKIT_MEMORY`` sets another limit instead, for any program, or ``off``.
    """
    _State.own = True


def share_memory() -> None:
    """No limit for the one model holds any more: others run beside it, as in a server, and what those take
    cannot be told apart."""
    _State.shared = True


@contextmanager
def loading(nbytes: int) -> Iterator[int | None]:
    """A model is loaded in the block, and may take only so much; after it, the process' own limit holds.

    Args:
        nbytes: Size of the model, with the weights beside it.

    Yields:
        Bytes that may be taken in the block; None: there is no limit.

    Raises:
        OptionError: ``DEPLOYKIT_MEMORY`` is not a size.
    """
    with _bounded(LOAD_BYTES + LOAD_PER_BYTE * nbytes) as allowed:
        yield allowed


@contextmanager
def first_run(values: int) -> Iterator[int | None]:
    """A model is run for the first time in the block, and may take only so much; see ``loading``.

    Args:
        values: Of all inputs together.
    """
    with _bounded(RUN_BYTES + RUN_PER_VALUE * values) as allowed:
        yield allowed


@contextmanager
def allocating(nbytes: int) -> Iterator[None]:
    """Limit what a library allocates in the block for sizes that a file claims; it reports what goes beyond.

    For blocks of milliseconds, in any process; its other threads are limited meanwhile too. On Linux only.

    Args:
        nbytes: The most that may be taken.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    with _State.lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = _own_memory()[0] + nbytes
        known = [given for given in (soft, hard) if given != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min(limit, *known) if known else limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def _bounded(more: int) -> Iterator[int | None]:
    chosen = _chosen()
    if not sys.platform.startswith("linux") or chosen == 0 or not (chosen or _State.own):
        yield None
        return
    most = min(filter(None, (chosen, _machine_memory())), default=_UNLIMITED)
    with _State.lock:
        _State.bounded += 1
        alone = chosen is None and not _State.shared and _State.bounded == 1
        allowed = _set_limit(most, more if alone else None)
    try:
        yield allowed
    finally:
        with _State.lock:
            _State.bounded -= 1
            _set_limit(most, None)


def _chosen() -> int | None:
    """Bytes that ``DEPLOYKIT_MEMORY`` gives; 0: it says ``off``; None: it says nothing."""
    text = os.environ.get(MEMORY, "").strip()
    if not text:
        return None
    if text.lower() == "off":
        return 0
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * (1 << _UNITS[found[2].upper()])) if found else 0
    if not size:
        raise OptionError(f"{MEMORY} wants a size, as 4G or 500M, or off, found {text!r}.")
    return size


def container_memory(root: Path = Path("/")) -> int | None:
    """Bytes that control groups allow; None: they do not limit it."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            found = (root / "sys/fs/cgroup" / name).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            continue
        if found.isdecimal():
            return int(found) if int(found) < _UNLIMITED else None
    return None


def _set_limit(most: int, more: int | None) -> int:
    """Set the soft limit to ``most`` in memory, or to ``more`` beyond what there is; what is left below it.

    The system counts what was asked for, used or not: threads have stacks that they hardly touch. What is
    there already without being in memory is therefore added.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if _State.before is None:
        _State.before = soft
    counted, resident = _own_memory()
    limit = counted - resident + most
    if more is not None:
        limit = min(limit, counted + more)
    for given in (_State.before, hard):
        limit = limit if given == resource.RLIM_INFINITY else min(limit, given)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return max(limit - counted, 0)


def _own_memory() -> tuple[int, int]:
    """Bytes that the process asked for, and those of them that are in memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    counted, resident = (
        re.search(rf"^{name}:\s*(\d+) kB", status, re.MULTILINE) for name in ("VmData", "RssAnon")
    )
    size = int(counted[1]) << 10 if counted else 0
    return size, min(size, int(resident[1]) << 10 if resident else 0)


def _machine_memory() -> int | None:
    """Bytes of the machine with what it swaps to, or of the container."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return container_memory()
    found = dict(re.findall(r"^(MemTotal|SwapTotal):\s*(\d+) kB", text, re.MULTILINE))
    if "MemTotal" not in found:
        return container_memory()
    machine = sum(map(int, found.values())) << 10
    return min(machine, container_memory() or machine)
