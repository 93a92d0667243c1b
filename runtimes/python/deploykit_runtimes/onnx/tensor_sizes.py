"""The sizes of tensors that follow from constants: a rule for each operator that can make something large."""

from __future__ import annotations

import math
import operator as op
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

__all__ = ["ABSENT", "FEW", "UNKNOWN", "Fact", "Step", "amount", "infer"]

FEW = 64
"""Values of a constant that are kept: a shape has no more."""

Shape = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What is known of a tensor. Sizes are floats, which cannot overflow and need not be exact.

    Attributes:
        shape: The least size of each axis; None: not even their number is known.
        exact: Whether ``shape`` is the shape itself.
        least: How many values there are at least, where ``shape`` is None.
        values: In their order, where they follow from constants and are few.
        constant: Whether it follows from constants alone.
    """

    shape: Shape | None = None
    exact: bool = False
    least: float = 0.0
    values: Shape | None = None
    constant: bool = False


UNKNOWN = Fact()
ABSENT = Fact(exact=True, constant=True)
"""In place of an input that is left out."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of an operator: what is known of its inputs, and its attributes by name."""

    inputs: Sequence[Fact]
    ints: Mapping[str, Sequence[float]] = field(default_factory=dict)
    tensors: Mapping[str, Fact] = field(default_factory=dict)

    def input(self, index: int) -> Fact:
        return self.inputs[index] if index < len(self.inputs) else ABSENT

    def values(self, index: int, attribute: str = "") -> Sequence[float] | None:
        """Of an input, or of the attribute that older operators had in its place; None: not known."""
        return self.input(index).values or self.ints.get(attribute)


Rule = Callable[[Step], Fact]


def amount(fact: Fact) -> float:
    """The number of its values, or the least that it can be."""
    return fact.least if fact.shape is None else math.prod(fact.shape)


def infer(operator: str, step: Step) -> Fact:
    """What is known of the first output of a node."""
    rule = _RULES.get(operator)
    if rule is None:
        return UNKNOWN
    fact = rule(step)
    return replace(
        fact,
        exact=fact.shape is not None and all(given.exact for given in step.inputs),
        values=None if fact.values is None or len(fact.values) > FEW else fact.values,
        constant=all(given.constant or given.values is not None for given in step.inputs),
    )


def _sized(sizes: Iterable[float]) -> Fact:
    return Fact(shape=tuple(max(n, 0.0) for n in sizes))


def _list(values: Iterable[float]) -> Fact:
    values = tuple(values)
    return Fact(shape=(float(len(values)),), values=values)


def _same(step: Step) -> Fact:
    return step.input(0)


def _each(function: Callable[[float], float] | None = None) -> Rule:
    """The shape of the input; its values where the function is known."""

    def rule(step: Step) -> Fact:
        given = step.input(0)
        values = None
        if function is not None and given.values is not None:
            values = tuple(function(n) if math.isfinite(n) else n for n in given.values)
        return replace(given, values=values)

    return rule


def _constant(step: Step) -> Fact:
    if "value" in step.tensors:
        return step.tensors["value"]
    if "value_int" in step.ints:
        return Fact(shape=(), values=tuple(step.ints["value_int"]))
    return _list(step.ints["value_ints"]) if "value_ints" in step.ints else UNKNOWN


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    found: Shape = ()
    for shape in shapes:
        pairs = zip_longest(reversed(found), reversed(shape), fillvalue=1.0)
        found = tuple(a if b == 1 else b if a == 1 else max(a, b) for a, b in pairs)[::-1]
    return found


def _together(given: Sequence[Fact]) -> Fact:
    shapes = [one.shape for one in given if one.shape is not None]
    if len(shapes) == len(given):
        return Fact(shape=_broadcast(shapes))
    return Fact(least=max(map(amount, given)))


def _pointwise(function: Callable[[float, float], float] | None = None) -> Rule:
    """Of inputs that are brought to one shape; values where the function is known."""

    def rule(step: Step) -> Fact:
        if not step.inputs:
            return UNKNOWN
        fact = _together(step.inputs)
        if function is None or len(step.inputs) != 2:
            return fact
        left, right = (given.values for given in step.inputs)
        if not left or not right or (len(left) != len(right) and 1 not in (len(left), len(right))):
            return fact
        count = max(len(left), len(right))
        pairs = zip(_repeated(left, count), _repeated(right, count), strict=True)
        return replace(fact, values=tuple(function(a, b) for a, b in pairs))

    return rule


def _repeated(values: Sequence[float], count: int) -> Sequence[float]:
    return values if len(values) == count else [values[0]] * count


def _quotient(a: float, b: float) -> float:
    """Of whole numbers; others are divided for the scales of a resize, which no limit depends on."""
    found = a / b if b else math.nan
    return float(math.trunc(found)) if a.is_integer() and b.is_integer() and math.isfinite(found) else found


def _concatenated(step: Step) -> Fact:
    given = step.inputs
    parts = [one.values for one in given if one.values is not None]
    if given and len(parts) == len(given):
        return _list(n for part in parts for n in part)
    shapes = [one.shape for one in given if one.shape]
    axis = int(step.ints.get("axis", (0,))[0])
    axes = len(shapes[0]) if shapes else 0
    if not -axes <= axis < axes or len(shapes) != len(given) or any(len(one) != axes for one in shapes):
        return Fact(least=sum(map(amount, given)))
    total = [max(sizes) for sizes in zip(*shapes, strict=True)]
    total[axis] = sum(one[axis] for one in shapes)
    return Fact(shape=tuple(total))


def _shape_of(step: Step) -> Fact:
    given = step.input(0)
    if given.shape is None or not given.exact or step.ints.keys() & {"start", "end"}:
        return UNKNOWN
    return _list(given.shape)


