"""What the families of image classifiers share: finding the dialect, and checking settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.text.printable import one_line

from deploykit_exporters.families.base import Dialect, Hints, Match

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["check_config", "first_match", "matched_tensors", "sensible"]


def first_match(checkpoint: Checkpoint, family: str, dialects: Mapping[str, Dialect[object]]) -> Match | None:
    """The first of the dialects whose keys fit some view of the checkpoint."""
    for view in checkpoint.views():
        for name, dialect in dialects.items():
            if dialect.matches(view.tensors):
                return Match(
                    family=family, origin=dialect.ORIGIN, score=0.9, prefix=view.prefix, dialect=name
                )
    return None


def matched_tensors(checkpoint: Checkpoint, match: Match) -> Mapping[str, torch.Tensor]:
    """The weights under the view that was matched."""
    return next(view.tensors for view in checkpoint.views() if view.prefix == match.prefix)


@contextmanager
def sensible(
    checkpoint: Checkpoint,
    kind: str,
    hint: str = "Export the weights alone, and give what they cannot tell with --config.",
) -> Iterator[None]:
    """Turn errors from reading settings into errors about the file: settings can be anything, such as a
    number in place of a list, or a negative size.

    Args:
        kind: Kind of network: ``a ViT``.
        hint: What the user can do.

    Raises:
        CheckpointError: reading the settings fails.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise CheckpointError(
            f"{checkpoint.path.name}: the settings beside the weights make no sense for {kind} "
            f"({type(error).__name__}: {one_line(error)}).",
            hint=hint,
        ) from error


def check_config(hints: Hints, known: tuple[str, ...]) -> None:
    """Refuse settings in --config that are not read: a mistyped one would otherwise be ignored.

    Args:
        hints: What the user said.
        known: The known settings.

    Raises:
        OptionError: names the first unknown setting, and the nearest known one.
    """
    unknown = [str(key) for key in hints.config or {} if key not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        raise OptionError(
            f"--config has the setting {unknown[0]!r:.60}, which is not one of {', '.join(known)}.",
            hint=f"Did you mean {near[0]}?" if near else "Leave it out.",
        )
