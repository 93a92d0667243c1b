"""The feeds of a golden case."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from deploykit_runtimes.contract.limits import FEED, ModelLimitError, count_text
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, ModelSpec
from deploykit_runtimes.pixels.preprocess import Preprocessor, as_type
from deploykit_runtimes.selftest import bits
from deploykit_runtimes.selftest.cases import Case

__all__ = ["feeds_of", "images_of"]


def images_of(case: Case, channels: int) -> np.ndarray:
    """The images of a case, uint8 [N, H, W, channels].

    Raises:
        ModelError: they are more than one call may take.
    """
    shape = (case.batch, case.height, case.width, channels)
    _check_values(case, shape)
    pixels = bits.noise(case.seed, shape) if case.picture is None else bits.views(case.picture, shape)
    return bits.softened(pixels, case.soft) if case.soft else pixels


def feeds_of(case: Case, spec: ModelSpec) -> dict[str, np.ndarray]:
    """What ``Runner.infer`` takes for a case.

    Raises:
        InputError: the images would come to a size that the model does not take.
        ModelError: the model's pre-processing contradicts itself, or the case is larger than one call may be.
    """
    images = images_of(case, spec.input.channels)
    feeds = {spec.input.name: images if spec.preprocess.included else _tensor(images, case, spec)}
    if spec.output.runtime_thresholds:
        feeds.update((name, np.array(getattr(spec.output, name), np.float32)) for name in THRESHOLD_INPUTS)
    return feeds


def _tensor(images: np.ndarray, case: Case, spec: ModelSpec) -> np.ndarray:
    graph = spec.input
    if case.stage == "tensor":
        spec = replace(
            spec, preprocess=replace(spec.preprocess, pre_crop=0.0, resize="none", resize_to=(), crop=None)
        )
    preprocessor = Preprocessor(spec)
    geometry = preprocessor.plan(images[0])
    shape = (len(images), graph.channels, *geometry.input_size)
    _check_values(case, shape)
    tensor = np.empty(shape, np.float32)
    for image, out in zip(images, tensor, strict=True):
        preprocessor.render(image, geometry, out=out)
    if graph.layout == "NHWC":
        tensor = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
    return as_type(tensor, graph.dtype)


def _check_values(case: Case, shape: tuple[int, ...]) -> None:
    """Refuse what no honest file asks for, before any memory is taken."""
    if math.prod(shape) > FEED:
        raise ModelLimitError(
            f"The golden case {case.title} wants at most {FEED} values, found {count_text(math.prod(shape))}."
        )
