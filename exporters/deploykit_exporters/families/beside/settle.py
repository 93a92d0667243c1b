"""Goes through the settings of a file that no dialect reads, and settles each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.inert import class_path
from deploykit_exporters.dialects.values import sides_of
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.beside.classes import class_names_of, names_classes
from deploykit_exporters.families.beside.contents import contents, value_of
from deploykit_exporters.families.beside.facts import Facts, facts_of
from deploykit_exporters.families.beside.modules import (
    around,
    beside_note,
    foreign_class,
    refuse_before,
    statistics,
)
from deploykit_exporters.families.beside.network import compare, says_several
from deploykit_exporters.families.beside.verdict import Verdict, eps_inside
from deploykit_exporters.families.beside.vocabulary import (
    NORMS,
    Subject,
    harmless,
    is_apart,
    is_passing,
    names_model,
    subject,
    words,
)
from deploykit_exporters.families.channels import for_channels
from deploykit_exporters.families.classifiers import ASSUMED_IMAGENET
from deploykit_exporters.families.settings import Setting, Settings

if TYPE_CHECKING:
    from deploykit_runtimes.spec import ModelSpec

    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["settle_beside", "told_size"]

# Names of text that may be a whole configuration.
_TEXTS = {*("config", "cfg", "configuration", "args", "hparams", "params", "parameters", "hyperparameters")}
_TEXTS |= {"settings", "opt", "options", "yaml", "json", "model"}
_DEEPEST, _MOST, _SMALLEST = 6, 5000, 16
_AS_BUILT = "as built"
_LISTED = 6
_LARGEST_UNIT = 2
# What the files of an origin hold that its dialect reads itself.
_READ = frozenset({"arch", "timm_config", "preprocessor", "processor", "open_clip"})
_READ_BY = {
    "transformers": {"config"},
    "open_clip": {"config", "name"},
    "mmpretrain": {"meta", "cfg", "config", "message_hub"},
}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One setting somewhere in a file, and those at the same place."""

    where: str
    name: str
    value: Any
    beside: Mapping[str, Any]

    @property
    def place(self) -> tuple[str, dict[str, Any]]:
        """What ``Settings`` takes."""
        return self.where or "checkpoint", {self.name: self.value}

    @property
    def within(self) -> str:
        """Its name with that of what it is in: ``backbone.name``."""
        return f"{self.where.rpartition('.')[2]}.{self.name}"

    @property
    def path(self) -> str:
        """What --ignore calls it."""
        return f"{self.place[0]}:{self.name}"

    @property
    def about(self) -> Subject | None:
        """What it says of the network; nothing where its place is the training's."""
        return None if is_apart(self.where) else subject(self.name)


def settle_beside(
    built: BuiltModel, checkpoint: Checkpoint, hints: Hints, options: Mapping[str, str], *, prefix: str
) -> BuiltModel:
    """Account for every setting of the file that the dialect did not read.

    Args:
        built: What was built by those that it did.
        checkpoint: The file.
        hints: What the user said; what --config names is settled.
        options: What --config calls the subjects that can be given there.
        prefix: Where the network is among the weights.

    Returns:
        The model, with these settings among its own and a note of those that nobody knows.

    Raises:
        CheckpointError: a setting has another value than what was built, or one that says what is not known;
            it is named, with the options that settle it.
    """
    spec = _with_scores(_with_classes(built.spec, checkpoint, hints), checkpoint, hints, prefix)
    spec = replace(spec, assumed=(*spec.assumed, *foreign_class(checkpoint.module, prefix, spec.origin)))
    facts = facts_of(built.module, for_channels(spec, hints.config))
    done = {(one.where, one.name) for one in built.settings if one.treatment != "unknown"}
    found: list[Setting] = []
    notes: list[str] = []
    for entry in _entries(_unread(checkpoint, built.spec.origin), "", 0, [_MOST]):
        inner = entry.where.rpartition(".")[2]
        if (entry.where, entry.name) in done or (inner, entry.name) in done:
            continue
        if names_classes(entry.name) and class_names_of([(entry.name, entry.value)], len(spec.classes)):
            found.append(_named_classes(entry, spec, hints))
            continue
        found.append(_settled(entry, facts, hints, options))
        notes += _named(entry, built, hints)
    channels = built.spec.input.channels
    for where, values in statistics(checkpoint.tensors, built.settings, channels):
        for name, value in values.items():
            entry = _Entry(where=where or "weights", name=name, value=value, beside={"mean": [], "std": []})
            found.append(_settled(entry, facts, hints, options))
    for path, module, is_step in around(checkpoint.module, prefix):
        found += _step(path, module, facts, hints, options, is_step=is_step, spec=spec)
    refuse_before(checkpoint.tensors, built.settings, channels, checkpoint.path.name)
    own = [one for one in built.settings if one.path not in {mine.path for mine in found}]
    settings = (*own, *found)
    return replace(
        built,
        spec=spec,
        settings=settings,
        notes=(*built.notes, *notes, *_not_read(settings), *beside_note(settings)),
    )


