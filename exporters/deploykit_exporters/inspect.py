"""What a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from deploykit_runtimes.contract.spec import AxisRange, ModelSpec

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.settings import Setting
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.sources.in_memory import Source
from deploykit_exporters.torch_temporaries import no_compiler_cache

__all__ = ["CheckpointReport", "inspect_checkpoint"]

_NAMED = 8


@dataclass(frozen=True, kw_only=True, repr=False)
class CheckpointReport:
    """What a checkpoint holds.

    Attributes:
        path, container, sha256, weights_key: See ``Checkpoint``.
        entries: What else the file holds, by key.
        tensors, parameters: Number of tensors and of the elements of the built model's parameters.
        flops: Floating-point operations of one image at the model's own size, a multiply-add
            counted as two.
        spec: The spec of the model it would become.
        axes: What may become dynamic.
        notes: What was found and decided, in sentences.
        settings: Every setting and unused tensor of the file, and what became of it.
    """

    path: Path
    container: str
    sha256: str
    weights_key: str
    entries: tuple[str, ...]
    tensors: int
    parameters: int
    flops: int
    spec: ModelSpec
    axes: Mapping[str, AxisRange]
    notes: tuple[str, ...]
    settings: tuple[Setting, ...]

    def __repr__(self) -> str:
        return f"CheckpointReport({self.path}: {self.parameters:,} parameters, {self.spec!r})"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"kind": "checkpoint", **asdict(self), "path": str(self.path)}


@no_compiler_cache()
def inspect_checkpoint(
    source: Source, *, hints: Hints | None = None, trust: bool = False
) -> CheckpointReport:
    """Read, recognise and build a checkpoint, and say what it is.

    Raises:
        CheckpointError, OptionError, DependencyError: see ``load_checkpoint``.
    """
    loaded = load_checkpoint(source, hints or Hints(), trust=trust)
    checkpoint, built = loaded.checkpoint, loaded.built
    return CheckpointReport(
        path=checkpoint.path,
        container=checkpoint.container,
        sha256=checkpoint.sha256,
        weights_key=checkpoint.weights_key,
        entries=_entries(checkpoint),
        tensors=len(checkpoint.tensors),
        parameters=sum(parameter.numel() for parameter in built.module.parameters()),
        flops=_module_flops(built),
        spec=built.spec,
        axes=built.axes,
        notes=(*checkpoint.notes, *built.notes, *_not_executed(checkpoint)),
        settings=built.settings,
    )


def _entries(checkpoint: Checkpoint) -> tuple[str, ...]:
    return tuple(sorted(str(key) for key in checkpoint.meta))


def _not_executed(checkpoint: Checkpoint) -> tuple[str, ...]:
    names = checkpoint.not_executed
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (f"Named in the file and not executed: {', '.join(names[:_NAMED])}{more}.",) if names else ()


def _module_flops(built: BuiltModel) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    image = built.spec.input
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        built.module.eval()(torch.zeros(1, image.channels, image.height, image.width))
    return int(counter.get_total_flops())
