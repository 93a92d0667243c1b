"""Goes through the settings of a file that no dialect reads, and accounts for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.pickles.inert import class_path
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.beside.as_built import BuiltNetwork, describe_built
from deploykit_exporters.families.beside.classes import class_names_of, names_classes
from deploykit_exporters.families.beside.entries import Entry, collect, entries_in
from deploykit_exporters.families.beside.models import named_model
from deploykit_exporters.families.beside.modules import (
    around,
    beside_note,
    custom_class_note,
    refuse_acting,
    refuse_before,
    statistics,
)
from deploykit_exporters.families.beside.network import compare
from deploykit_exporters.families.beside.refusal import crop_pct, differs
from deploykit_exporters.families.beside.scores import with_scores
from deploykit_exporters.families.beside.vocabulary import (
    Topic,
    harmless,
    is_elsewhere,
    is_passing,
    topic_of,
    words,
)
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.channels import for_channels
from deploykit_exporters.families.shared.class_names import ASSUMED_IMAGENET
from deploykit_exporters.families.shared.pickled import refuse_own_code
from deploykit_exporters.families.shared.setting_values import sides_of

if TYPE_CHECKING:
    from deploykit_runtimes.contract.spec import ModelSpec

    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["settle_beside", "stated_size"]

_SMALLEST = 16
_AS_BUILT = "as built"
_LISTED = 6


def settle_beside(
    built: BuiltModel, checkpoint: Checkpoint, hints: Hints, options: Mapping[str, str], *, prefix: str
) -> BuiltModel:
    """Account for every setting of the file that the dialect did not read.

    Args:
        built: The model built from the settings that the dialect read.
        checkpoint: The file.
        hints: What the user said; settings in --config are settled.
        options: The names in --config of the subjects that can be given there.
        prefix: Where the network is among the weights.

    Returns:
        The model, with these settings among its own and a note about the unknown ones.

    Raises:
        CheckpointError: a setting differs from what was built, or has an unknown meaning; the message names
            it and the options that settle it.
    """
    unread, read = collect(checkpoint, built.spec.origin)
    spec = _with_classes(built.spec, (*unread, *read), hints)
    spec = with_scores(spec, checkpoint, unread, hints, prefix)
    spec = replace(spec, assumed=(*spec.assumed, *custom_class_note(checkpoint.module, prefix, spec.origin)))
    facts = describe_built(built.module, for_channels(spec, hints.config))
    done = {(one.where, one.name) for one in built.settings if one.treatment != "unknown"}
    found: list[Setting] = []
    notes: list[str] = []
    for entry in unread:
        if (entry.where, entry.name) in done or (entry.inner, entry.name) in done:
            continue
        if names_classes(entry.name) and class_names_of([(entry.name, entry.value)], len(spec.classes)):
            found.append(_named_classes(entry, spec, hints))
            continue
        found.append(_settled(entry, facts, hints, options))
        notes += named_model(entry, built, facts, hints)
    for path, module, is_step in around(checkpoint.module, prefix):
        found += _step(path, module, facts, hints, options, is_step=is_step)
    found += _statistics(built, checkpoint, facts, hints, options)
    refuse_own_code(checkpoint.module, prefix, hints, checkpoint.path.name)
    refuse_before(checkpoint.tensors, built.settings, spec.input.channels, checkpoint.path.name)
    refuse_acting(checkpoint.tensors, built.settings, facts, checkpoint.path.name)
    own = [one for one in built.settings if one.path not in {mine.path for mine in found}]
    settings = (*own, *found)
    return replace(
        built,
        spec=spec,
        settings=settings,
        notes=(*built.notes, *notes, *_not_read(settings), *beside_note(settings)),
    )


def _statistics(
    built: BuiltModel, checkpoint: Checkpoint, facts: BuiltNetwork, hints: Hints, options: Mapping[str, str]
) -> list[Setting]:
    """The treatment of means and standard deviations of images among the weights.

    Raises:
        CheckpointError: they differ from what was built.
    """
    found = statistics(checkpoint.tensors, built.settings, built.spec.input.channels)
    entries = (
        Entry(where=where or "weights", name=name, value=value, beside={"mean": [], "std": []})
        for where, values in found
        for name, value in values.items()
    )
    return [_settled(entry, facts, hints, options) for entry in entries]


def _with_classes(spec: ModelSpec, entries: Sequence[Entry], hints: Hints) -> ModelSpec:
    """The class names found anywhere in the file, if nothing else gives them."""
    if spec.task != "classify" or hints.labels or (spec.classes and ASSUMED_IMAGENET not in spec.assumed):
        return spec
    entries = [entry for entry in entries if names_classes(entry.name) and not entry.is_ignored(hints)]
    names = class_names_of(((entry.name, entry.value) for entry in entries), spec.num_classes)
    if not names:
        return spec
    assumed = tuple(one for one in spec.assumed if one != ASSUMED_IMAGENET)
    where = next(entry.path for entry in entries if class_names_of([(entry.name, entry.value)], len(names)))
    told = f"The names of the classes are those of {where}."
    return replace(spec, classes=names, assumed=assumed, recognised=(*spec.recognised, told))


def _named_classes(entry: Entry, spec: ModelSpec, hints: Hints) -> Setting:
    """The treatment of class names in a setting: other names were given, or the origin's names are used."""
    settings = Settings(*entry.place, hints.ignore)
    if class_names_of([(entry.name, entry.value)], len(spec.classes)) == spec.classes:
        settings.honoured(entry.name)
    settings.harmless("other names of the classes stand instead", entry.name)
    return settings.account(strict=False)[0]


