"""Whether the model that a checkpoint describes can be meant, told before anything is exported.

A setting of a checkpoint may have any value. What makes no model is a fault of the checkpoint, also where it
would show in the exported file only.
"""

from __future__ import annotations

import math

from deploykit_runtimes.contract.metadata import spec_from_metadata, spec_to_metadata
from deploykit_runtimes.contract.spec_limits import check_spec_limits
from deploykit_runtimes.errors import CheckpointError, ModelError
from deploykit_runtimes.pixels.preprocess import Preprocessor
from torch import nn

from deploykit_exporters.families.base import BuiltModel

__all__ = ["check_plausible"]

_HINT = "Settings of the file are damaged. Correct them, or give others with --config."


def check_plausible(built: BuiltModel, name: str) -> None:
    """Refuse what no training writes: sizes, means and epsilons that are infinite, no number, or negative.

    Args:
        built: The model.
        name: The checkpoint's.

    Raises:
        CheckpointError: names the value.
    """
    _check_epsilons(built.module, name)
    try:
        spec = spec_from_metadata(spec_to_metadata(built.spec))
        check_spec_limits(spec)
        Preprocessor(spec).check()
    except ModelError as error:
        raise CheckpointError(
            f"{name} describes a model that no runtime could use: {error.problem}",
            hint=_HINT,
        ) from error
    how = spec.preprocess
    if how.scale <= 0 or min(how.std) < 0:
        raise CheckpointError(
            f"{name} describes a model that no runtime could use: wanted a scale and std above 0, found "
            f"{how.scale} and {how.std}.",
            hint=_HINT,
        )


def _check_epsilons(module: nn.Module, name: str) -> None:
    for path, layer in module.named_modules():
        epsilon = getattr(layer, "eps", None)
        if isinstance(epsilon, int | float) and not (math.isfinite(epsilon) and epsilon >= 0):
            raise CheckpointError(
                f"{name} gives {path or type(layer).__name__} an epsilon of {epsilon}, wanted a small one.",
                hint=_HINT,
            )
