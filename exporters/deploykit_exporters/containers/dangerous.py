"""Calls that no honest checkpoint makes: none is made, and a file that asks for one is refused by name."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from deploykit_runtimes.errors import UnsafeCheckpointError

__all__ = ["refuse_dangerous"]

_MODULES = (
    *(
        "os",
        "posix",
        "nt",
        "subprocess",
        "commands",
        "popen2",
        "_posixsubprocess",
        "sys",
        "shutil",
        "pty",
        "ctypes",
        "_ctypes",
        "cffi",
    ),
    *("socket", "ssl", "http", "urllib.request", "requests", "ftplib", "smtplib", "telnetlib", "webbrowser"),
    *(
        "importlib",
        "imp",
        "runpy",
        "pkgutil",
        "code",
        "codeop",
        "timeit",
        "cProfile",
        "profile",
        "pdb",
        "bdb",
    ),
    *(
        "pickle",
        "_pickle",
        "marshal",
        "dill",
        "cloudpickle",
        "shelve",
        "fileinput",
        "platform.popen",
        "io.open",
        "_io.open",
    ),
    *(
        "numpy.load",
        "numpy.save",
        "numpy.savez",
        "numpy.savetxt",
        "numpy.fromfile",
        "numpy.loadtxt",
        "numpy.memmap",
    ),
    *(
        "torch.load",
        "torch.save",
        "torch.hub",
        "torch.jit",
        "torch.serialization",
        "torch.utils.cpp_extension",
    ),
    *("pip", "ensurepip", "venv", "setuptools", "distutils", "antigravity"),
)
# The other built-in functions only look, or make plain values: mmengine's history buffers use getattr.
_BUILT_IN = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in (
        *(
            "eval",
            "exec",
            "execfile",
            "compile",
            "open",
            "file",
            "__import__",
            "reload",
            "input",
            "breakpoint",
        ),
        *("setattr", "delattr", "globals", "locals", "vars", "apply"),
    )
)


def refuse_dangerous(inert: Iterable[str], ignore: tuple[str, ...], *, name: str) -> tuple[str, ...]:
    """Refuse a file that names code which could harm the machine.

    Args:
        inert: Globals of the file, as ``module.qualname``, none of which was run.
        ignore: Those in spite of which it is read, or patterns of them.
        name: The file's name.

    Returns:
        Sentences on what was ignored.

    Raises:
        UnsafeCheckpointError: it names such code.
    """
    found = [path for path in inert if _is_dangerous(path)]
    left = [path for path in found if not any(fnmatchcase(path, pattern) for pattern in ignore)]
    if left:
        listed = ", ".join(left[:5]) + (" and others" if len(left) > 5 else "")
        raise UnsafeCheckpointError(
            f"{name} holds objects whose loading would run {listed}. Nothing was run; no honest checkpoint "
            "needs that.",
            hint="Do not load the file by other means. To read its weights all the same, without running "
            f"anything: {' '.join(f'--ignore {path}' for path in left[:5])}",
        )
    return (f"Not run, as --ignore says: {', '.join(found)}.",) if found else ()


def _is_dangerous(path: str) -> bool:
    if path.startswith("pathlib.") and path.count(".") > 1:  # what a path does, not the path
        return True
    return path in _BUILT_IN or any(f"{path}.".startswith(f"{module}.") for module in _MODULES)