def _size_of(step: Step) -> Fact:
    given = step.input(0)
    return Fact(shape=(), values=(amount(given),)) if given.shape is not None and given.exact else UNKNOWN


def _reshaped(step: Step) -> Fact:
    """The same values on other axes."""
    given = step.input(0)
    return Fact(least=amount(given), values=given.values)


def _gathered(step: Step) -> Fact:
    values, places = step.values(0), step.values(1)
    if values is None or places is None or not all(-len(values) <= n < len(values) for n in places):
        return UNKNOWN
    return Fact(shape=step.input(1).shape, values=tuple(values[int(n)] for n in places))


def _sliced(step: Step) -> Fact:
    values = step.values(0)
    starts, ends = step.values(1, "starts"), step.values(2, "ends")
    by = step.values(4) or (1.0,)
    if values is None or not starts or not ends or by[0] == 0:
        return UNKNOWN
    return _list(values[_place(starts[0]) : _place(ends[0]) : _place(by[0])])


def _place(value: float) -> int:
    return int(min(max(value, -1e9), 1e9))


def _product(step: Step) -> Fact:
    values = step.input(0).values
    return UNKNOWN if values is None else Fact(least=1.0, values=(math.prod(values),))


def _of_shape(step: Step) -> Fact:
    values = step.input(0).values if step.inputs else step.ints.get("shape")
    return UNKNOWN if values is None else _sized(values)


def _expanded(step: Step) -> Fact:
    given, target = step.input(0), step.values(1)
    if target is None:
        return Fact(least=amount(given))
    return _together([_sized(max(n, 1.0) for n in target), given])


def _tiled(step: Step) -> Fact:
    given, repeats = step.input(0), step.values(1)
    if repeats is None:
        return UNKNOWN
    if given.shape is None or len(given.shape) != len(repeats):
        return Fact(least=max(amount(given), 1.0) * math.prod(max(n, 0.0) for n in repeats))
    return _sized(n * times for n, times in zip(given.shape, repeats, strict=True))


def _range(step: Step) -> Fact:
    given = [step.values(index) for index in range(3)]
    bounds = [values[0] for values in given if values]
    if len(bounds) != 3 or not bounds[2]:
        return UNKNOWN
    return _sized([(bounds[1] - bounds[0]) / bounds[2]])


def _resized(step: Step) -> Fact:
    """Inputs of Resize: image, region, scales, sizes; and those before opset 11: image, scales."""
    given, sizes = step.input(0), step.values(3)
    scales = step.values(2) if len(step.inputs) > 2 else step.values(1)
    if sizes and "axes" not in step.ints:
        return _sized(sizes)
    if scales and given.shape is not None and len(given.shape) == len(scales):
        return _sized(n * scale for n, scale in zip(given.shape, scales, strict=True))
    return UNKNOWN


def _padded(step: Step) -> Fact:
    given, pads = step.input(0), step.values(1, "pads")
    if not pads or given.shape is None or len(pads) != 2 * len(given.shape) or len(step.inputs) > 3:
        return UNKNOWN
    half = len(given.shape)
    return _sized(n + pads[axis] + pads[axis + half] for axis, n in enumerate(given.shape))


def _one_hot(step: Step) -> Fact:
    depth = step.values(1)
    return UNKNOWN if not depth else Fact(least=max(amount(step.input(0)), 1.0) * depth[0])


def _transposed(step: Step) -> Fact:
    return Fact(least=amount(step.input(0)))


_SHAPE_KEPT = (
    *(
        "Relu",
        "Abs",
        "Sqrt",
        "Exp",
        "Sigmoid",
        "Tanh",
        "Erf",
        "Softmax",
        "Dropout",
        "Clip",
        "LeakyRelu",
        "Log",
    ),
    *(
        "HardSigmoid",
        "HardSwish",
        "Mish",
        "Elu",
        "Gelu",
        "Reciprocal",
        "Not",
        "Sin",
        "Cos",
        "CumSum",
        "Trilu",
    ),
    *(
        "DequantizeLinear",
        "QuantizeLinear",
        "LayerNormalization",
        "BatchNormalization",
        "InstanceNormalization",
    ),
    *("RandomNormalLike", "RandomUniformLike", "Bernoulli", "EyeLike"),
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SHAPE_KEPT, _each()),
    "Identity": _same,
    "Cast": _same,
    "Neg": _each(op.neg),
    "Floor": _each(lambda n: float(math.floor(n))),
    "Ceil": _each(lambda n: float(math.ceil(n))),
    "Constant": _constant,
    "Add": _pointwise(op.add),
    "Sub": _pointwise(op.sub),
    "Mul": _pointwise(op.mul),
    "Div": _pointwise(_quotient),
    "Max": _pointwise(max),
    "Min": _pointwise(min),
    **dict.fromkeys(
        ("Pow", "Equal", "Greater", "Less", "And", "Or", "Where", "Sum", "Mean", "Mod"), _pointwise()
    ),
    "Concat": _concatenated,
    "Shape": _shape_of,
    "Size": _size_of,
    **dict.fromkeys(("Squeeze", "Unsqueeze", "Reshape", "Flatten"), _reshaped),
    "Transpose": _transposed,
    "Gather": _gathered,
    "Slice": _sliced,
    "ReduceProd": _product,
    **dict.fromkeys(("ConstantOfShape", "RandomUniform", "RandomNormal"), _of_shape),
    "Expand": _expanded,
    "Tile": _tiled,
    "Range": _range,
    **dict.fromkeys(("Resize", "Upsample"), _resized),
    "Pad": _padded,
    "OneHot": _one_hot,
}
