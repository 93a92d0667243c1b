"""The origin's own library as a second reader of the checkpoint.

The proof compares the ONNX file with our reading of a checkpoint, and cannot see where that reading is
wrong. The library that trained the model can: it builds the model by its own constructor from what the file
says, and its answers and its pre-processing are compared with ours on a photo. No code of the checkpoint
runs, the library's own classes only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import DeploykitError, ParityError
from deploykit_runtimes.pixels.preprocess import preprocess
from deploykit_runtimes.text.printable import one_line

from deploykit_exporters.families.base import BuiltModel, OutputGroup, Witness
from deploykit_exporters.proof.float64 import Float64Reference, Outputs
from deploykit_exporters.proof.pictures import picture_for
from deploykit_exporters.proof.tensors import FP32_TOLERANCE, compare

__all__ = ["ask_witness"]

_GREY_LEVEL = 1.01
"""Largest difference of a pre-processed pixel, in grey levels: resamplers round to either side."""

_EQUAL_PIXELS = 0.99
"""Smallest share of the pixels that are the same to a hundredth of a grey level."""

_NOT_MADE_FOR = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What libraries raise on images of channels that they do not know."""

_LEAVE_OUT = (
    "If deploykit is right, --no-witness leaves the comparison out; please report the checkpoint's origin."
)


def ask_witness(built: BuiltModel, spec: ModelSpec) -> str:
    """Compare our reading of a checkpoint with that of the library which trained the model.

    Args:
        built: Our reading; ``built.witness`` builds the library's.
        spec: The contract of the network: its host pre-processing and its outputs.

    Returns:
        What was compared and how close it was, or why there is no witness; a sentence for the record.

    Raises:
        ParityError: the two readings differ: in pre-processing, in the network, or in both.
    """
    found = _asked(built.witness) if built.witness is not None else f"none for {spec.origin} checkpoints"
    if isinstance(found, str):
        return found
    image = picture_for(spec)
    # At the model's own size: with free sides a letterbox is as small as the image allows.
    spec = replace(spec, input=replace(spec.input, dynamic={}))
    ours, _ = preprocess(image, spec)
    network = _compare_networks(built, spec, found, ours)
    if found.preprocess is None:
        return f"{found.library}: network within {network:.1e}; its pre-processing is not known"
    channels = spec.input.channels
    if channels != 3 and not _prepares(found.preprocess, image):
        return (
            f"{found.library}: network within {network:.1e}; its own pre-processing takes no images of "
            f"{channels} channel{'s' if channels > 1 else ''}"
        )
    pixels = _compare_preprocessing(spec, found, found.preprocess, image, ours)
    return f"{found.library}: network within {network:.1e}, {pixels:.2%} of the pixels equal on a photo"


def _prepares(process: Callable[[np.ndarray], torch.Tensor], image: np.ndarray) -> bool:
    """Whether a library can prepare images of other channels at all: most have a mean of three."""
    try:
        process(image)
    except _NOT_MADE_FOR:
        return False
    return True


def _asked(build: Callable[[], Witness | str]) -> Witness | str:
    """The witness, whose weights are loaded strictly.

    What a library warns of while it builds its own model is about its own code.

    Raises:
        ParityError: the library's own model does not take the weights, or the settings.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build()
    except RuntimeError as error:  # What torch says of missing, unexpected and misshapen weights.
        said = one_line(error)
        raise ParityError(
            f"The training library's own model does not take these weights: {said[:300]}", hint=_LEAVE_OUT
        ) from error
    except (DeploykitError, ImportError, MemoryError):
        raise
    except Exception as error:  # Anything, where a library is given settings that it does not check.
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ParityError(
            f"The training library's own model cannot be built from what the file says: {said[:300]}",
            hint=_LEAVE_OUT,
        ) from error


def _compare_networks(built: BuiltModel, spec: ModelSpec, witness: Witness, images: np.ndarray) -> float:
    """Largest difference of an output group, as a share of its scale.

    Two equal readings may round differently, and a network can make much of that: float64 decides.
    """
    names = spec.output.names
    theirs, ours = (Float64Reference(module.eval(), names) for module in (witness.module, built.module))
    batch = images[None]
    wanted, found = next(theirs.float32(batch)), next(ours.float32(batch))
    worst = 0.0
    for group in built.groups:
        off = _difference(wanted, found, group, witness.library)
        if not off <= FP32_TOLERANCE:
            off = _difference(theirs.exact(batch), ours.exact(batch), group, witness.library)
        if not off <= FP32_TOLERANCE:
            raise ParityError(
                f"deploykit and {witness.library} read this checkpoint differently: {group.output} of the "
                f"network is off by {off:.2e} of its scale on a photo; allowed is {FP32_TOLERANCE:.0e}.",
                hint=f"Give what the file does not say with --variant or --config. {_LEAVE_OUT}",
            )
        worst = max(worst, off)
    return worst


def _difference(wanted: Outputs, found: Outputs, group: OutputGroup, library: str) -> float:
    if wanted[group.output].shape != found[group.output].shape:
        raise ParityError(
            f"deploykit and {library} read this checkpoint differently: {group.output} has the shape "
            f"{found[group.output].shape}, the library gives {wanted[group.output].shape}."
        )
    return compare(wanted[group.output], found[group.output], group).max_rel


def _compare_preprocessing(
    spec: ModelSpec,
    witness: Witness,
    process: Callable[[np.ndarray], torch.Tensor],
    image: np.ndarray,
    ours: np.ndarray,
) -> float:
    """Share of the pixels that are equal."""
    theirs = process(image).numpy()
    start = f"deploykit and {witness.library} prepare images differently"
    hint = f"Give the mean, std, interpolation or crop_pct of the training with --config. {_LEAVE_OUT}"
    if theirs.shape != ours.shape:
        raise ParityError(f"{start}: {ours.shape} against the library's {theirs.shape}.", hint=hint)
    how = spec.preprocess
    std = np.resize(np.asarray(how.std, np.float64), len(ours))[:, None, None]
    levels = np.abs(theirs.astype(np.float64) - ours) * std / how.scale
    equal = float((levels < 0.01).mean())
    if levels.max() > _GREY_LEVEL or equal < _EQUAL_PIXELS:
        raise ParityError(
            f"{start}: pixels of a photo differ by up to {levels.max():.3g} grey levels, {equal:.1%} are "
            "equal.",
            hint=hint,
        )
    return equal
