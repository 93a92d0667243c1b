"""An option, declared once: as a field of a dataclass.

    @declared
    @dataclass(frozen=True, kw_only=True, repr=False)
    class BenchOptions(Options):
        runs: int | None = option(None, "Timed calls per row.", least=1, metavar="N")

The field is the keyword of Python. Its type and bounds check the value, and its help is the line of the
docstring. ``deploykit.commands.shared.declared`` makes the option of the command line of it, and
docs/options.py the line of docs/options.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.arguments import (
    as_count,
    as_counts,
    as_flag,
    as_names,
    as_number,
    as_path,
    as_share,
    as_size,
    as_text,
    as_texts,
    as_words,
    known_keywords,
    refuse_unknown,
)
from deploykit_runtimes.text.described import changed_fields, described

__all__ = [
    "Form",
    "Option",
    "Options",
    "declared",
    "option",
    "options_of",
    "put_over",
    "refuse_other_fields",
    "same_as",
]

_T = TypeVar("_T")
_O = TypeVar("_O", bound="Options")
_KEY = "deploykit"
_WIDTH = 100

Form = Literal[
    "flag",
    "count",
    "number",
    "share",
    "text",
    "path",
    "choice",
    "size",
    "words",
    "names",
    "texts",
    "counts",
    "own",
]
"""What an option holds; most follow from the type of the field. ``own``: its dataclass reads it."""

_FORMS: dict[object, Form] = {bool: "flag", int: "count", float: "number", str: "text", Path: "path"}
_READERS: dict[Form, Callable[[object, str], object]] = {
    "flag": as_flag,
    "number": as_number,
    "share": as_share,
    "text": as_text,
    "path": as_path,
    "size": as_size,
    "words": as_words,
    "names": as_names,
    "texts": as_texts,
    "counts": as_counts,
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of an option.

    Attributes:
        name: Of the field, and of the keyword.
        default: Its default.
        help: What it does, for the command line, the docstring and the docs.
        more: What the docstring and the docs say besides: other forms that are taken, what None means.
        form: What it holds.
        optional: Whether it may be None.
        flags: How the command line spells it; by default after the name: ``--max-det``. Empty: the command
            line does not have it.
        metavar: What stands for its value in the help.
        choices: The values that there are.
        least, most, above: Bounds of its value; ``above`` is exclusive.
        several: Whether it may be given several times.
        path: What the path must be, for the command line.
        completes: What the shell offers; see ``deploykit.commands.shared.completing``.
        required: Whether the command line must have it.
    """

    name: str
    default: Any
    help: str
    more: str
    form: Form
    optional: bool
    flags: tuple[str, ...]
    metavar: str | None
    choices: tuple[str, ...]
    least: float | None
    most: float | None
    above: float | None
    several: bool
    path: Literal["any", "file", "folder", "target"]
    completes: str
    required: bool

    @property
    def label(self) -> str:
        """How messages name it."""
        spelt = f"--{self.name.replace('_', '-')}"
        return max(self.flags, key=len) if self.flags and not self.turns_off else spelt

    @property
    def turns_off(self) -> bool:
        """Whether the command line turns it off: ``--no-simplify``."""
        return self.form == "flag" and self.default is True

    def read(self, value: object) -> object:
        """A value in the form of the field.

        Raises:
            OptionError: it cannot be used.
        """
        if self.form == "own" or (value is None and self.optional):
            return value
        if self.form == "choice":
            return self._chosen(value)
        if self.form == "count":
            read: object = as_count(value, self.label, least=None)
        else:
            read = _READERS[self.form](value, self.label)
        if self.form in ("count", "number", "share") and not self._within(read):
            raise OptionError(f"{self.label} wants {self._range()}, found {described(value)}.")
        return read

    def _chosen(self, value: object) -> object:
        from deploykit_runtimes.options.arguments import suggestion

        if value not in self.choices:
            hint = suggestion(value, self.choices) if isinstance(value, str) else ""
            raise OptionError(
                f"{self.label} wants one of {', '.join(self.choices)}, found {described(value)}.", hint=hint
            )
        return value

    def _within(self, value: Any) -> bool:
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and value <= self.above)
        )

    def _range(self) -> str:
        if self.form == "share":
            return "a share such as 0.01 or 1%"
        kind = "a whole number" if self.form == "count" else "a number"
        if self.least is not None:
            low = f"from {self.least:g}" if self.most is not None else f"of at least {self.least:g}"
            return f"{kind} {low}" + (f" to {self.most:g}" if self.most is not None else "")
        return f"{kind} above {self.above:g}" + (f", at most {self.most:g}" if self.most is not None else "")


