"""The inputs of the two sides: the user's images, the golden cases, or the photo of the proof."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, ModelSpec
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.pixels.preprocess import as_type
from deploykit_runtimes.selftest.cases import cases_from_keys
from deploykit_runtimes.selftest.inputs import feeds_of
from deploykit_runtimes.selftest.scales import relative

from deploykit_exporters.proof.cases import image_case
from deploykit_exporters.proof.pictures import picture_for

__all__ = ["Feeds", "cases_of", "tightest"]

Feeds = dict[str, np.ndarray]


def cases_of(spec: ModelSpec, images: Sequence[Path]) -> Iterator[tuple[str, Feeds]]:
    """The inputs on which the sides are compared, each with its name, generated lazily.

    Noise is left out: on it two engines that are both right may differ.

    Args:
        spec: The contract of the model.
        images: The user's images; if there are none, the model's golden cases that are pictures, or else
            the photo of the proof.

    Raises:
        InputError: an image cannot be read.
    """
    for path in images:
        yield path.name, _of_image(read_image(path, PixelFormat.of(spec)), spec)
    if images:
        return
    golden = [case for case in cases_from_keys(spec.golden) if case.picture is not None]
    for case in golden:
        yield case.title, feeds_of(case, spec)
    if not golden:
        yield "photo", _of_image(picture_for(spec), spec)


def tightest(spec: ModelSpec) -> float:
    """Half of the least that a float32 engine may be off in a golden case, as a share of the scale of what it
    kept, since a share of another scale is compared here; infinite if the model carries none for float32."""
    shares = [
        share
        for case in cases_from_keys(spec.golden)
        for kept in case.kept
        if "fp32" in kept.tolerances
        for share in relative(kept.tolerances["fp32"], kept)
    ]
    return min((share for share in shares if share > 0), default=math.inf) / 2


def _of_image(image: np.ndarray, spec: ModelSpec) -> Feeds:
    """The feeds for an image uint8 [H, W, C], repeated if the batch is fixed."""
    graph = spec.input
    if spec.preprocess.included:
        batch = 1 if "batch" in graph.dynamic else graph.batch
        tensor = np.repeat(image[None], batch, axis=0)
    else:
        tensor = image_case(image, spec, name="").images
        if graph.layout == "NHWC":
            tensor = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
        tensor = as_type(tensor, graph.dtype)
    feeds = {graph.name: tensor}
    if spec.output.runtime_thresholds:
        feeds.update((name, np.array(getattr(spec.output, name), np.float32)) for name in THRESHOLD_INPUTS)
    return feeds
