"""Errors that a file provokes, reported as faults of the file.

Readers look at values that anyone may have written: a size that is a tensor, a list where a number should be.
Each is checked where its meaning is known; anything that no check foresaw is caught here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deploykit_runtimes.errors import CheckpointError, DeploykitError
from deploykit_runtimes.machine.exhausted import exhausted

__all__ = ["blaming"]

_SHOWN = 300


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Turn any error that is not ours into one that names the file.

    Args:
        name: The file's name.

    Raises:
        CheckpointError: instead of the error, which is its cause.
        MemoryError: the machine's memory does not suffice; torch reports that as a RuntimeError.
    """
    try:
        yield
    except (DeploykitError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        if exhausted(error):
            raise MemoryError(str(error)) from error
        reason = f"{type(error).__name__}: {str(error)[:_SHOWN]}".rstrip(" :.")
        raise CheckpointError(
            f"{name} holds something that cannot be understood ({reason}).",
            hint="A setting or tensor has a form that training does not write. Save the model's state_dict "
            "alone; "
            "if the file is as training wrote it, run again with --debug and report the traceback.",
        ) from error
