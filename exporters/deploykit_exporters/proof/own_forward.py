"""What a module in memory answers itself, compared with what was read from it.

A file holds layers and settings; what ``forward`` makes of them is code, which is never run from a file. Of a
module in memory it is there already, and is run on a photo: a wrapper that scales its input, a replaced
``forward`` or a layer that is skipped would otherwise be exported as something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.pixels.preprocess import preprocess
from deploykit_runtimes.text.printable import one_line

from deploykit_exporters.families.base import BuiltModel
from deploykit_exporters.proof.pictures import picture_for
from deploykit_exporters.proof.tensors import compare
from deploykit_exporters.sources.in_memory import module_copy, source_name

__all__ = ["compare_forward"]

_LIMIT = 1e-3
"""As a share of the scale: the two may round differently in hundreds of layers."""


def compare_forward(source: object, built: BuiltModel, spec: ModelSpec) -> str:
    """Run a copy of a module in memory, and compare.

    Args:
        source: What was exported.
        built: What was read of it.
        spec: The contract of the network.

    Returns:
        How close the two are, or why they cannot be compared; empty if ``source`` is not a module.

    Raises:
        ParityError: a classifier in memory gives other scores than the one that was read.
    """
    if not callable(getattr(source, "state_dict", None)):
        return ""
    module = module_copy(source)
    if module is None:
        return "its own forward() was not run: the module cannot be copied"
    spec = replace(spec, input=replace(spec.input, dynamic={}))
    images = torch.from_numpy(preprocess(picture_for(spec), spec)[0][None])
    with torch.no_grad():
        ours = next(_tensors(built.module.eval()(images))).numpy()
        try:
            answer = module(images)
        except Exception as error:  # noqa: BLE001 - it is the user's code, which may raise anything
            said = f"{type(error).__name__}: {one_line(error)[:200]}"
            return f"its own forward() was not compared, as it takes more than images: {said}"
    found = [one.numpy() for one in _tensors(answer) if one.shape == ours.shape and one.is_floating_point()]
    if not found:
        return "its own forward() was not compared: it returns other outputs"
    group = built.groups[0]
    off = min(compare(form, one, group).max_rel for one in found for form in _forms(ours, spec))
    if off <= _LIMIT:
        return f"its own forward() within {off:.1e}"
    if spec.task != "classify":
        return f"its own forward() is off by {off:.1e}: it may return boxes in another form"
    raise ParityError(
        f"{source_name(source)} does not answer as the network in it does: on a photo its forward() is off "
        f"by {off:.1e} of the scale of its scores; allowed is {_LIMIT:.0e}.",
        hint="Its forward() does more than the architecture: it scales the input, say, or was replaced. Put "
        "that into the pre-processing (config=), or leave the comparison out with witness=False.",
    )


def _forms(logits: np.ndarray, spec: ModelSpec) -> Iterator[np.ndarray]:
    """Logits, and the scores that a module may return in their place."""
    yield logits
    if spec.task == "classify" and logits.ndim == 2:
        scores = torch.from_numpy(logits)
        yield scores.softmax(1).numpy()
        yield scores.log_softmax(1).numpy()
        yield scores.sigmoid().numpy()


def _tensors(answer: Any) -> Iterator[torch.Tensor]:
    """The tensors of an output, in order, however deep."""
    if isinstance(answer, torch.Tensor):
        yield answer
    elif isinstance(answer, Mapping):
        for value in answer.values():
            yield from _tensors(value)
    elif isinstance(answer, list | tuple):
        for value in answer:
            yield from _tensors(value)
