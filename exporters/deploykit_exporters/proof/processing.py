"""The proof of the parts around a network, each alone: pre-processing by pixels, post-processing on plenty.

End to end, a score can be indifferent to a wrong resize, and a photo without the model's objects says
nothing about suppression. These comparisons cannot be blind in that way.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from deploykit_runtimes.answers.decode import decode
from deploykit_runtimes.answers.results import Features
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, ModelSpec
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.pixels.preprocess import preprocess
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.runner import Runner

from deploykit_exporters.ingraph.compose import NETWORK
from deploykit_exporters.proof.answers import NOT_EQUAL, AnswerDifference, compare_answers

__all__ = [
    "EXACT_PIXELS",
    "RAISED_ANCHORS",
    "middle_score",
    "prove_decoding",
    "prove_pixels",
    "raise_detections",
]

EXACT_PIXELS = 0.999
"""Smallest share of resized pixels that are exactly the host's; the others may be off by one grey level."""

_ROUNDING = 0.01
RAISED_ANCHORS = 60
"""Anchors of the decoding proof that score above the threshold."""


def prove_pixels(candidate: Predictor, core: ModelSpec, images: Mapping[str, np.ndarray]) -> float:
    """Compare the pre-processing part of a graph, alone, with the host's.

    Scores can be indifferent to a wrong resize; pixels are not.

    Args:
        candidate: The part, whose one output is the tensor.
        core: The contract of the network, whose pre-processing is the host's.
        images: uint8 [H, W, C] by name.

    Returns:
        The share of values that are exactly the host's.

    Raises:
        ParityError: a value is off by more than one grey level, or too many by one.
    """
    how = core.preprocess
    level = np.broadcast_to(how.scale / np.asarray(how.std), core.input.channels)[:, None, None]
    exact, total = 0, 0
    for name, image in images.items():
        expected, _ = preprocess(image, core)
        answer = candidate.predict(image)
        if not isinstance(answer, Features):
            raise TypeError(f"The pre-processing part gives its tensor, not {type(answer).__name__}.")
        found = answer.maps[0]
        if expected.shape != found.shape:
            raise ParityError(f"{name} comes to {found.shape} in the graph, to {expected.shape} on the host.")
        levels = np.abs(expected - found) / level
        if not levels.max() < 1 + _ROUNDING:
            raise ParityError(
                f"The pre-processing inside the graph is off by {levels.max():.1f} grey levels on {name}.",
                hint=NOT_EQUAL,
            )
        exact += int(np.count_nonzero(levels < _ROUNDING))
        total += levels.size
    if exact < EXACT_PIXELS * total:
        raise ParityError(
            f"Only {exact / total:.3%} of the pixels from the pre-processing inside the graph equal the "
            "host's.",
            hint=NOT_EQUAL,
        )
    return exact / total


def raise_detections(
    heads: Mapping[str, np.ndarray], core: ModelSpec, middle: float | None = None
) -> dict[str, np.ndarray]:
    """The outputs of a network with the scores of its detections raised, in the same order.

    A detector that was never trained, or a photo without its objects, gives no detection above the
    threshold, and a proof on it would say nothing about suppression.

    Args:
        heads: What the network returned, by name.
        core: The contract of the network.
        middle: The score that becomes 1/2; None: so that some anchors meet the threshold.
    """
    name = core.output.names[0]
    head = heads[name].copy()
    scores = _scores(head, core)
    if scores is None:
        return dict(heads)
    # A curve from 0 to 1 that keeps the order.
    scores /= scores + np.float32(middle_score(heads, core) if middle is None else middle)
    return {**heads, name: head}


def middle_score(heads: Mapping[str, np.ndarray], core: ModelSpec, anchors: int = RAISED_ANCHORS) -> float:
    """The score to raise to 1/2 so that this many anchors per image score above the threshold."""
    scores = _scores(heads[core.output.names[0]].copy(), core)
    if scores is None:
        return 1.0
    best = scores.max(-1 if core.output.layout != "yolo" else 1)
    threshold = max(core.output.conf, _ROUNDING)
    place = min(anchors, best.shape[1]) - 1
    middle = float(np.sort(best, axis=1)[:, ::-1][:, place].min())
    return middle * (1 / min(1.1 * threshold, 0.999) - 1) + 1e-12


def _scores(head: np.ndarray, core: ModelSpec) -> np.ndarray | None:
    """The scores of a head, a view of it; objectness is multiplied into those of classes, and set to 1."""
    if core.output.layout == "yolo":
        return head[:, 4 : 4 + core.num_classes]
    if core.output.layout == "yolov5":
        scores = head[..., 5 : 5 + core.num_classes]
        scores *= head[..., 4:5]
        head[..., 4] = 1
        return scores
    return head[..., 4:5] if core.output.layout == "end2end" else None


def prove_decoding(
    candidate: Runner,
    core: ModelSpec,
    finished: ModelSpec,
    image: np.ndarray,
    heads: Mapping[str, np.ndarray],
) -> AnswerDifference:
    """Compare the post-processing part of a graph, alone, with the host's, on detections in plenty.

    Args:
        candidate: The part: takes the graph's input for its shape, and the network's outputs
            by name with the prefix ``NETWORK``.
        core: The contract of the network, with the thresholds of ``finished``.
        finished: The contract of the whole graph.
        image: uint8 [H, W, C].
        heads: What the network returned for it.

    Raises:
        ParityError: an answer is off by more than the limits.
    """
    heads = raise_detections(heads, core)
    tensor, geometry = preprocess(image, core)
    given = {finished.input.name: image if finished.preprocess.included else tensor}
    given |= {name: getattr(finished.output, name) for name in THRESHOLD_INPUTS}
    batch = len(heads[core.output.names[0]])
    feeds: dict[str, np.ndarray] = {}
    for info in candidate.inputs:
        if info.name.startswith(NETWORK):
            feeds[info.name] = heads[info.name.removeprefix(NETWORK)]
        elif info.name in THRESHOLD_INPUTS:
            feeds[info.name] = np.array(given[info.name], np.float32)
        else:
            feeds[info.name] = np.repeat(given[info.name][None], batch, axis=0)
    expected = decode(heads, core, [geometry])[0]
    found = decode(candidate.infer(feeds), finished, [geometry])[0]
    try:
        return compare_answers(expected, found, finished.output)
    except ParityError as error:
        raise ParityError(
            f"In the post-processing inside the graph, {error.problem}", hint=NOT_EQUAL
        ) from error