def _with_classes(spec: ModelSpec, checkpoint: Checkpoint, hints: Hints) -> ModelSpec:
    """The names of the classes that the file says anywhere, where nothing else names them."""
    if spec.task != "classify" or hints.labels or (spec.classes and ASSUMED_IMAGENET not in spec.assumed):
        return spec
    entries = [
        entry
        for entry in _entries(_unread(checkpoint, ""), "", 0, [_MOST])
        if names_classes(entry.name) and not Settings(*entry.place, hints.ignore).is_ignored(entry.name)
    ]
    names = class_names_of(((entry.name, entry.value) for entry in entries), spec.num_classes)
    if not names:
        return spec
    assumed = tuple(one for one in spec.assumed if one != ASSUMED_IMAGENET)
    where = next(entry.path for entry in entries if class_names_of([(entry.name, entry.value)], len(names)))
    told = f"The names of the classes are those of {where}."
    return replace(spec, classes=names, assumed=assumed, recognised=(*spec.recognised, told))


def _with_scores(spec: ModelSpec, checkpoint: Checkpoint, hints: Hints, prefix: str) -> ModelSpec:
    """A sigmoid for each class, where the file says that an image may be of several."""
    if spec.task != "classify" or spec.output.activation != "softmax":
        return spec
    for path, module, is_step in around(checkpoint.module, prefix):
        if is_step and class_path(module).endswith(".Sigmoid"):
            told = f"Each class is scored by a sigmoid, as {path} of the pickled module does."
            output = replace(spec.output, activation="sigmoid")
            return replace(spec, output=output, recognised=(*spec.recognised, told))
    for entry in _entries(_unread(checkpoint, spec.origin), "", 0, [_MOST]):
        ignored = Settings(*entry.place, hints.ignore).is_ignored(entry.name)
        if entry.about == "multi-label" and says_several(entry.value) and not ignored:
            told = f"An image may be of several classes, as {entry.path} says."
            output = replace(spec.output, activation="sigmoid")
            return replace(spec, output=output, recognised=(*spec.recognised, told))
    return spec


def _named_classes(entry: _Entry, spec: ModelSpec, hints: Hints) -> Setting:
    """What becomes of names of classes: other names were given, or stand where those of an origin are."""
    settings = Settings(*entry.place, hints.ignore)
    if class_names_of([(entry.name, entry.value)], len(spec.classes)) == spec.classes:
        settings.honoured(entry.name)
    settings.harmless("other names of the classes stand instead", entry.name)
    return settings.account(strict=False)[0]


