"""A checkpoint by path or name -> the built model: the first half of every operation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.blame import blaming
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints, Match
from deploykit_exporters.families.networks import settle
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.families.shared.channels import for_channels
from deploykit_exporters.plausible import check_plausible
from deploykit_exporters.sources.download import fetch, is_model_name
from deploykit_exporters.sources.in_memory import Source, is_in_memory, read_in_memory, source_name

__all__ = ["LoadedCheckpoint", "build_checkpoint", "load_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class LoadedCheckpoint:
    """A checkpoint, what the user said of it, the claim that won, and the model built from it."""

    checkpoint: Checkpoint
    hints: Hints
    match: Match
    built: BuiltModel

    def again(self, **changes: Any) -> BuiltModel:
        """The model that it would be, had the user said something else.

        Args:
            changes: Fields of ``Hints``: ``variant="tf_efficientnet_b0"``.

        Raises:
            CheckpointError, OptionError: it cannot be that.
        """
        hints = replace(self.hints, **changes)
        family, match = recognise(self.checkpoint, hints)
        with blaming(self.checkpoint.path.name):
            return family.build(self.checkpoint, match, hints)


def load_checkpoint(source: Source, hints: Hints, *, trust: bool = False) -> LoadedCheckpoint:
    """Read, recognise and build.

    Args:
        source: A file or folder, a name such as ``timm:vit_base_patch16_224``, or a module or weights in
            memory; see ``read_in_memory``.
        hints: What the user said about it.
        trust: See ``read_checkpoint``; of no use for what is in memory.

    Raises:
        CheckpointError, OptionError, DownloadError, DependencyError: see the parts.
    """
    name = source_name(source)
    if is_in_memory(source):
        with blaming(name):
            checkpoint = read_in_memory(source, weights=hints.weights)
    elif is_model_name(name):
        checkpoint = fetch(name)
    else:
        with blaming(Path(name).name):
            checkpoint = read_checkpoint(Path(name), trust=trust, weights=hints.weights, ignore=hints.ignore)
    return build_checkpoint(checkpoint, hints)


def build_checkpoint(checkpoint: Checkpoint, hints: Hints) -> LoadedCheckpoint:
    """Recognise and build what was read.

    Raises:
        CheckpointError, OptionError, DependencyError: see the families.
    """
    with blaming(checkpoint.path.name):
        checkpoint = settle(checkpoint)
        family, match = recognise(checkpoint, hints)
        built = family.build(checkpoint, match, hints)
        built = replace(built, spec=for_channels(built.spec, hints.config))
        check_plausible(built, checkpoint.path.name)
    return LoadedCheckpoint(checkpoint=checkpoint, hints=hints, match=match, built=built)
