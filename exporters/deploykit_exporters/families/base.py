"""What a family of architectures must provide for export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from deploykit_runtimes.contract.spec import AxisRange, ModelSpec

from deploykit_exporters.families.settings import Setting

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from deploykit_exporters.option_values import ExporterName
from deploykit_exporters.checkpoint import Checkpoint

__all__ = [
    "BuiltModel",
    "Dialect",
    "Family",
    "Hints",
    "Match",
    "OutputGroup",
    "Size",
    "Witness",
]

Size = tuple[int, int]
"""Height and width in pixels."""
Source_co = TypeVar("Source_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What the user said about a checkpoint; overrides everything that is recognised.

    Attributes:
        family, variant, origin: Names as ``deploykit inspect`` prints them; None = recognise.
        config: A training configuration given with --config (parsed YAML/JSON or the text of a
            Python config under ``"text"``), or None.
        labels: Class names, or None.
        imgsz: (height, width) in pixels, or None for the model's own.
        features: Export the feature maps instead of the head.
        weights: Which set of weights to take, if the file has several: its key, in the form of
            ``Checkpoint.weights_key``.
        head: Which head to take, if there are several: the start of its keys, or ``one-to-one`` or
            ``one-to-many``.
        head_activation: The activation between the layers of a classifier that has several: ``gelu``,
            ``relu``, ...
        ignore: Settings, tensors and code of the file that do not matter, as ``Settings`` takes them.
    """

    family: str | None = None
    variant: str | None = None
    origin: str | None = None
    config: Mapping[str, Any] | None = None
    labels: tuple[str, ...] | None = None
    imgsz: tuple[int, int] | None = None
    features: bool = False
    weights: str | None = None
    head: str | None = None
    head_activation: str | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Match:
    """A family's claim on a checkpoint.

    Attributes:
        family: Name of the family.
        origin: Name of the dialect to which the keys belong (``timm``, ``torchvision``, ...).
        score: Certainty from 0 to 1; the best claim over all families builds the model.
        prefix: The ``StateView.prefix`` under which the keys fit.
        dialect: Which of an origin's dialects, if a family has several; empty if there is only one.
    """

    family: str
    origin: str
    score: float
    prefix: str = ""
    dialect: str = ""


@dataclass(frozen=True, kw_only=True)
class OutputGroup:
    """A slice of an output that the proof compares on its own scale.

    Attributes:
        output: Name of the graph output.
        axis, start, stop: The slice; ``axis`` None means the whole output.
        kind: ``scores``: top-1 over ``axis`` is compared too (class axis of logits); ``values``: only
            differences; ``detections``: rows [N, K, 6+] of an end-to-end head, compared as sets of
            detections that are not tied with the last place, because ties may swap rows.
        floor: Smallest scale to compare against. Activated scores are in 0..1 whatever their largest value:
            a floor of 0.01 allows a score of 1e-5 to be off by 1e-6, not by 1e-9.
    """

    output: str
    kind: Literal["scores", "values", "detections"] = "values"
    axis: int | None = None
    start: int | None = None
    stop: int | None = None
    floor: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Witness:
    """The model as built by the library that trained it: a second reading of the same checkpoint.

    Attributes:
        library: Name and version: ``timm 1.0.22``.
        module: Built by the library's own constructor from what the file says, with the weights loaded
            strictly, in eval mode. ``forward(images[N, C, H, W])`` returns what ``BuiltModel.module`` does.
        preprocess: The library's own evaluation pre-processing of an image, uint8 [H, W, C] (RGB, grey or
            as the network takes it), to float32 [C, H, W]; None if the library has none or the file does
            not say which.
    """

    library: str
    module: nn.Module
    preprocess: Callable[[np.ndarray], torch.Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """A module with the checkpoint's weights, and the spec of the file that it becomes.

    Attributes:
        module: The reference: eval mode, float32, computing exactly what the training code
            computes, at any size that ``axes`` allows. ``forward(images[N,C,H,W])`` returns one
            tensor per ``spec.output.names`` (a single tensor if there is one).
        exportable: The same function in a form that exports well (dynamic shapes kept, no
            antialiased Resize), or None when ``module`` itself does. Weights are shared. The proof
            compares the ONNX file with ``module``, never with this one.
        spec: Everything but dynamic axes, exporter and parity, which the export fills in.
        axes: The range of ``batch``, ``height`` and ``width`` that the architecture supports, for the axes
            that may become dynamic.
        groups: How the outputs are compared.
        fixed: Makes the exportable form for one (height, width), for architectures whose constants
            depend on the size (position bias, padding); None if ``exportable`` folds them itself.
        exporter: Which exporter gives the faster and cleaner graph for this family (measured by
            ``benchmarks/exporters.py``).
        min_opset: Lowest opset that can express the graph.
        notes: Decisions made, in sentences.
        settings: Every setting and unused tensor of the checkpoint, and what became of it.
        witness: Builds the origin's own model; called after the proof. If there can be no witness, it
            returns a sentence instead: which library is not installed, or what the file does not say.
    """

    module: nn.Module
    spec: ModelSpec
    axes: Mapping[str, AxisRange]
    groups: tuple[OutputGroup, ...]
    exportable: nn.Module | None = None
    exporter: ExporterName = "torchscript"
    fixed: Callable[[int, int], nn.Module] | None = None
    min_opset: int = 18
    notes: tuple[str, ...] = field(default=())
    settings: tuple[Setting, ...] = ()
    witness: Callable[[], Witness | str] | None = None


class Dialect(Protocol[Source_co]):
    """The form in which one training code stores the weights of a family: a module with these members.

    ``Source_co`` is what the family needs to know about a checkpoint, in its own terms.
    """

    @property
    def ORIGIN(self) -> str:  # noqa: N802 - a constant of the module
        """Name of the training code: ``timm``."""
        ...

    def matches(self, tensors: Mapping[str, torch.Tensor], /) -> bool:
        """Whether these are the keys of that code. Looks only at keys and shapes."""
        ...

    def read(self, checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor], hints: Hints, /) -> Source_co:
        """The weights under the names of the family's network, and what else the checkpoint says.

        Raises:
            CheckpointError: weights are missing, or a setting asks for something that cannot be built.
        """
        ...


class Family(Protocol):
    """One family of architectures, registered in ``families/registry.py`` or by the entry-point group
    ``deploykit.families``.
    """

    name: str

    def match(self, checkpoint: Checkpoint) -> Match | None:
        """Claim the checkpoint, or return None. Looks only at keys, shapes and metadata; must be fast and
        must not import the training library.
        """
        ...

    def build(self, checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
        """Build the module and load every weight; a missing, left-over or misshapen key is an error.

        Raises:
            CheckpointError: weights do not fit, named key by key.
            DependencyError: the library that defines the architecture is not installed.
        """
        ...