def option(
    default: Any,
    help: str,
    more: str = "",
    *,
    form: Form | None = None,
    flags: tuple[str, ...] | str | None = None,
    metavar: str | None = None,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    several: bool = False,
    path: Literal["any", "file", "folder", "target"] = "any",
    completes: str = "",
    required: bool = False,
) -> Any:
    """A field of a dataclass of options; see ``Option``, whose attributes these are."""
    told = {
        "help": help,
        "more": more,
        "form": form,
        "flags": (flags,) if isinstance(flags, str) else flags,
        "metavar": metavar,
        "choices": choices,
        "least": least,
        "most": most,
        "above": above,
        "several": several,
        "path": path,
        "completes": completes,
        "required": required,
    }
    return dataclasses.field(default=default, metadata={_KEY: told})


def same_as(record: type[Options], name: str, **changed: Any) -> Any:
    """The field of another dataclass of options, declared there; with other ``default=`` or words here."""
    [field] = [each for each in dataclasses.fields(record) if each.name == name]
    told = {**field.metadata[_KEY], **changed}
    return option(**{"default": field.default, **told})


@dataclass(frozen=True, kw_only=True, repr=False)
class Options:
    """The base of every dataclass of options: its values are read and checked as their fields declare."""

    def __post_init__(self) -> None:
        for each in options_of(type(self)):
            object.__setattr__(self, each.name, each.read(getattr(self, each.name)))

    def __repr__(self) -> str:
        return changed_fields(self)

    def keywords(self) -> dict[str, Any]:
        """The fields as the keywords that they are."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def part(self, record: type[_O]) -> _O:
        """Those of these options that a dataclass declares which this one extends."""
        return record(**{field.name: getattr(self, field.name) for field in dataclasses.fields(record)})


_resolved: dict[type[Any], tuple[Option, ...]] = {}


def options_of(record: type[Options]) -> tuple[Option, ...]:
    """What a dataclass of options declares, in the order of its fields."""
    if record not in _resolved:
        types = get_type_hints(record)
        _resolved[record] = tuple(_option(field, types[field.name]) for field in dataclasses.fields(record))
    return _resolved[record]


def declared(record: type[_T]) -> type[_T]:
    """A dataclass of options whose docstring explains its fields, and which answers unknown keywords with the
    nearest known one."""
    setattr(record, "__init__", known_keywords(record.__name__)(record.__init__))  # noqa: B010 - for mypy
    lines = []
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        told = field.metadata[_KEY]
        off = "False: " if field.default is True else ""
        text = f"{field.name}: {off}{told['help']} {told['more']}".rstrip()
        lines += wrap(text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
    record.__doc__ = "\n".join([(record.__doc__ or "").rstrip(), "", "Attributes:", *lines, ""])
    return record


def put_over(given: object, record: type[_O], settings: Mapping[str, Any], keyword: str = "options") -> _O:
    """Options with the keywords put over them that are theirs; other keywords are left alone.

    Args:
        given: The options; None: the defaults.
        record: Their type.
        settings: The keywords.
        keyword: The name under which they were given.

    Raises:
        OptionError: they are of another type, or a value cannot be used.
    """
    if given is not None and not isinstance(given, record):
        raise OptionError(f"{keyword} wants {record.__name__}, found {type(given).__name__}.")
    names = {field.name for field in dataclasses.fields(record)}
    own = {name: value for name, value in settings.items() if name in names}
    return record(**own) if given is None else dataclasses.replace(given, **own)


def _option(field: dataclasses.Field[Any], kind: Any) -> Option:
    told = dict(field.metadata[_KEY])
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    types = [each for each in members if each is not NoneType]
    choices = told.pop("choices")
    form = told.pop("form")
    if get_origin(types[0]) is Literal:
        form, choices = form or "choice", choices or get_args(types[0])
    flags = told.pop("flags")
    return Option(
        name=field.name,
        default=field.default,
        form=form or ("choice" if choices else _FORMS[types[0]]),
        optional=NoneType in members,
        choices=choices,
        flags=_flags(field) if flags is None else flags,
        **told,
    )


def _flags(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    spelt = f"no_{field.name}" if field.default is True else field.name
    return (f"--{spelt.replace('_', '-')}",)


def refuse_other_fields(
    where: str, settings: Mapping[str, Any], own: Sequence[str], *records: type[Options]
) -> None:
    """Refuse keywords that no dataclass of options has, with the nearest that there is.

    Args:
        where: The name of the public function.
        settings: What was given.
        own: Its other keywords, of which one may be meant.
        records: Whose fields it takes.

    Raises:
        OptionError: there is one.
    """
    names = [field.name for record in records for field in dataclasses.fields(record)]
    refuse_unknown(settings, [*own, *names], where=where)
