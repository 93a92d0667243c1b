"""The proof of a detector on pictures without its objects.

Where the pictures of a proof show nothing that the model detects, comparing its answers compares nothing with
nothing. Then the outputs of the network in the file are compared with the checkpoint's, and its
post-processing with the host's on those outputs with their scores raised, until there are detections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from deploykit_runtimes.answers.decode import decode
from deploykit_runtimes.contract.spec import ModelSpec, ParityRecord
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.machine.scratch import scratch_folder
from deploykit_runtimes.prediction.predictor import Predictor, Prepared
from deploykit_runtimes.runner import Runner

from deploykit_exporters.families.base import BuiltModel
from deploykit_exporters.graph.storage import save_model
from deploykit_exporters.ingraph.compose import NETWORK
from deploykit_exporters.ingraph.raise_scores import has_heads, raise_scores
from deploykit_exporters.proof.answers import FEATURE_LIMIT, NOT_EQUAL, AnswerDifference, compare_answers
from deploykit_exporters.proof.processing import RAISED_ANCHORS, middle_score, raise_detections
from deploykit_exporters.proof.tensors import compare
from deploykit_exporters.proof.torch_runner import TorchRunner

if TYPE_CHECKING:
    import onnx

__all__ = ["Raised", "telling", "with_answers"]

Heads = Mapping[str, np.ndarray]

_ANCHORS = (RAISED_ANCHORS, 8 * RAISED_ANCHORS, 1_000_000)
"""How many anchors of an image are raised above the threshold, until enough detections are left of them."""

_OBJECTS = "Give pictures that show what it detects: deploykit verify CKPT MODEL IMAGES"


@dataclass(frozen=True, kw_only=True)
class Raised:
    """What was compared instead of answers as they are.

    Attributes:
        found: Of the answers, with raised scores where those as they are tell nothing.
        said: What was done, in a sentence; empty: the answers as they are were compared.
    """

    found: AnswerDifference
    said: str = ""


def _too_few(found: AnswerDifference, why: str = "") -> ParityError:
    return ParityError(
        f"Nothing is proven: on {found.images} pictures only {found.detections} detections could be compared"
        f"{why}.",
        hint=_OBJECTS,
    )


def telling(
    built: BuiltModel,
    model: Callable[[], onnx.ModelProto],
    core: ModelSpec,
    finished: ModelSpec,
    *,
    images: Mapping[str, np.ndarray],
    found: AnswerDifference,
    opener: Callable[[Path], Runner],
) -> Raised:
    """What a comparison of answers found, or, where too few were compared, what raised scores tell.

    Args:
        built: The network in torch.
        model: Gives the graph of the file, which has processing inside.
        core: The contract of the network in it, with the thresholds of the whole.
        finished: The contract of the whole.
        images: uint8 [H, W, C] by name.
        found: What the comparison of its answers measured.
        opener: Opens a file in the engine that is to be proven.

    Raises:
        ParityError: an output is off by more than the limits, or there are no detections whatever is raised.
    """
    if found.is_telling(finished):
        return Raised(found=found)
    whole, inside = model(), finished.is_postprocessed
    if inside and not has_heads(whole, core):
        raise _too_few(found)
    with TorchRunner(built, core) as reference:
        of_torch = {name: _heads_of_torch(reference, image) for name, image in images.items()}
        for anchors in _ANCHORS:
            middle = max(middle_score(heads, core, anchors) for heads, _ in of_torch.values())
            graph = raise_scores(whole, core, middle) if inside else whole
            proof = _Comparison(built, core, finished, middle)
            with scratch_folder() as folder:
                path = folder / "raised.onnx"
                save_model(_copy(graph), path, final=path, spec=finished)
                with opener(path) as candidate:
                    raised, off = proof.on(candidate, images, of_torch)
            if raised.is_telling(finished):
                break
    return _said(found, raised, off, finished)


def with_answers(record: ParityRecord, raised: Raised) -> ParityRecord:
    """The record with what the comparison of answers measured."""
    found = raised.found
    return replace(
        record,
        answers=found.images,
        answer_score=found.score,
        answer_box=found.box,
        answer_said=raised.said,
        detections=found.detections,
        masks=found.masks,
        keypoints=found.keypoints,
    )


def _said(found: AnswerDifference, raised: AnswerDifference, off: float, finished: ModelSpec) -> Raised:
    few = f"the proof's pictures show too few objects ({found.detections} found)"
    network = f"raw outputs of the network agree within {off:.1e} of their scale"
    if not finished.is_postprocessed:
        return Raised(found=found, said=f"{few}; instead, the {network}, at every anchor")
    if not raised.detections:
        raise _too_few(found, ", and none with raised scores: all its scores are 0, or no mask has a pixel")
    return Raised(
        found=replace(raised, images=found.images),
        said=f"{few}; instead, the {network}, and with raised scores the post-processing equals the host's",
    )


def _copy(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = type(graph)()
    copy.CopyFrom(graph)  # saving sets its metadata
    return copy


def _heads_of_torch(reference: TorchRunner, image: np.ndarray) -> tuple[Heads, Prepared]:
    prepared = Predictor(reference).prepare(image)
    return reference.infer(prepared.feeds), prepared


@dataclass(frozen=True)
class _Comparison:
    built: BuiltModel
    core: ModelSpec
    finished: ModelSpec
    middle: float

    def on(
        self,
        candidate: Runner,
        images: Mapping[str, np.ndarray],
        of_torch: Mapping[str, tuple[Heads, Prepared]],
    ) -> tuple[AnswerDifference, float]:
        """The difference of answers with raised scores, and the largest one of an output of the network."""
        worst, far = AnswerDifference(), 0.0
        predictor = Predictor(candidate)
        for name, image in images.items():
            wanted, of_host = of_torch[name]
            prepared = predictor.prepare(image)
            outputs = candidate.infer(prepared.feeds)
            heads = {own: outputs[NETWORK + own if self.finished.is_postprocessed else own] for own in wanted}
            try:
                far = max(far, self._network(wanted, heads, of_host))
                if self.finished.is_postprocessed:
                    mine = raise_detections(heads, self.core, self.middle)
                    expected = decode(mine, self.core, [of_host.geometry])[0]
                    found = predictor.read(prepared, outputs)
                    worst |= compare_answers(expected, found, self.finished.output)
            except ParityError as error:
                raise ParityError(
                    f"On {name} ({'x'.join(map(str, image.shape[:2]))}), with raised scores, {error.problem}",
                    hint=NOT_EQUAL,
                ) from error
        return worst, far

    def _network(self, wanted: Heads, heads: Heads, of_host: Prepared) -> float:
        """Largest difference of an output of the network, as a share of its scale."""
        far = 0.0
        for group in self.built.groups:
            if group.kind == "detections":
                # The last places of a selection go to either of two equals.
                theirs, ours = (
                    decode(raise_detections(each, self.core, self.middle), self.core, [of_host.geometry])[0]
                    for each in (wanted, heads)
                )
                far = max(far, compare_answers(theirs, ours, self.core.output).score)
                continue
            off = compare(wanted[group.output][:1], heads[group.output][:1], group)
            if not off.max_rel <= FEATURE_LIMIT:
                raise ParityError(
                    f"{group.output} of the network is off by {off.max_rel:.2e} of its scale; allowed is "
                    f"{FEATURE_LIMIT:.0e}."
                )
            far = max(far, off.max_rel)
        return far
