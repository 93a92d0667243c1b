"""Calls that no honest checkpoint makes: they are never executed, and a file with one is refused."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from shlex import quote

from deploykit_runtimes.errors import UnsafeCheckpointError

from deploykit_exporters.containers.pickles.powers import canonical, power_of

__all__ = ["not_executed", "refuse_dangerous"]

_LISTED = 5
_HINTED = 20
# Packages that pickle functions by their code.
_STORED_CODE = ("cloudpickle.", "dill.")


def refuse_dangerous(inert: Iterable[str], ignore: tuple[str, ...], *, name: str) -> tuple[str, ...]:
    """Refuse a file that names code which could harm the machine.

    Args:
        inert: Globals named in the file, as ``module.qualname``; none was executed.
        ignore: Names or patterns to tolerate: as in the file (``posix.system``) or as users write them
            (``os.system``).
        name: The file's name.

    Returns:
        Sentences on what was ignored.

    Raises:
        UnsafeCheckpointError: it names such code.
    """
    found = [path for path in _functions(inert) if power_of(path) == "harm"]
    left = [path for path in found if not _is_ignored(path, ignore)]
    if left:
        listed = ", ".join(map(_described, left[:_LISTED])) + (" and others" if len(left) > _LISTED else "")
        options = " ".join(f"--ignore {quote(path)}" for path in left[:_HINTED])
        if all(path.startswith(_STORED_CODE) for path in left):
            raise UnsafeCheckpointError(
                f"{name} stores code beside the weights, as fastai's learn.export() does: loading it would "
                f"run {listed}. Nothing was run.",
                hint="Save the weights where the model was trained: torch.save(learn.model.state_dict(), "
                f'"model.pth"). To read those of this file, without running anything: {options}',
            )
        raise UnsafeCheckpointError(
            f"{name} holds objects whose loading would run {listed}. Nothing was run; no honest checkpoint "
            "needs that.",
            hint="Do not load the file by other means. To read its weights all the same, without running "
            f"anything: {options}",
        )
    return (f"Not run, as --ignore says: {', '.join(found)}.",) if found else ()


def not_executed(inert: Iterable[str]) -> tuple[str, ...]:
    """Standard library calls in the file that are harmless and were still not executed, by their usual
    names.
    """
    found = (canonical(path) for path in _functions(inert) if power_of(path) == "compute")
    return tuple(dict.fromkeys(found))


def _functions(inert: Iterable[str]) -> list[str]:
    """Without calls on the results of a named function, since that function is already listed."""
    return list(dict.fromkeys(path.removesuffix(".__call__") for path in inert))


def _is_ignored(path: str, ignore: tuple[str, ...]) -> bool:
    known = canonical(path)
    return any(fnmatchcase(path, one) or fnmatchcase(known, canonical(one)) for one in ignore)


def _described(path: str) -> str:
    known = canonical(path)
    return path if known == path else f"{path} ({known})"