def told_size(
    checkpoint: Checkpoint, settings: Iterable[Setting], hints: Hints
) -> tuple[tuple[int, int], str]:
    """(height, width) of the images as training code of one's own says it, and where.

    Args:
        settings: What the dialect read itself: a size among it stands.

    Returns:
        ((0, 0), "") where nothing says it, or not one size.
    """
    known = [one for one in settings if one.treatment == "honoured" and subject(one.name) == "size"]
    entries = [
        entry
        for entry in _entries(_unread(checkpoint, ""), "", 0, [_MOST])
        if entry.about in ("size", "crop size") and not words(entry.name) & {"height", "width", "train"}
    ]
    entries = [entry for entry in entries if entry.about == "crop size"] or entries
    sizes = {
        sides: entry.path
        for entry in entries
        if (sides := sides_of(entry.value))
        and min(sides) >= _SMALLEST
        and not Settings(*entry.place, hints.ignore).is_ignored(entry.name)
    }
    if known or len(sizes) != 1:
        return (0, 0), ""
    return next(iter(sizes.items()))


def _unread(checkpoint: Checkpoint, origin: str) -> dict[str, Any]:
    """What the dialect did not read by itself, of the top of the file."""
    read = {*_READ, *_READ_BY.get(origin, ())}
    config = checkpoint.meta.get("config")
    if checkpoint.container == "huggingface" or (
        isinstance(config, Mapping) and {"architecture", "MODEL", "model_type"} & config.keys()
    ):
        read |= {"config", "name"}
    return {name: value for name, value in checkpoint.meta.items() if name not in read}


def _entries(values: Any, where: str, depth: int, left: list[int]) -> Iterator[_Entry]:
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
        entry = _Entry(where=where, name=name, value=value, beside=plain)
        if inside is None or entry.about is not None or names_classes(name):
            yield entry
        eps = eps_inside(value) if entry.about in ("norm", None) and words(name) & NORMS else None
        if eps is not None:
            yield replace(entry, name=f"{name}.eps", value=eps)
        if inside is not None:
            yield from _entries(inside, f"{where}.{name}" if where else name, depth + 1, left)


def _settled(entry: _Entry, facts: Facts, hints: Hints, options: Mapping[str, str]) -> Setting:
    """What becomes of one setting.

    Raises:
        CheckpointError: it differs from what was built.
    """
    settings = Settings(*entry.place, hints.ignore)
    why, about = harmless(entry.name), entry.about
    if settings.is_ignored(entry.name):
        about = None
    if entry.path == "safetensors:format":
        why = "of how the model was saved"
    if is_apart(entry.where) or is_passing(entry.name):
        why = why or "of the training"
    if about is not None:
        option = options.get(about, "")
        verdict = compare(about, entry.value, facts, words(entry.name), entry.beside)
        if verdict.differs and not _is_said(about, option, hints):
            raise _differs(entry, verdict, option, given=_crop_pct(entry, facts) if "crop" in options else {})
        why = _AS_BUILT if verdict.agrees else "the option stands instead" if verdict.differs else why
    if why:
        settings.harmless(why, entry.name)
    return settings.account(strict=False)[0]


def _step(
    path: str,
    module: Any,
    facts: Facts,
    hints: Hints,
    options: Mapping[str, str],
    *,
    is_step: bool,
    spec: ModelSpec,
) -> list[Setting]:
    """What becomes of a module without weights beside the network.

    Raises:
        CheckpointError: it changes images or answers, and is not what was built.
    """
    kind = class_path(module).rpartition(".")[2]
    settings = Settings("weights", {path: kind}, hints.ignore)
    if kind == "Normalize" and not settings.is_ignored(path):
        entries = _entries({name: getattr(module, name, None) for name in ("mean", "std")}, path, 0, [_MOST])
        return [_settled(entry, facts, hints, options) for entry in entries]
    agrees = kind == "Sigmoid" and spec.output.activation == "sigmoid"
    if is_step and not agrees and not settings.is_ignored(path):
        raise CheckpointError(
            f"The pickled module applies {path}, a {kind}, beside the network, which is exported alone.",
            hint=f"If that does not matter, say so: --ignore {quote(path)}",
        )
    if agrees:
        settings.honoured(path)
    return list(settings.account(strict=False))


