"""The exception tree. Every error that a user can cause is one of these.

    DeploykitError
    ├── OptionError                 an option is wrong or contradicts another          exit 2
    ├── ParityError                 ONNX and checkpoint disagree beyond tolerance      exit 3
    ├── CheckpointError             a checkpoint cannot be read or used                exit 2
    │   ├── UnsafeCheckpointError       it would need code execution to be read
    │   └── UnrecognisedCheckpointError no family knows these weights
    ├── ModelError                  an .onnx file or its metadata cannot be used       exit 5
    ├── DependencyError             a package is missing; names the pip line           exit 6
    ├── RuntimeUnavailableError     an engine or device was asked for and cannot run   exit 7
    ├── InputError                  an image or tensor does not fit the model          exit 8
    └── DownloadError               weights could not be fetched                       exit 9

A message says what was wanted, what was found and what to do next. The three parts are
given to the constructor separately, so that no message can forget one of them. Texts of files, requests and
engines in them are made printable there, so that no message can forget that either.
"""

from __future__ import annotations

from deploykit_runtimes.text.printable import printable

__all__ = [
    "CheckpointError",
    "DependencyError",
    "DeploykitError",
    "DownloadError",
    "InputError",
    "ModelError",
    "OptionError",
    "ParityError",
    "RuntimeUnavailableError",
    "UnrecognisedCheckpointError",
    "UnsafeCheckpointError",
]


class DeploykitError(Exception):
    """Base of every error deploykit raises on purpose.

    Args:
        problem: What went wrong, with what was wanted and what was found.
        hint: What the user can do about it; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, problem: str, *, hint: str = "") -> None:
        self.problem = printable(problem)
        self.hint = printable(hint)
        super().__init__(self.problem)

    def __str__(self) -> str:
        return f"{self.problem}\n  {self.hint}" if self.hint else self.problem


class OptionError(DeploykitError):
    """An option is malformed, out of range, or contradicts another one."""

    exit_code = 2


class ParityError(DeploykitError):
    """The exported model does not give the checkpoint's answers."""

    exit_code = 3


class CheckpointError(DeploykitError):
    """A checkpoint file cannot be read, or its weights cannot be used."""

    exit_code = 2


class UnsafeCheckpointError(CheckpointError):
    """Reading the file further would execute code that the file chose."""


class UnrecognisedCheckpointError(CheckpointError):
    """No family recognises the weights in the file."""


class ModelError(DeploykitError):
    """An ONNX file cannot be loaded, or its metadata contradicts itself."""

    exit_code = 5


class DependencyError(DeploykitError):
    """A package that the request needs is not installed."""

    exit_code = 6


class RuntimeUnavailableError(DeploykitError):
    """An engine or device was asked for by name and cannot run here."""

    exit_code = 7


class InputError(DeploykitError):
    """An image, file or tensor does not fit what the model declares."""

    exit_code = 8


class DownloadError(DeploykitError):
    """Weights named by the user could not be fetched."""

    exit_code = 9