def stated_size(
    checkpoint: Checkpoint, settings: Iterable[Setting], hints: Hints
) -> tuple[tuple[int, int], str]:
    """The (height, width) of the images as custom training code gives it, and where.

    Args:
        settings: The settings that the dialect read itself; a size among them takes precedence.

    Returns:
        ((0, 0), "") if there is none, or if there are several.
    """
    known = [one for one in settings if one.treatment == "honoured" and topic_of(one.name) == "size"]
    entries = [
        entry
        for part in collect(checkpoint, "")
        for entry in part
        if entry.about in ("size", "crop size") and not words(entry.name) & {"height", "width", "train"}
    ]
    entries = [entry for entry in entries if entry.about == "crop size"] or entries
    sizes = {
        sides: entry.path
        for entry in entries
        if (sides := sides_of(entry.value)) and min(sides) >= _SMALLEST and not entry.is_ignored(hints)
    }
    if known or len(sizes) != 1:
        return (0, 0), ""
    return next(iter(sizes.items()))


def _settled(entry: Entry, facts: BuiltNetwork, hints: Hints, options: Mapping[str, str]) -> Setting:
    """The treatment of one setting.

    Raises:
        CheckpointError: it differs from what was built.
    """
    settings = Settings(*entry.place, hints.ignore)
    why, about = harmless(entry.name), entry.about
    if settings.is_ignored(entry.name):
        about = None
    if entry.path == "safetensors:format":
        why = "of how the model was saved"
    if is_elsewhere(entry.where) or is_passing(entry.name):
        why = why or "of the training"
    if about is not None:
        option = options.get(about, "")
        verdict = compare(about, entry.value, facts, entry.words, entry.beside)
        if verdict.differs and not _is_said(about, option, hints):
            raise differs(entry, verdict, option, given=crop_pct(entry, facts) if "crop" in options else {})
        why = _AS_BUILT if verdict.agrees else "the option replaces it" if verdict.differs else why
    if why:
        settings.harmless(why, entry.name)
    return settings.account(strict=False)[0]


def _step(
    path: str,
    module: Any,
    facts: BuiltNetwork,
    hints: Hints,
    options: Mapping[str, str],
    *,
    is_step: bool,
) -> list[Setting]:
    """The treatment of a module without weights outside the network.

    Raises:
        CheckpointError: it changes images or answers, and differs from what was built.
    """
    kind = class_path(module).rpartition(".")[2]
    settings = Settings("weights", {path: kind}, hints.ignore)
    if kind == "Normalize" and not settings.is_ignored(path):
        entries = entries_in({name: getattr(module, name, None) for name in ("mean", "std")}, path)
        return [_settled(entry, facts, hints, options) for entry in entries]
    agrees = kind == "Sigmoid" and facts.spec.output.activation == "sigmoid"
    asked = kind == "Sigmoid" and (hints.config or {}).get("scores") is not None
    if not (agrees or asked or settings.is_ignored(path)):
        if is_step:
            raise CheckpointError(
                f"The pickled module applies {path}, a {kind}, beside the network, which is exported alone.",
                hint=f"If that does not matter, say so: --ignore {quote(path)}",
            )
        if kind == "Sigmoid" and facts.spec.task == "classify":
            follows = """--config '{"scores": "sigmoid"}' follows it; """ if "scores" in options else ""
            raise CheckpointError(
                f"The pickled module has {path}, a Sigmoid, beside the network: whether it acts on the "
                "scores is not in the file.",
                hint=f"{follows}if it takes no part in the answers, say so: --ignore {quote(path)}",
            )
    if agrees:
        settings.honoured(path)
    return list(settings.account(strict=False))


def _is_said(about: Topic, option: str, hints: Hints) -> bool:
    if about in ("size", "crop size", "resize") and hints.imgsz is not None:
        return True
    return bool(option) and (hints.config or {}).get(option) is not None


def _not_read(settings: Iterable[Setting]) -> list[str]:
    left = [one.path for one in settings if one.treatment == "unknown" and one.where != "weights"]
    more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
    listed = ", ".join(left[:_LISTED])
    return [f"Unknown settings, which were not read: {listed}{more}."] if left else []
