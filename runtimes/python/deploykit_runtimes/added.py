"""What other packages add as entry points; one that cannot be loaded spoils nothing but itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from deploykit_runtimes.errors import DependencyError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Added"]

_T = TypeVar("_T")


class Added(Generic[_T]):
    """The objects of an entry-point group, by name. They are imported when they are asked for.

    Args:
        group: The entry-point group.
        noun: What one of them is called in messages.
        read: Called with the name and whatever the entry point names; returns it where it is of the right
            type, and raises ``TypeError`` or ``ValueError`` with the reason where it is not.
    """

    def __init__(self, group: str, *, noun: str, read: Callable[[str, object], _T]) -> None:
        self.group = group
        self._noun = noun
        self._read = read
        self._loaded: dict[str, _T | DependencyError] = {}
        self._warned: set[str] = set()

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=self.group)}

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are registered, none of which is imported for it."""
        return tuple(self._points)

    def load(self, name: str) -> _T:
        """One of them.

        Raises:
            DependencyError: it cannot be imported, or is something else; says which package brings it.
        """
        if name not in self._loaded:
            self._loaded[name] = self._attempt(self._points[name])
        found = self._loaded[name]
        if isinstance(found, DependencyError):
            raise found
        return found

    def working(self, *, quiet: bool = False) -> dict[str, _T]:
        """Those that can be loaded. Of each other, one warning tells, unless ``quiet``."""
        found: dict[str, _T] = {}
        for name in self._points:
            try:
                found[name] = self.load(name)
            except DependencyError as error:
                if not quiet and name not in self._warned:
                    self._warned.add(name)
                    warnings.warn(f"{error.problem} {error.hint}", RuntimeWarning, stacklevel=2)
        return found

    def broken(self) -> dict[str, str]:
        """Why each of the others cannot be loaded."""
        reasons = {}
        for name in self._points:
            try:
                self.load(name)
            except DependencyError as error:
                reasons[name] = error.problem
        return reasons

    def package(self, name: str) -> str:
        """The distribution that brings one; empty where its metadata does not say."""
        distribution = self._points[name].dist
        return "" if distribution is None else distribution.name

    def _attempt(self, point: EntryPoint) -> _T | DependencyError:
        package = self.package(point.name)
        hint = f"Update or reinstall {package or 'the package that brings it'}."
        try:
            found = point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - another package may raise anything
            told = f"{type(error).__name__}: {' '.join(str(error).split())[:300] or 'no message'}"
            return DependencyError(
                f"The {self._noun} {point.name} ({point.value}) cannot be loaded: {told}.", hint=hint
            )
        try:
            return self._read(point.name, found)
        except (TypeError, ValueError) as error:
            return DependencyError(
                f"The {self._noun} {point.name} ({point.value}) is not usable: {error}.", hint=hint
            )
