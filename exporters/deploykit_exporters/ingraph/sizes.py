"""Sizes of the pre-processing, computed in the graph as the host computes them.

The host's rules are products of a side and a ratio in float64, which engines for GPUs do not have. In
integers they are exact; what float64 makes of a product that is exactly a whole number or a half was
worked out beforehand, and lies in small tables. Integers stay below 2 ** 31, since OpenVINO keeps
int64 in 32 bits.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from deploykit_runtimes.contract.spec import CropOffset
from deploykit_runtimes.errors import ModelError
from torch import Tensor

from deploykit_exporters.ingraph.operators import divide

__all__ = ["MAX_SIDE", "CentreSquare", "Fit", "centred", "cover", "longer", "shorter"]

MAX_SIDE = 1 << 14
"""Sides of images below which every size is exactly the host's."""

_ZERO, _ONE = torch.tensor(0), torch.tensor(1)


def shorter(size: Tensor) -> Tensor:
    """The smaller of two numbers. OpenVINO rounds a division that follows a reduction of whole numbers."""
    return torch.minimum(size[0], size[1])


def longer(size: Tensor) -> Tensor:
    """The larger of two numbers; see ``shorter``."""
    return torch.maximum(size[0], size[1])


def centred(length: Tensor, window: Tensor, half_goes: CropOffset, *, pads: bool) -> Tensor:
    """Offset of a centre crop, as torchvision's where halves go to even; pads the smaller half first.

    Args:
        length, window: What to crop, and to what; int64 [2].
        half_goes: Where half a pixel goes, see ``Preprocess.crop_offset``.
        pads: Whether a length can be below its window.
    """
    excess = torch.maximum(length - window, _ZERO) if pads else length - window
    half = divide(excess, 2)
    cropped = -half
    if half_goes != "down":
        odd = excess - 2 * half
        cropped = -(half + (odd if half_goes == "up" else odd * (half - 2 * divide(half, 2))))
    return cropped + divide(torch.maximum(window - length, _ZERO), 2) if pads else cropped


def cover(size: Tensor, target: tuple[int, int]) -> Tensor:
    """Height and width of an image that is scaled until it covers a target: one side is the target's, the
    other rounded half to even.

    Args:
        size: Of the image; int64 [2].
        target: Height and width.
    """
    vertical = target[1] * size[0] <= target[0] * size[1]
    goal = torch.where(vertical, target[0], target[1])
    edge, other = torch.where(vertical, size[0], size[1]), torch.where(vertical, size[1], size[0])
    number, whole = 2 * goal * other + edge, 2 * edge
    quotient = divide(number, whole)
    half = number == quotient * whole
    odd = quotient - 2 * divide(quotient, 2)
    rounded = torch.maximum(quotient - half.to(torch.int64) * odd, _ONE)
    return torch.where(vertical, torch.stack([goal, rounded]), torch.stack([rounded, goal]))


class Fit:
    """Both sides of an image, scaled by the smaller ratio of ``target / size`` and at least 1.

    Equal to ``round(side * ratio)`` (or ``int(side * ratio)``) with ``ratio`` in float64. That product is
    on the wrong side of a half or a whole number only where the true one is exactly there; whether it is
    depends on how float64 rounded the ratio, and on how far the next float64 below or above is.

    Args:
        target: Height and width to fit into.
        scale_up: Whether images that are smaller stay as they are.
        rounds: Round half to even; otherwise cut to whole pixels.
    """

    def __init__(self, target: tuple[int, int], *, scale_up: bool, rounds: bool) -> None:
        self.target, self.scale_up = target, scale_up
        self.double = 2 if rounds else 1
        # A product is a half only where the longer side has one more factor of two than the goal.
        self.step = min(side & -side for side in target) * 2 if rounds else 1
        limits = _rounding_limits(np.arange(self.double * max(target) + 2), rounds=rounds)
        edges = np.arange(0, MAX_SIDE + 1, self.step)
        self.last = torch.tensor(len(edges) - 1)
        errors = np.stack([_ratio_error(goal, edges) for goal in target])
        # Only their order matters.
        levels = np.unique(limits)
        self.limits, self.errors = (
            torch.from_numpy(np.searchsorted(levels, values).astype(np.int32)) for values in (limits, errors)
        )

    def __call__(self, size: Tensor) -> Tensor:
        """Scaled height and width of an image, int64 [2] to int64 [2]."""
        goal: Tensor | int
        if self.target[0] == self.target[1]:
            goal, edge, errors = self.target[0], longer(size), self.errors[0]
        else:
            vertical = self.target[0] * size[1] <= self.target[1] * size[0]
            goal = torch.where(vertical, self.target[0], self.target[1])
            edge = torch.where(vertical, size[0], size[1])
            errors = torch.where(vertical, self.errors[0], self.errors[1])
        product = self.double * goal * size
        index = torch.minimum(divide(edge, self.step), self.last)
        # Where the product is not exactly on the border, one less of it changes nothing.
        less = (errors[index] <= self.limits[divide(product, edge)]).to(torch.int64)
        rounding = edge - less if self.double == 2 else -less
        scaled = torch.maximum(divide(product + rounding, self.double * edge), _ONE)
        return scaled if self.scale_up else torch.where(edge > goal, scaled, size)


