"""Whether the sizes that a contract names can be meant; see ``limits``."""

from __future__ import annotations

import math
from collections.abc import Iterator

from deploykit_runtimes.contract.limits import CHANNELS, FEED, IMAGE, NAMES, SIDE, ModelLimitError
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec

__all__ = ["check_spec_limits"]


def check_spec_limits(spec: ModelSpec) -> None:
    """Refuse a contract with sizes that no image has.

    Raises:
        ModelLimitError: names the key, what it may be and what was found.
    """
    for key, low, high, found in _wanted(spec):
        if not low <= found <= high:
            raise ModelLimitError(f"Metadata {key} wants {low} to {high}, found {found}.")
    for part, tensor in (("input", spec.input), ("network", spec.network)):
        if tensor is not None:
            _check_tensor(part, tensor)


def _wanted(spec: ModelSpec) -> Iterator[tuple[str, int, int, float]]:
    """Key, least, most and value of each number that the memory or the work of a call depends on."""
    if spec.inferred:
        return  # the sizes are the graph's own
    for part, tensor in (("input", spec.input), ("network", spec.network)):
        if tensor is not None:
            yield f"deploykit.{part}.height", 1, SIDE, tensor.height
            yield f"deploykit.{part}.width", 1, SIDE, tensor.width
            yield f"deploykit.{part}.channels", 1, CHANNELS, tensor.channels
            yield f"deploykit.{part}.batch", 1, CHANNELS, tensor.batch
    how, output = spec.preprocess, spec.output
    for side in how.resize_to:
        yield "deploykit.preprocess.resize_to", 1, SIDE, side
    for side in how.crop or ():
        yield "deploykit.preprocess.crop", 1, SIDE, side
    yield "deploykit.preprocess.pre_crop", 0, 1, how.pre_crop
    yield "deploykit.preprocess.stride", 0, SIDE, how.stride
    yield "deploykit.num_classes", 0, NAMES, spec.num_classes
    yield "deploykit.output.max_det", 1, NAMES, output.max_det
    yield "deploykit.output.top_k", 0, NAMES, output.top_k
    yield "deploykit.output.conf", 0, 1, output.conf
    yield "deploykit.output.iou", 0, 1, output.iou
    for count in output.keypoints:
        yield "deploykit.output.keypoints", 0, CHANNELS, count
    yield "deploykit.output.mask_channels", 0, CHANNELS, output.mask_channels


def _check_tensor(part: str, tensor: InputSpec) -> None:
    image = math.prod((tensor.channels, tensor.height, tensor.width))
    batch = 1 if "batch" in tensor.dynamic else tensor.batch
    for what, found, most in (("an image", image, IMAGE), ("a batch", image * batch, FEED)):
        if found > most:
            raise ModelLimitError(
                f"The model's {part} wants {found} values for {what}, deploykit makes {most} at most.",
                hint="Export it for smaller images or batches, or prepare the tensor in another program.",
            )
