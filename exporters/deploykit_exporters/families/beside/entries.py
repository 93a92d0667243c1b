"""The settings of a file that the dialect does not read, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit_exporters.families.beside.classes import names_classes
from deploykit_exporters.families.beside.contents import contents, value_of
from deploykit_exporters.families.beside.verdict import eps_inside
from deploykit_exporters.families.beside.vocabulary import (
    NORMS,
    Topic,
    is_elsewhere,
    is_passing,
    topic_of,
    words,
)
from deploykit_exporters.families.settings import Settings

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["Entry", "collect", "entries_in"]

# Names of text that may be a whole configuration.
_TEXTS = {*("config", "cfg", "configuration", "args", "hparams", "params", "parameters", "hyperparameters")}
_TEXTS |= {"settings", "opt", "options", "yaml", "json", "model", "overrides", "argv", "cli", "command"}
_TEXTS |= {"cmd", "cmdline", "arguments"}
_DEEPEST, _MOST = 6, 5000
# What the files of an origin hold that its dialect reads itself.
_READ = frozenset({"arch", "timm_config", "preprocessor", "processor", "open_clip"})
_READ_BY = {
    "transformers": {"config"},
    "open_clip": {"config", "name"},
    "mmpretrain": {"meta", "cfg", "config", "message_hub"},
}
# Names that say something only with what they are in: ``head.type``, ``norm.eps``.
_BARE = {"type", "name", "kind", "eps"}
_OF_PLACES = {"classifier", "head eps", "eps", "pool", "activation", "norm", "attention"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One setting somewhere in a file, with its neighbours in the same place."""

    where: str
    name: str
    value: Any
    beside: Mapping[str, Any]

    @property
    def place(self) -> tuple[str, dict[str, Any]]:
        """The place, as ``Settings`` takes it."""
        return self.where or "checkpoint", {self.name: self.value}

    @property
    def inner(self) -> str:
        """The name of what contains it: ``backbone``."""
        return self.where.rpartition(".")[2]

    @property
    def within(self) -> str:
        """Its name together with what contains it: ``backbone.name``."""
        return f"{self.inner}.{self.name}"

    @property
    def words(self) -> frozenset[str]:
        """The words of its name, together with those of what contains it if the name alone says nothing."""
        return words(self.within if self.name in _BARE else self.name)

    @property
    def path(self) -> str:
        """The name that --ignore uses."""
        return f"{self.place[0]}:{self.name}"

    @property
    def about(self) -> Topic | None:
        """What it says about the network; nothing if its place belongs to the training."""
        if is_elsewhere(self.where):
            return None
        if self.name not in _BARE:
            return topic_of(self.name)
        found = topic_of(self.within)
        return found if found in _OF_PLACES else None

    def is_ignored(self, hints: Hints) -> bool:
        """Whether the user said that it does not matter."""
        return Settings(*self.place, hints.ignore).is_ignored(self.name)


def collect(checkpoint: Checkpoint, origin: str) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """The settings that an origin's dialect does not read, and those that it reads itself."""
    left = [_MOST]
    own = _READ_BY.get(origin, set())
    meta = _unread(checkpoint)
    unread = {name: value for name, value in meta.items() if name not in own}
    read = {name: value for name, value in meta.items() if name in own}
    return tuple(_walk(unread, "", 0, left)), tuple(_walk(read, "", 0, left))


def entries_in(values: Mapping[str, Any], where: str) -> Iterator[Entry]:
    """The settings among the values of one place."""
    return _walk(values, where, 0, [_MOST])


def _unread(checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings at the top of the file that no dialect reads."""
    read = set(_READ)
    config = checkpoint.meta.get("config")
    if checkpoint.container == "huggingface" or (
        isinstance(config, Mapping) and {"architecture", "MODEL", "model_type"} & config.keys()
    ):
        read |= {"config", "name"}
    return {name: value for name, value in checkpoint.meta.items() if name not in read}


def _walk(values: Any, where: str, depth: int, left: list[int]) -> Iterator[Entry]:
    found = contents(values)
    if found is None or depth > _DEEPEST:
        return
    plain = {name: value_of(value) for name, value in found.items() if isinstance(name, str)}
    for name, value in plain.items():
        left[0] -= 1
        if name.startswith("_") or left[0] < 0:
            continue
        text = isinstance(value, str) and not words(name) & _TEXTS
        inside = None if is_passing(name) or text else contents(value)
        entry = Entry(where=where, name=name, value=value, beside=plain)
        if inside is None or entry.about is not None or names_classes(name):
            yield entry
        eps = eps_inside(value) if entry.about in ("norm", None) and words(name) & NORMS else None
        if eps is not None:
            yield replace(entry, name=f"{name}.eps", value=eps)
            inside = inside and {key: one for key, one in inside.items() if key != "eps"}
        if inside is not None:
            yield from _walk(inside, f"{where}.{name}" if where else name, depth + 1, left)
