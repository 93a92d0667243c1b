"""A model's post-processing inside its graph: heads in, finished answers out.

The counterpart of ``deploykit_runtimes.answers.decode``: the same answers, in the layouts ``top_k`` and
``detections`` of ``docs/spec.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from deploykit_runtimes.contract.spec import ModelSpec, OutputSpec
from deploykit_runtimes.errors import OptionError
from torch import Tensor, nn

from deploykit_exporters.ingraph.detection.candidates import READERS
from deploykit_exporters.ingraph.detection.detections import DetectionAnswers
from deploykit_exporters.ingraph.ranking import ranked

if TYPE_CHECKING:
    from deploykit_exporters.ingraph.preprocess import InGraphPreprocess

__all__ = ["MAX_ANSWERS", "PostprocessOptions", "postprocess_module", "postprocess_output"]

MAX_ANSWERS = 3840
"""Most classes or detections of an image: the largest TopK of TensorRT."""

_TASK_OUTPUTS = {"pose": ("keypoints",), "obb": ("rotated_boxes",)}


@dataclass(frozen=True, kw_only=True)
class PostprocessOptions:
    """What to build into the graph; None leaves the model's own default.

    Attributes:
        top_k: Number of classes of a classification; fewer where the model has fewer.
        conf: Lowest score of a detection, exclusive.
        iou: Overlap above which the worse of two boxes falls.
        max_det: Most detections of an image, and the size of the outputs.
        class_agnostic: Boxes of different classes suppress each other.
        runtime_thresholds: ``conf`` and ``iou`` are inputs of the graph instead, float32 [].
        masks: Masks of a segmentation at the size of the graph's input, instead of coefficients and
            prototypes. An output of ``max_det`` masks for each image: choose that small.
    """

    top_k: int = 5
    conf: float | None = None
    iou: float | None = None
    max_det: int | None = None
    class_agnostic: bool = False
    runtime_thresholds: bool = False
    masks: bool = False


def postprocess_output(spec: ModelSpec, options: PostprocessOptions) -> OutputSpec:
    """What a graph returns that holds the post-processing.

    Args:
        spec: The contract of the network without it.
        options: What is to be built in.

    Raises:
        OptionError: the model has no such post-processing, or an option does not fit it.
    """
    output = spec.output
    _check(spec, options)
    if spec.task == "classify":
        count = min(options.top_k, spec.num_classes or options.top_k)
        return OutputSpec(names=("probabilities", "classes"), layout="top_k", top_k=count)
    names = ("boxes", "scores", "classes", "count", *_TASK_OUTPUTS.get(spec.task, ()))
    if spec.task == "segment":
        names += ("masks",) if options.masks else ("mask_coefficients", "prototypes")
    return OutputSpec(
        names=names,
        layout="detections",
        nms=True,
        conf=output.conf if options.conf is None else options.conf,
        iou=output.iou if options.iou is None else options.iou,
        max_det=output.max_det if options.max_det is None else options.max_det,
        class_agnostic=output.class_agnostic or options.class_agnostic,
        runtime_thresholds=options.runtime_thresholds,
        keypoints=output.keypoints,
        mask_channels=0 if options.masks else output.mask_channels,
    )


def postprocess_module(
    spec: ModelSpec, options: PostprocessOptions, *, preprocess: InGraphPreprocess | None
) -> nn.Module:
    """The post-processing of a model as a module that can be traced behind it.

    It is called with the graph's own input (of which only the shape matters), the network's outputs in
    float32, and the scalars conf and iou where they are inputs. It returns the outputs of
    ``postprocess_output`` in order.

    Args:
        spec: The contract of the network: ``spec.input`` describes its float32 tensor.
        options: What is to be built in.
        preprocess: The pre-processing in the same graph; boxes are then mapped back to the image that came
            in and clipped to it. None where the graph takes the tensor: boxes stay in its pixels.

    Raises:
        OptionError: the model has no such post-processing, or an option does not fit it.
    """
    finished = postprocess_output(spec, options)
    if spec.task == "classify":
        return ClassificationAnswers(spec, finished)
    return DetectionAnswers(spec, finished, preprocess)


class ClassificationAnswers(nn.Module):
    """Class scores float32 [N, C] to the best probabilities, float32 [N, K], and their classes, int64."""

    def __init__(self, core: ModelSpec, finished: OutputSpec) -> None:
        super().__init__()
        self.core = core
        self.finished = finished

    def forward(self, images: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Logits that are not finite give NaN for the whole row, which nobody takes for an answer."""
        finite = logits.abs().sum(1, keepdim=True) < float("inf")
        probabilities, classes = ranked(torch.where(finite, self._activate(logits), 0.0), self.finished.top_k)
        return torch.where(finite, probabilities, float("nan")), classes

    def _activate(self, logits: Tensor) -> Tensor:
        output = self.core.output
        if output.layout == "probabilities" or output.activation == "none":
            return logits
        if output.activation == "sigmoid" or self.core.num_classes == 1:
            # The host's formula: where it saturates, classes are equal, and the lower id comes first.
            return (torch.tanh(logits / 2) + 1) / 2
        return torch.softmax(logits, dim=1)


def _check(spec: ModelSpec, options: PostprocessOptions) -> None:
    classifies = spec.output.layout in ("logits", "probabilities")
    if not classifies and spec.output.layout not in READERS:
        raise OptionError(
            f"The layout {spec.output.layout!r} has no post-processing that could go inside the graph.",
            hint="Export without --postprocess.",
        )
    _check_numbers(options)
    if options.masks and spec.task != "segment":
        raise OptionError(f"--masks is for segmentation models; this one's task is {spec.task}.")
    if options.masks and (spec.preprocess.pre_crop > 0 or spec.preprocess.crop is not None):
        raise OptionError(
            "--masks wants a model that sees the whole image; this one's pre-processing crops it."
        )
    wanted = {
        "conf": options.conf is not None,
        "iou": options.iou is not None,
        "max-det": options.max_det is not None,
        "class-agnostic": options.class_agnostic,
        "runtime-thresholds": options.runtime_thresholds,
    }
    if classifies:
        _refuse(wanted, "A classifier has no boxes to select")
    elif spec.output.nms or spec.output.layout == "end2end":
        # A dead input would be the alternative to refusing --runtime-thresholds.
        del wanted["conf"], wanted["max-det"]
        _refuse(wanted, "The model selects its boxes by itself and suppresses none by their overlap")


def _check_numbers(options: PostprocessOptions) -> None:
    for name, share in (("conf", options.conf), ("iou", options.iou)):
        if share is not None and not 0 <= share <= 1:
            raise OptionError(f"--{name} wants a number in 0..1, found {share:g}.")
    for name, count in (("top-k", options.top_k), ("max-det", options.max_det)):
        if count is not None and not 1 <= count <= MAX_ANSWERS:
            raise OptionError(f"--{name} wants a number in 1..{MAX_ANSWERS}, found {count}.")


def _refuse(wanted: dict[str, bool], reason: str) -> None:
    names = [f"--{name}" for name, given in wanted.items() if given]
    if names:
        raise OptionError(f"{reason}: {' and '.join(names)} would have no effect.", hint="Leave it out.")