def _is_said(about: Subject, option: str, hints: Hints) -> bool:
    if about in ("size", "crop size", "resize") and hints.imgsz is not None:
        return True
    return bool(option) and (hints.config or {}).get(option) is not None


def _crop_pct(entry: _Entry, facts: Facts) -> dict[str, Any]:
    """What --config takes of a resize before a crop; nothing of other settings."""
    sides, image = sides_of(entry.value), facts.spec.input
    cropped = any("crop" in name.lower() for name in entry.beside)
    if sides is None or not (entry.about == "resize" or (entry.about == "size" and cropped)):
        return {}
    share = math.floor(1e4 * min(image.height, image.width) / min(sides)) / 1e4
    mode = {"crop_mode": "squash"} if isinstance(entry.value, list | tuple) else {}
    return {**mode, "crop_pct": share} if share <= 1 else {}


def _differs(entry: _Entry, verdict: Verdict, option: str, *, given: dict[str, Any]) -> CheckpointError:
    told = _told(entry.value)
    if entry.about == "pool" and isinstance(told, bool):
        told = "avg" if told else "token"
    ignore = f"--ignore {quote(entry.path)}"
    follow = "If that is not of this network, "
    sides = sides_of(entry.value)
    if option and not given:
        given = {option: _in_units(told) if entry.about in ("mean", "std") else told}
    if given:
        config = json.dumps(given, default=str)
        follow = f"If that is of this network, --config '{config}' follows it; if it is not, "
    elif entry.about in ("size", "crop size") and sides:
        size = str(sides[0]) if sides[0] == sides[1] else ",".join(map(str, sides))
        follow = f"If that is the size of its images, --imgsz {size} follows it; if it is not, "
    return CheckpointError(
        f"The file says {entry.name} = {told!r:.60} ({entry.place[0]}); built would be {verdict.built}.",
        hint=f"{follow}say so: {ignore}",
    )


def _told(value: Any) -> Any:
    """A value as it stands in errors: of a class its name, of MAE's flag what it means."""
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, tuple):
        return list(value)
    if hasattr(value, "inert_path"):
        return str(value.inert_path)
    return value


def _in_units(value: Any) -> Any:
    """Mean and std of pixels in 0..1, as --config takes them."""
    values = value if isinstance(value, list) else [value]
    return [round(one / 255, 5) for one in values] if max(values) > _LARGEST_UNIT else value


def _named(entry: _Entry, built: BuiltModel, hints: Hints) -> list[str]:
    """A name of a model that the file says, and that is not read."""
    value, variant = entry.value, built.spec.variant
    if (
        built.spec.origin != "timm"
        or hints.variant
        or entry.where == "args"
        or not any(names_model(name, value) for name in (entry.name, entry.within))
    ):
        return []
    if value.partition(".")[0] == variant.partition(".")[0]:
        return []
    if built.spec.family == "efficientnet":  # padding and eps are those of a name, and no shape tells them
        if Settings(*entry.place, hints.ignore).is_ignored(entry.name):
            return []
        raise CheckpointError(
            f"The file names {value!r} ({entry.path}); built would be {variant}.",
            hint=f"--variant {quote(value)} follows it; if that is not of this network, say so: "
            f"--ignore {quote(entry.path)}",
        )
    return [
        f"The file names {value!r} ({entry.path}), whose settings may be others than those that the weights "
        f"tell: --variant {quote(value)} follows it."
    ]


def _not_read(settings: Iterable[Setting]) -> list[str]:
    left = [one.path for one in settings if one.treatment == "unknown" and one.where != "weights"]
    more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
    listed = ", ".join(left[:_LISTED])
    return [f"Settings that are not known and were not read: {listed}{more}."] if left else []
