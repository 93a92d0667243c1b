"""How the file turns logits into scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from deploykit_runtimes.errors import OptionError

from deploykit_exporters.containers.pickles.inert import class_path
from deploykit_exporters.families.beside.as_built import plain
from deploykit_exporters.families.beside.contents import contents
from deploykit_exporters.families.beside.entries import Entry
from deploykit_exporters.families.beside.modules import around
from deploykit_exporters.families.beside.network import says_several, scores_of
from deploykit_exporters.families.beside.verdict import word_of
from deploykit_exporters.families.beside.vocabulary import words

if TYPE_CHECKING:
    from deploykit_runtimes.contract.spec import Activation, ModelSpec

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Hints

__all__ = ["SCORES", "with_scores"]

SCORES = ("softmax", "sigmoid", "none")
"""What --config can say of the scores."""
# Losses that score each class by itself.
_EACH = ("bce", "binarycrossentropy", "multilabelsoftmargin", "multilabelmargin", "asymmetricloss", "asl")
_LOSSES = {"loss", "criterion", "criteria", "objective"}


def with_scores(
    spec: ModelSpec, checkpoint: Checkpoint, entries: Sequence[Entry], hints: Hints, prefix: str
) -> ModelSpec:
    """The spec with what --config, a pickled step after the network, or a setting says about its scores.

    Args:
        spec: The spec of what was built.
        checkpoint: The file.
        entries: Its settings that no dialect read.
        hints: What the user said; ``scores`` in --config takes precedence.
        prefix: Where the network is among the weights.

    Raises:
        OptionError: --config names an unknown score function.
    """
    asked = (hints.config or {}).get("scores")
    if asked is not None and asked not in SCORES:
        raise OptionError(f"--config: scores are made by {', '.join(SCORES)}, found {asked!r:.60}.")
    if spec.task != "classify":
        return spec
    used = [entry for entry in entries if not entry.is_ignored(hints)]
    told = next(_stated_scores(spec, checkpoint, used, hints, prefix), None)
    if told is not None:
        return _scored(spec, *told)
    if spec.output.activation != "softmax":
        return spec
    lost = next(_losses(used, checkpoint), "")
    if not lost:
        return spec
    assumed = (
        f"The scores are one softmax over all classes. The loss of the training ({lost}) scores each class "
        f"by "
        """itself: if an image may be of several, --config '{"scores": "sigmoid"}' says so."""
    )
    return replace(spec, assumed=(*spec.assumed, assumed))


def _stated_scores(
    spec: ModelSpec, checkpoint: Checkpoint, used: Sequence[Entry], hints: Hints, prefix: str
) -> Iterator[tuple[Activation, str]]:
    """How scores are made, and the source of that information, the strongest source first."""
    asked = (hints.config or {}).get("scores")
    if asked is not None:
        yield cast("Activation", asked), "as --config says"
    if spec.output.activation != "softmax":
        return
    for path, module, is_step in around(checkpoint.module, prefix):
        if is_step and class_path(module).endswith(".Sigmoid"):
            yield "sigmoid", f"as {path} of the pickled module does"
    for entry in used:
        if entry.about == "multi-label" and says_several(entry.value):
            yield "sigmoid", f"an image may have several classes, as {entry.path} says"
        if entry.about == "scores" and scores_of(entry.value, entry.words) == "sigmoid":
            yield "sigmoid", f"as {entry.path} says"


def _scored(spec: ModelSpec, activation: Activation, reason: str) -> ModelSpec:
    ways = {
        "sigmoid": "Each class is scored by a sigmoid",
        "softmax": "The scores are one softmax over all classes",
        "none": "The scores are what the last layer gives",
    }
    told = f"{ways[activation]}, {reason}."
    output = replace(spec.output, activation=activation)
    return replace(spec, output=output, recognised=(*spec.recognised, told))


def _losses(entries: Sequence[Entry], checkpoint: Checkpoint) -> Iterator[str]:
    """Places in the file that name a loss which scores each class independently."""
    for entry in entries:
        if not words(entry.within) & _LOSSES:
            continue
        inside = contents(entry.value) or {}
        told = next((inside[key] for key in ("name", "type", "_target_") if key in inside), entry.value)
        if plain(word_of(told)).startswith(_EACH):
            yield f"{entry.path} = {word_of(told)!r:.60}"
    yield from (name for name in checkpoint.tensors if name.rpartition(".")[2] == "pos_weight")
