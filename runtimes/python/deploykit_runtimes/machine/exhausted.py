"""What a machine ran out of, read from whatever a library raises for it: memory, disk, files, threads.

Every library has words of its own for it, and some of them reach Python as errors of a class that tells
nothing. None of them is a bug, and none says anything about the file that was read.
"""

from __future__ import annotations

import errno
import re
import sys
from pathlib import Path

if sys.platform != "win32":
    import resource

__all__ = ["EXHAUSTED", "address_limit", "exhausted", "out_of_files", "stated_size"]

EXHAUSTED = 1
"""The exit code of a command that ran out of something."""

_MEMORY = re.compile(
    r"std::bad_alloc|bad allocation|[Oo]ut of memory|Cannot allocate memory|failed to map segment"
    r"|[Cc]an't allocate memory|Failed to allocate (?:\d+ bytes of )?memory|Unable to allocate"
    r"|not enough memory|MemoryError"
)
_ASKED = (
    re.compile(r"tried to allocate (?P<bytes>\d+) bytes"),  # torch, on the CPU
    re.compile(r"[Tt]ried to allocate (?P<size>[\d.]+ [KMGT]i?B)"),  # torch, on a GPU
    re.compile(r"requested buffer of size (?P<bytes>\d+)"),  # ONNX Runtime
    re.compile(r"Failed to allocate (?P<bytes>\d+) bytes of memory"),  # OpenVINO
    re.compile(r"Unable to allocate (?P<size>[\d.]+ [KMGT]?i?B\w*)"),  # numpy
    re.compile(r"unable to mmap (?P<bytes>\d+) bytes"),  # torch, of a file
)
_WHO = re.compile(r"(?P<library>lib[\w.+-]*\.so[\w.]*|[\w.-]+\.so): (?:failed to map segment|cannot)")
_THREADS = re.compile(
    r"can't start new thread|Thread creation failed|thread constructor failed|pthread_create"
)
_FILES = re.compile(r"Too many open files")
_STARVED = 0.9
_STEPS = 20  # of errors that came of each other
_DISK = re.compile(r"No space left on device|Disk quota exceeded")


def exhausted(error: BaseException) -> str | None:
    """What ran out, as a sentence that says what asked for how much where the error tells; None: nothing did.

    Args:
        error: Of any library. Errors of deploykit's own say what they mean, and are not looked into.
    """
    text = str(error)
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, MemoryError) and text.startswith("out of memory: "):
        return text  # told already, where more was known
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return f"out of memory: {_asked(error, text)}{_limit()}"
    if isinstance(error, (RuntimeError, ImportError)) or type(error).__module__.startswith("onnxruntime"):
        problem = _of_library(text)
        if problem is not None:
            return problem
    return _of_starved(error)


def out_of_files(error: BaseException) -> str | None:
    """That files ran out, as a sentence, where an error came of it at any step; None: they did not.

    Whoever reads a file takes an error of opening it for the file's own.
    """
    step: BaseException | None = error
    for _ in range(_STEPS):
        if step is None:
            break
        of_system = isinstance(step, OSError) and step.errno in (errno.EMFILE, errno.ENFILE)
        if of_system or (isinstance(step, RuntimeError) and _FILES.search(str(step))):
            return exhausted(step)
        step = step.__cause__ or step.__context__
    return None


def address_limit() -> int | None:
    """Bytes of address space that this process may have (``ulimit -v``); None: any number."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def stated_size(count: float) -> str:
    """A number of bytes in decimal units."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def _of_starved(error: BaseException) -> str | None:
    """An error of any kind where nearly all of a limited address space is used: an import that got no more
    leaves half of a module, which fails later with whatever comes of it."""
    limit = address_limit()
    if limit is None or (peak := _peak()) < _STARVED * limit:
        return None
    came = f"{type(error).__name__}: {_first_line(str(error))}"
    return f"out of memory: {stated_size(peak)} were in use when it failed: {came}{_limit()}"


def _peak() -> int:
    """The most bytes of address space that this process ever had."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmPeak:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _of_library(text: str) -> str | None:
    if _THREADS.search(text):
        return f"out of threads: {_first_line(text)}{_limit()}"
    if _FILES.search(text):
        return f"{_too_many_files()}: {_first_line(text)}"
    return _first_line(text) if _DISK.search(text) else None


def _of_system(error: OSError) -> str | None:
    named = f": {error.filename}" if error.filename is not None else ""
    if error.errno == errno.ENOMEM or _MEMORY.search(str(error)):
        return f"out of memory: {error.strerror or _first_line(str(error))}{named}{_limit()}"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{_too_many_files()}{named}"
    if error.errno == errno.EAGAIN and not named:
        return f"out of processes or threads: {error.strerror}"
    return None


def _asked(error: BaseException, text: str) -> str:
    """Who asked, and for how much."""
    who = _library(error)
    if found := _WHO.search(text):
        return f"{found['library']} does not fit"
    for pattern in _ASKED:
        if (found := pattern.search(text)) is None:
            continue
        named = found.groupdict()
        return f"{who} asked for {named.get('size') or stated_size(int(named['bytes']))}"
    return f"{who} asked for more than there is" + (f" ({_first_line(text)})" if text else "")


def _library(error: BaseException) -> str:
    """The package whose code was running: that of the innermost frame, or of the error's own class."""
    name, trace = type(error).__module__.partition(".")[0], error.__traceback__
    if name != "builtins":
        return name
    while trace is not None:
        running = str(trace.tb_frame.f_globals.get("__name__", name))
        name = name if running.startswith("importlib") else running
        trace = trace.tb_next
    return "deploykit" if name in ("builtins", "__main__") else name.partition(".")[0]


def _limit() -> str:
    limit = address_limit()
    return "" if limit is None else f"; this process may have {stated_size(limit)} (ulimit -v)"


def _too_many_files() -> str:
    if sys.platform == "win32":
        return "too many open files"
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"too many open files: this process may have {most} (ulimit -n)"


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:300]
