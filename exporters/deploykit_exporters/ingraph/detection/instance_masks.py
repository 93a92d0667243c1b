"""Instance masks at the size of the graph's input, equal to ``deploykit_runtimes.answers.masks``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.onnx.operators import shape_as_tensor

from deploykit_exporters.ingraph.operators import arange, divide

__all__ = ["MaskAxis", "instance_masks", "mask_axis"]

_ENLARGED = 4  # pixels of the tensor per pixel of the prototypes, on both axes
_FLOAT = 1  # onnx.TensorProto.FLOAT


class MaskAxis(NamedTuple):
    """The pixels of the tensor between which those of one axis of the image lie.

    Attributes:
        before, after: Indices, int64 [n].
        share: That of the latter, float32 [n].
    """

    before: Tensor
    after: Tensor
    share: Tensor


def mask_axis(length: Tensor, resized: Tensor, offset: Tensor) -> MaskAxis:
    """Samples of an axis of ``length`` pixels, which are ``resized`` pixels from ``offset`` on in the tensor.

    All are int64 scalars. Positions are exact: a boundary in the middle of two pixels falls to the same
    side as on the host.
    """
    pixels = arange(length)
    numerator = torch.maximum((2 * pixels + 1) * resized - length, torch.tensor(0))
    whole = divide(numerator, 2 * length)
    rest = numerator - 2 * length * whole
    # OpenVINO multiplies by the reciprocal, which does not always make a half of a half.
    share = torch.where(rest == length, 0.5, rest.to(torch.float32) / (2 * length).to(torch.float32))
    before, after = (torch.minimum(place, resized - 1) + offset for place in (whole, whole + 1))
    return MaskAxis(before, after, share)


def instance_masks(
    prototypes: Tensor,
    coefficients: Tensor,
    boxes: Tensor,
    count: Tensor,
    *,
    rows: MaskAxis,
    columns: MaskAxis,
    limit: int,
) -> tuple[Tensor, Tensor]:
    """The masks of a batch, one detection after the other: all of them at once would not fit in memory.

    Args:
        prototypes: float32 [N, M, h, w], of a quarter of the tensor's size.
        coefficients: float32 [N, K, M].
        boxes: xyxy in pixels of the tensor, float32 [N, K, 4].
        count: The largest number of detections of an image, int64 []; what is beyond costs nothing.
        rows, columns: The pixels of the image.
        limit: K.

    Returns:
        bool [K, N, H, W], and whether there is anything in each before it is carried over from the tensor,
        bool [K, N].
    """
    # On its side, so that all of it picks whole rows: to pick columns takes a CPU ten times as long.
    prototypes = prototypes.transpose(2, 3)
    sizes = shape_as_tensor(prototypes)
    inside = [_inside(boxes[..., axis::2], _ENLARGED * sizes[2 + axis]) for axis in (0, 1)]
    shape = torch.cat([sizes[:1], torch.tensor([1]), sizes[2:]])
    nothing = torch.zeros(prototypes.shape[0], rows.share.shape[0], columns.share.shape[0], dtype=torch.bool)
    loop = (prototypes.flatten(2), shape, coefficients, *inside, count, nothing, nothing[:, 0, 0])
    return _Loop.apply(limit, *loop, *rows, *columns)  # type: ignore[no-any-return]


def _inside(edges: Tensor, length: Tensor) -> Tensor:
    """Which pixels of an axis lie in each box: [N, K, 2] to bool [N, K, length]."""
    pixels = arange(length).to(torch.float32)
    return (pixels >= edges[..., :1]) & (pixels < edges[..., 1:])


class _Loop(torch.autograd.Function):
    """An ONNX Loop with scan outputs, for which torch's scripts have no words."""

    @staticmethod
    def forward(ctx: Any, limit: int, *inputs: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG004
        flat, shape, coefficients, across, down, count, nothing, _, *axes = inputs
        masks, seen = [nothing] * limit, [nothing[:, 0, 0]] * limit
        for number in range(int(count)):
            logits = torch.matmul(coefficients[:, number, None], flat).reshape(shape.tolist())
            logits = F.interpolate(logits, scale_factor=_ENLARGED, mode="bilinear")[:, 0]
            mask = (logits > 0) & across[:, number, :, None] & down[:, number, None]
            seen[number] = mask.flatten(1).any(1)
            mask = _between(mask.to(torch.float32), *axes[3:])
            masks[number] = _between(mask.transpose(1, 2), *axes[:3]) > 0.5
        return torch.stack(masks), torch.stack(seen)

    @staticmethod
    def symbolic(g: Any, limit: int, *inputs: Any) -> tuple[Any, Any]:
        flat, shape, coefficients, across, down, count, nothing, unseen, *axes = inputs
        masks, seen = g.op("Loop", _constant(g, limit), _constant(g, True), outputs=2)
        body = _block(g, masks)
        number, going = _input(body, torch.int64), _input(body, torch.bool)
        mask, anything = body.op("If", body.op("Less", number, count), outputs=2)
        _end(body, body.op("Identity", going), mask, anything)

        one = _block(g, mask)
        of_one = (one.op("Gather", values, number, axis_i=1) for values in (coefficients, across, down))
        weights, columns, lines = (_unsqueezed(one, values, 1) for values in of_one)
        logits = one.op("Reshape", one.op("MatMul", weights, flat), shape)
        scales = _constant(one, [1.0, 1.0, _ENLARGED, _ENLARGED])
        how = {"mode_s": "linear", "coordinate_transformation_mode_s": "half_pixel"}
        logits = one.op("Resize", logits, _nothing(one), scales, **how)
        inside = one.op("And", _unsqueezed(one, columns, 3), _unsqueezed(one, lines, 1))
        inside = one.op("And", one.op("Greater", logits, _constant(one, 0.0)), inside)
        values = one.op("Cast", inside, to_i=_FLOAT)
        half = _constant(one, 0.5)
        largest = one.op("ReduceMax", values, _constant(one, [1, 2, 3]), keepdims_i=0)
        values = one.op("Transpose", _graph_between(one, values, *axes[3:]), perm_i=[0, 1, 3, 2])
        values = _graph_between(one, values, *axes[:3])
        mask = one.op("Squeeze", one.op("Greater", values, half), _constant(one, [1]))
        _end(one, mask, one.op("Greater", largest, half))

        none = _block(g, anything)
        _end(none, none.op("Identity", nothing), none.op("Identity", unseen))
        return masks, seen


def _constant(g: Any, value: Any) -> Any:
    return g.op("Constant", value_t=torch.tensor(value))


def _nothing(g: Any) -> Any:
    """An optional input that is left out."""
    absent = g.op("prim::Constant")
    absent.setType(torch._C.OptionalType.ofTensor())
    return absent


def _unsqueezed(g: Any, values: Any, axis: int) -> Any:
    return g.op("Unsqueeze", values, _constant(g, [axis]))


def _graph_between(g: Any, values: Any, before: Any, after: Any, share: Any) -> Any:
    low, high = (g.op("Gather", values, index, axis_i=2) for index in (before, after))
    return g.op("Add", low, g.op("Mul", g.op("Sub", high, low), _unsqueezed(g, share, 1)))


def _block(g: Any, output: Any) -> Any:
    """Add a sub-graph to the node that gives ``output``."""
    return replace(g, block=output.node().addBlock())


def _input(g: Any, dtype: torch.dtype) -> Any:
    """A scalar input of a sub-graph."""
    value = g.block.addInputToBlock()
    value.setType(torch._C.TensorType.get().with_dtype(dtype).with_sizes([]))
    return value


def _end(g: Any, *outputs: Any) -> None:
    for output in outputs:
        g.block.registerOutput(output)


def _between(values: Tensor, before: Tensor, after: Tensor, share: Tensor) -> Tensor:
    low, high = values[:, before], values[:, after]
    return low + (high - low) * share[:, None]
