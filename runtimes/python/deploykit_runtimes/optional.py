"""Optional dependencies: an error that names the pip line instead of an ImportError."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from deploykit_runtimes.errors import DependencyError
from deploykit_runtimes.machine.exhausted import exhausted

__all__ = ["require"]


def require(module: str, *, extra: str, purpose: str = "") -> ModuleType:
    """Import a module that an extra of deploykit brings.

    Args:
        module: Dotted name to import, for instance ``openvino``.
        extra: The extra that installs it.
        purpose: What it is needed for, to complete "... is needed to".

    Raises:
        DependencyError: it is not installed, or its own import fails. Nothing is installed.
        MemoryError: there is no room for its libraries.
    """
    try:
        return import_module(module)
    except ImportError as error:
        if (problem := exhausted(error)) is not None:
            raise MemoryError(problem) from error
        missing = (error.name or module).partition(".")[0]
        need = f" is needed to {purpose}" if purpose else " is needed"
        state = (
            "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
        )
        raise DependencyError(
            f"{module}{need}, but {missing} {state}.",
            hint=f"Install it with: pip install 'deploykit[{extra}]'",
        ) from error
