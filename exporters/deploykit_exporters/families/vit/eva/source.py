"""What a dialect says about a checkpoint whose network is timm's own ``Eva`` or ``Beit``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Activation, Preprocess

from deploykit_exporters.families.base import Size
from deploykit_exporters.families.settings import Setting

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.families.base import Witness

__all__ = ["EvaSource"]


@dataclass(frozen=True, kw_only=True)
class EvaSource:
    """A checkpoint whose network is timm's own.

    Attributes:
        tensors: Weights under timm's names.
        network: Builds the network for the trained size, on the CPU, without these weights.
        name: The origin's name of the architecture.
        title: A short description.
        trained: (height, width) that the weights are for.
        image_size: (height, width) of the origin's images.
        preprocess: Pre-processing for an input of (height, width).
        preprocess_from: Where that was found; empty for the origin's default.
        classes: Class names in the file.
        scores: How logits become scores, if the file says so.
        assumed: What the file does not say, in sentences.
        settings: The treatment of the file's settings and unused tensors.
        witness: As ``VitSource.witness``.
        resize: Recomputes what the network stores for images of (height, width), if the origin does that
            differently than timm.
        name_in_file: The file's name for a weight.
        with_mean: See ``EvaNet``.
        origin: The origin whose form the weights have, if their keys do not show it; empty for the dialect's.
    """

    tensors: Mapping[str, torch.Tensor]
    network: Callable[[], Any]
    name: str
    title: str
    trained: Size
    image_size: Size
    preprocess: Callable[[Size], Preprocess]
    preprocess_from: str
    classes: tuple[str, ...] = ()
    scores: Activation | None = None
    assumed: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    witness: Callable[..., Witness | str] | None = None
    resize: Callable[[Any, Size], None] | None = None
    name_in_file: Callable[[str], str] = str
    origin: str = ""
    with_mean: bool = False
