"""What a bisection found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

__all__ = ["BisectResult", "Layer", "Read", "Weight", "Why"]

Why = Literal["alone", "fused", "gradual"]
"""Why a layer differs: it does so on the reference's own inputs; only together with the nodes before it,
which the engine computes as one; or it is where a difference that grew over many layers passes the
tolerance."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """A value that a layer reads, as computed by the reference.

    Attributes:
        name, shape, dtype: The value.
        low, high: Its range.
        off: How far the engine's value is from it, relative to the largest value.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    off: float


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A stored tensor of a layer that differs from the checkpoint's.

    Attributes:
        name: The tensor.
        values, differ: How many numbers it has, and how many differ.
        off: The largest difference; infinite where the shapes differ.
    """

    name: str
    values: int
    differ: int
    off: float


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The first layer that differs.

    Attributes:
        name, operator: The node.
        place, of: Its number in the graph, from 1, and the number of nodes.
        output: The output with the largest difference.
        inputs: The values that it reads from other layers.
        before, after: The difference of the values alive before and after it, relative to the largest value
            of each.
        alone: The difference when the engine computes this node alone, from the reference's inputs; None if
            it cannot.
        why: See ``Why``.
        weights: Its stored tensors that differ from the checkpoint's.
    """

    name: str
    operator: str
    place: int
    of: int
    output: str
    inputs: tuple[Read, ...]
    before: float
    after: float
    alone: float | None
    why: Why
    weights: tuple[Weight, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class BisectResult:
    """What a bisection found.

    Attributes:
        checkpoint, model: The arguments.
        engine, reference: The two sides, in words.
        note: Why the reference is the model itself, if it is.
        case: The input on which they differ, or the inputs that were compared if none does.
        off: The difference of the outputs on it, relative to the largest value of each.
        tolerance: The largest difference allowed.
        compared: Number of cuts at which the sides were compared.
        layer: The first layer that differs; None if none does.
    """

    checkpoint: str
    model: Path
    engine: str
    reference: str
    note: str
    case: str
    off: float
    tolerance: float
    compared: int
    layer: Layer | None

    def __repr__(self) -> str:
        if self.layer is None:
            found = "no layer differs"
        else:
            found = f"{self.layer.name} ({self.layer.operator}, {self.layer.place} of {self.layer.of})"
        return f"BisectResult({self.model}, {self.engine} against {self.reference}: {found})"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "model": str(self.model), "agrees": self.layer is None}
