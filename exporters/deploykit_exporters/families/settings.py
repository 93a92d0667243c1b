"""Every setting in a checkpoint, and its treatment: nothing is dropped silently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from shlex import quote
from typing import Any, Literal

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.text.printable import printable

__all__ = ["Setting", "Settings", "Treatment"]

Treatment = Literal["honoured", "harmless", "ignored", "unknown"]
_LONGEST = 60


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, or one unused tensor, of a checkpoint.

    Attributes:
        where: Where it is: ``args``, ``config.json``, ``weights``.
        name: Its key there.
        value: Its value in a few characters.
        treatment: ``honoured``: the model was built accordingly. ``harmless``: it cannot change an answer.
            ``ignored``: the user said so with --ignore. ``unknown``: it is among settings of all kinds (the
            arguments of a training script), and its effect is unknown.
        why: Why it is harmless; empty for the others.
    """

    where: str
    name: str
    value: str
    treatment: Treatment
    why: str = ""

    @property
    def path(self) -> str:
        """Its name for --ignore: ``config.json:num_heads``."""
        return f"{self.where}:{self.name}"


class Settings:
    """The settings of one place, read in such a way that unread ones are noticed.

    A dialect reads what it honours with ``get``, marks what cannot change an answer with ``harmless``, and
    checks what it can only build in one way with ``expect``. ``account`` then reports the treatment of each
    setting, and refuses what is left over.

    Args:
        where: Where they are, in the users' terms: ``args``, ``model_args``, ``config.json``.
        values: The settings; ``get`` treats a value of None as not given.
        ignore: What the user gave with --ignore: ``name``, ``where:name``, or a pattern with ``*``.
    """

    def __init__(self, where: str, values: Mapping[str, Any], ignore: Iterable[str] = ()) -> None:
        self.where = where
        self._values = {str(key): value for key, value in values.items()}
        self._ignore = tuple(ignore)
        self._found: dict[str, tuple[Treatment, str]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting that determines the model; an ignored one counts as not given."""
        if name not in self._values or self.is_ignored(name):
            return default
        self._found[name] = ("honoured", "")
        value = self._values[name]
        return default if value is None else value

    def __bool__(self) -> bool:
        return bool(self._values)

    @property
    def honours(self) -> bool:
        """Whether any of them determines the model."""
        return any(treatment == "honoured" for treatment, _ in self._found.values())

    def honoured_names(self) -> tuple[str, ...]:
        """The names of the settings that determine the model."""
        return tuple(name for name in self._values if self._found.get(name, ("",))[0] == "honoured")

    def plain(self) -> dict[str, Any]:
        """The settings that were given and not ignored."""
        return {
            name: value
            for name, value in self._values.items()
            if value is not None and not self.is_ignored(name)
        }

    def open(self) -> tuple[str, ...]:
        """The names of the settings that have not been read or marked so far."""
        return tuple(name for name in self._values if name not in self._found and not self.is_ignored(name))

    def honoured(self, *names: str) -> None:
        """Mark settings that were read elsewhere as honoured."""
        for name in names:
            self.get(name)

    def harmless(self, why: str, *patterns: str) -> None:
        """Mark settings as unable to change an answer.

        Args:
            why: The reason, for ``inspect`` and the docs.
            patterns: Names, or patterns with ``*``.
        """
        for name in self._values:
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                self._found.setdefault(name, ("harmless", why))

    def expect(self, name: str, *allowed: Any, instead: str = "") -> None:
        """Refuse a setting whose value cannot be built; None is always allowed.

        Args:
            name: The setting.
            allowed: The values that match what is built.
            instead: What the user can do about another value.

        Raises:
            CheckpointError: it has another value.
        """
        value = self.get(name)
        if value is not None and not any(type(value) is type(one) and value == one for one in allowed):
            wanted = " or ".join(map(_short, allowed)) or "nothing"
            raise CheckpointError(
                f"{self.where} says {name} = {_short(value)}, which changes the answers; "
                f"deploykit builds this architecture with {wanted} only.",
                hint=instead or f"If it does not matter to this model, say so: --ignore {self.where}:{name}",
            )

    def account(self, *, strict: bool) -> tuple[Setting, ...]:
        """The treatment of every setting.

        Args:
            strict: These are the arguments of a constructor, each of which can change an answer: an unread
                one is refused. Otherwise they may be anything, and an unread one is reported as unknown.

        Raises:
            CheckpointError: strict, and a setting is left over.
        """
        settings = tuple(self._setting(name, value) for name, value in self._values.items())
        left = [setting for setting in settings if setting.treatment == "unknown"]
        if strict and left:
            listed = ", ".join(f"{setting.name} = {setting.value}" for setting in left[:5])
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            raise CheckpointError(
                f"{self.where} has settings that deploykit does not know and that may change the answers: "
                f"{listed}{more}.",
                hint=f"If they do not matter to this model, say so: --ignore {quote(left[0].path)}",
            )
        return settings

    def _setting(self, name: str, value: Any) -> Setting:
        treatment, why = self._found.get(name, ("unknown", ""))
        if self.is_ignored(name):
            treatment, why = "ignored", ""
        elif value is None and treatment == "unknown":
            treatment, why = "harmless", "not given"
        return Setting(where=self.where, name=name, value=_short(value), treatment=treatment, why=why)

    def is_ignored(self, name: str) -> bool:
        """Whether the user said that a setting does not matter."""
        return any(
            fnmatchcase(name, pattern) or fnmatchcase(f"{self.where}:{name}", pattern)
            for pattern in self._ignore
        )


def _short(value: Any) -> str:
    """A value of any kind in at most 60 printable characters."""
    if isinstance(value, str) and len(value) > _LONGEST:
        text = f"'{printable(value, _LONGEST - 2)}'"
    elif isinstance(value, bool | int | float | str) or value is None:
        text = repr(value)
    elif (
        isinstance(value, list | tuple)
        and len(value) <= 8
        and all(isinstance(v, bool | int | float | str) for v in value)
    ):
        text = f"[{', '.join(map(_short, value))}]"
    else:
        text = f"<{type(value).__name__}>"
    return printable(text, _LONGEST)