def _ratio_error(goal: int, edges: np.ndarray) -> np.ndarray:
    """Relative error of ``goal / edge`` in float64, in units of 2 ** -53; to the bit."""
    with np.errstate(divide="ignore"):
        mantissa, exponent = np.frexp(goal / edges)
    mantissa[edges == 0] = exponent[edges == 0] = 0
    # Of goal - ratio * edge only the last bits differ from 0, so that it may wrap around.
    shift = 53 - exponent.astype(np.int64)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    rest = whole * edges - np.left_shift(np.int64(goal), np.minimum(shift, 63)) * (shift < 64)
    error: np.ndarray = np.ldexp(rest.astype(np.float64), exponent) / goal
    return error


def _rounding_limits(products: np.ndarray, *, rounds: bool) -> np.ndarray:
    """Relative errors, in the same units, up to which a product on the border goes down.

    Args:
        products: True products: in halves of a pixel, of which the odd ones count, or in pixels.
        rounds: Whether they are halves, and half-even rounding decides where the error is lost.
    """
    values = np.maximum(products, 1) / (2 if rounds else 1)
    above = np.exp2(np.floor(np.log2(values)))  # half of the distance to the next float64
    below = np.where(values == above, above / 2, above)
    limits: np.ndarray = np.nextafter(-below / values, -np.inf)
    return np.where(products // 2 % 2 == 0, above / values, limits) if rounds else limits


class CentreSquare:
    """The centre square with a side of ``fraction`` of the image's shorter side, cut to whole pixels.

    Args:
        fraction: At most 1; a quotient of whole numbers below 2 ** 16, such as 224 / 256 or 0.875.
        offset: Where half a pixel goes; see ``Preprocess``.

    Raises:
        ModelError: ``fraction`` is not such a quotient.
    """

    def __init__(self, fraction: float, offset: CropOffset) -> None:
        self.ratio, self.offset = Fraction(fraction).limit_denominator(1 << 16), offset
        if abs(float(self.ratio) / fraction - 1) > 2.0**-50:
            raise ModelError(
                f"A centre crop of {fraction!r} of the shorter side cannot be put inside the graph:"
                " it is not a quotient of whole numbers below 65536.",
                hint="Export without --preprocess.",
            )
        multiples = np.arange(MAX_SIDE // self.ratio.denominator + 1)
        # The float64 nearest to 300 / 332, say, times 83 need not be a whole number.
        self.errors = multiples * self.ratio.denominator * fraction - multiples * self.ratio.numerator

    def __call__(self, size: Tensor) -> tuple[Tensor, Tensor]:
        """The top-left corner of the square, and its height and width; both int64 [2]."""
        numerator, denominator = self.ratio.numerator, self.ratio.denominator
        side = shorter(size)
        product = side * numerator
        multiple = divide(side, denominator)
        less = self._pick(self.errors < 0, multiple)
        side = torch.maximum(divide(product - less, denominator), _ONE)
        square = torch.stack([side, side])
        if self.offset != "even":
            return divide(size - square + int(self.offset == "up"), 2), square
        margin = size * denominator - product
        halves = divide(margin, denominator)
        half = divide(halves, 2)
        down = (half - 2 * divide(half, 2)) == 0
        if self.errors.any():
            # Beside a margin that is not below ``reach``, float64 loses the error.
            with np.errstate(divide="ignore"):
                reach = np.exp2(np.ceil(np.log2(np.abs(self.errors))) + 53)
            down = down & (halves >= self._pick((self.errors < 0) * reach, multiple))
            down = down | (halves < self._pick((self.errors > 0) * reach, multiple))
        rounded = divide(margin + denominator - down.to(torch.int64), 2 * denominator)
        return rounded, square

    def _pick(self, values: np.ndarray, multiple: Tensor) -> Tensor:
        if not values.any():
            return _ZERO
        last = torch.tensor(len(values) - 1)
        return torch.from_numpy(values.astype(np.int64))[torch.minimum(multiple, last)]
