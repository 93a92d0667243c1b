"""What differs in the head alone: number, order and names of the classes, and what is done to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import OptionError

from deploykit_exporters.golden.compare import pair_outputs
from deploykit_exporters.golden.difference import DifferenceError, Why
from deploykit_exporters.golden.file import Golden, GoldenCase, GoldenOutput
from deploykit_exporters.proof.float64 import Outputs

__all__ = ["check_activation", "check_labels", "check_shapes", "explain_head", "through_activation"]

_NEAR = 1e-3
"""An explanation fits if it leaves less than this share of the scale."""

_NAMED = 4
"""Classes of another order that are named."""


def check_shapes(golden: Golden, spec: ModelSpec, ours: Sequence[Outputs]) -> None:
    """One of the recorded outputs must have the shape of our first one, or of any feature map.

    Args:
        ours: Our outputs for each case.

    Raises:
        DifferenceError: the classes are others.
        OptionError: something else was recorded than what is exported.
    """
    for case, outputs in zip(golden.cases, ours, strict=True):
        _check_shape(golden, case, spec, outputs)


def _check_shape(golden: Golden, case: GoldenCase, spec: ModelSpec, ours: Outputs) -> None:
    first = ours[spec.output.names[0]].shape
    shapes = [output.shape for output in case.outputs]
    wanted = [values.shape for values in ours.values()] if spec.task == "features" else [first]
    if any(shape in shapes for shape in wanted):
        return
    found = ", ".join(f"{one.name} {list(one.shape)}" for one in case.outputs)
    classes = [shape[1] for shape in shapes if len(shape) == len(first) == 2]
    if spec.task == "classify" and classes:
        raise DifferenceError(
            "head",
            f"the recorded model has {classes[0]} classes, the checkpoint {first[1]}.",
            otherwise="Give the checkpoint of the recorded model; --head chooses among several heads.",
        )
    advice = (
        "Record what is exported: forward=lambda model, images: ...; or export with or without --features."
    )
    if spec.output.layout == "end2end":
        advice = (
            "The recorded model answered with its other head: export with --head one-to-many, or record it "
        )
        advice += "with that of the export (forward=, or model.model[-1].end2end = True)."
    raise OptionError(
        f"--golden {golden.path.name} holds no output of the shape {list(first)} "
        f"({spec.output.names[0]}); it holds {found}.",
        hint=advice,
    )


def check_labels(golden: Golden, spec: ModelSpec) -> str:
    """Compare the names of the classes; what was compared, in words.

    Raises:
        DifferenceError: a class has another name.
    """
    if not golden.labels:
        return "class names not recorded"
    if not spec.classes:
        return "class names not compared"
    if golden.labels == spec.classes:
        return f"{len(spec.classes)} class names equal"
    if len(golden.labels) != len(spec.classes):
        raise DifferenceError(
            "head", f"{len(golden.labels)} class names were recorded, the file has {len(spec.classes)}."
        )
    pairs = enumerate(zip(golden.labels, spec.classes, strict=True))
    index, (theirs, ours) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
    order = (
        "the classes are in another order"
        if set(golden.labels) == set(spec.classes)
        else "class names differ"
    )
    raise DifferenceError(
        "head",
        f"{order}: class {index} is {theirs!r} in the training process, {ours!r} in the file.",
        otherwise="Give the names in the order of the training with --labels; without it, those of the "
        "checkpoint or of the training process are taken.",
    )


def through_activation(pairs: Mapping[str, GoldenOutput], found: Outputs, spec: ModelSpec) -> Outputs:
    """Our outputs as the recorded model gives them: where it applies the activation itself that the host
    applies behind the file, with that."""
    activate = _ACTIVATIONS.get(spec.output.activation)
    name = spec.output.names[0]
    if activate is None or name not in pairs or not _whole(pairs[name]):
        return found
    theirs, scores = pairs[name].values.reshape(pairs[name].shape), np.asarray(found[name], np.float32)
    activated = activate(scores)
    nearer = np.abs(theirs - activated).max() < np.abs(theirs - scores).max()
    return {**found, name: activated} if nearer else found


def check_activation(case: GoldenCase, ours: Outputs, spec: ModelSpec, *, pickled: bool) -> None:
    """What the recorded model makes of its logits must be what the host makes of ours.

    Args:
        case: With the logits beside the answers, where the model itself made scores of them.
        ours: Our outputs.
        pickled: The checkpoint holds the module itself: what ends it was read, and a logarithm of a softmax
            is a softmax to the host.

    Raises:
        DifferenceError: it is something else.
    """
    first, name = case.outputs[0], spec.output.names[0]
    if spec.task != "classify" or pair_outputs(case, ours).get(name) is first:
        return
    if first.shape != ours[name].shape or not _whole(first):
        return
    theirs, scores = first.values.reshape(first.shape), np.asarray(ours[name], np.float32)
    wanted = [spec.output.activation, *(["log_softmax"] if pickled else [])]
    if spec.output.activation != "softmax":
        wanted = wanted[:1]
    if any(_near(theirs, _ACTIVATIONS[one](scores)) for one in wanted if one in _ACTIVATIONS):
        return
    raise DifferenceError(
        "head",
        f"{first.name} is not what {spec.output.activation} makes of the logits, which agree.",
        why=Why(said=explain_head(first, scores, spec)),
    )


def explain_head(golden: GoldenOutput, ours: np.ndarray, spec: ModelSpec) -> str:
    """Which simple difference of a classifier explains the scores, in a sentence; empty for none.

    Args:
        golden: The recorded scores [N, classes].
        ours: Ours.
    """
    if not _whole(golden) or ours.ndim != 2:
        return ""
    theirs = golden.values.reshape(golden.shape)
    order = _order(theirs, ours)
    if order is not None:
        moved = [f"class {n} there is {one} here" for n, one in enumerate(order) if n != one]
        return (
            f"The classes are in another order: {', '.join(moved[:_NAMED])}"
            f"{', ...' if len(moved) > _NAMED else ''}. The last layer of the checkpoint is not that of the "
            "recorded model."
        )
    for name, activate in _ACTIVATIONS.items():
        if _near(theirs, activate(ours)):
            return (
                f"The recorded model gives scores after a {name}, the file declares {spec.output.layout} "
                f"and {spec.output.activation}: record the model without it, or tell how it was trained with "
                "--config."
            )
    factor = float((theirs * ours).sum() / max(float((ours * ours).sum()), 1e-30))
    if _near(theirs, factor * ours):
        return f"The recorded scores are deploykit's times {factor:.6g}: the recorded model scales them."
    if len(theirs) > 1 and _near(theirs - ours, np.broadcast_to((theirs - ours)[:1], theirs.shape)):
        return "The recorded scores are deploykit's plus a constant per class: the bias of the head differs."
    return ""


def _order(theirs: np.ndarray, ours: np.ndarray) -> list[int] | None:
    """For each of their classes, which of ours it is; None if they are other classes."""
    order = np.empty(theirs.shape[1], int)
    order[np.argsort(theirs[0], kind="stable")] = np.argsort(ours[0], kind="stable")
    same = np.array_equal(order, np.arange(len(order)))
    return None if same or not _near(theirs, ours[:, order]) else [int(one) for one in order]


def _near(theirs: np.ndarray, ours: np.ndarray) -> bool:
    scale = float(np.abs(theirs).max())
    return bool(np.abs(theirs - ours).max() <= _NEAR * scale) if scale else False


def _whole(golden: GoldenOutput) -> bool:
    return len(golden.values) == golden.size


def _through(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda scores: np.asarray(function(torch.from_numpy(scores)).numpy())


_ACTIVATIONS = {
    "softmax": _through(lambda scores: scores.softmax(-1)),
    "sigmoid": _through(torch.sigmoid),
    "log_softmax": _through(lambda scores: scores.log_softmax(-1)),
}
