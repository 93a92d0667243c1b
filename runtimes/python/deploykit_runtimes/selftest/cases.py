"""The golden cases of a model file: dataclasses, and the metadata keys that hold them."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from deploykit_runtimes.errors import ModelError

__all__ = [
    "CASES",
    "GOLDEN",
    "PRECISIONS",
    "Case",
    "Kept",
    "KeptRows",
    "KeptValues",
    "Slice",
    "cases_from_keys",
    "cases_to_keys",
]

GOLDEN = "deploykit.golden."
CASES = 16
"""Most cases of a file."""
_PROBES = 32
"""Most outputs and slices of outputs of a case."""
_PICTURES = 16
_VALUES = 1 << 16
"""Most values that are kept of one output."""
_SIDE, _BATCH, _SOFTEST, _COLUMNS = 16_384, 1024, 7, 4096
_PIXELS = 1 << 24
"""Most pixels of a case, all its images together."""

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")
"""The precisions for which tolerances are measured, the most exact first."""
_WORD = re.compile(r"[^ \t\n\r\f\v]+")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_FLOAT = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,3})?")
_PRECISION = re.compile(r"[a-z0-9]{1,16}")

Stage = Literal["image", "tensor"]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Part of an output that is compared against a scale of its own.

    Attributes:
        output: Name of the graph output.
        axis, start, stop: The slice; ``axis`` -1 is the whole output.
        log: Probabilities, compared by the logarithm of p + 1e-3, so that small ones count too.
        best: The index of the largest value of each image is compared as well.
    """

    output: str
    axis: int = -1
    start: int = 0
    stop: int = 0
    log: bool = False
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class KeptValues:
    """What a case keeps of a slice.

    Attributes:
        part: The slice.
        samples: float32, at ``bits.positions`` of the flattened slice.
        means: float32, along each axis, see ``measure.means``.
        best: Of each image, where ``part.best``: the index of its largest value; int64 [N].
        margins: By how much that is larger than the next one; float32 [N].
        tolerances: By precision: the largest difference of a sample and of a mean.
    """

    part: Slice
    samples: np.ndarray
    means: np.ndarray
    best: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    margins: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    tolerances: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``logits``; ``output0[4:84]``."""
        return (
            self.part.output
            if self.part.axis < 0
            else f"{self.part.output}[{self.part.start}:{self.part.stop}]"
        )


@dataclass(frozen=True, kw_only=True)
class KeptRows:
    """What a case keeps of answers that come as rows in the order of their scores.

    Attributes:
        box, extra: How many columns of a row are coordinates, and how many anything else.
        rows: float32 [R, 3 + box + extra]: the image, the class, the logarithm of the score, the rest.
        cuts: Of each image, the logarithm of the score below which rows may be missing; float32 [N].
        tolerances: By precision: the largest difference of a score (logarithm), a coordinate, the rest.
    """

    box: int
    extra: int
    rows: np.ndarray
    cuts: np.ndarray
    tolerances: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    name: str = "answers"


Kept = KeptValues | KeptRows


@dataclass(frozen=True, kw_only=True)
class Case:
    """One golden case.

    Attributes:
        picture: The small picture that its images are views of, uint8 [h, w, C]; None: noise.
        seed: Of the noise.
        batch, height, width: Number and size of its images.
        stage: ``image``: pre-processed as ``predict`` does it, or fed as it is where that is in the graph;
            ``tensor``: of the size of the tensor, normalised only.
        soft: How many times the contrast is halved.
        kept: What the checkpoint answered.
    """

    picture: np.ndarray | None
    seed: int = 0
    batch: int
    height: int
    width: int
    stage: Stage
    soft: int = 0
    kept: tuple[Kept, ...] = ()

    @property
    def title(self) -> str:
        """``photo 3x224x224``."""
        name = "noise" if self.picture is None else "photo" if self.stage == "image" else "photo tensor"
        soft = f" /{1 << self.soft}" if self.soft else ""
        return f"{name} {self.batch}x{self.height}x{self.width}{soft}"


def cases_to_keys(cases: tuple[Case, ...]) -> dict[str, str]:
    """The keys below ``GOLDEN``, with it, that ``cases_from_keys`` reads back to equal cases."""
    keys = {f"{GOLDEN}cases": str(len(cases))}
    pictures: list[np.ndarray] = []
    for number, case in enumerate(cases):
        prefix = f"{GOLDEN}{number}."
        source = f"noise {case.seed}"
        if case.picture is not None:
            same = [index for index, old in enumerate(pictures) if np.array_equal(old, case.picture)]
            if not same:
                pictures.append(case.picture)
            source = f"picture {(same or [len(pictures) - 1])[0]}"
        keys[f"{prefix}images"] = f"{source} {case.batch} {case.height} {case.width} {case.stage} {case.soft}"
        keys[f"{prefix}outputs"] = str(len(case.kept))
        for index, kept in enumerate(case.kept):
            keys.update(_kept_to_keys(f"{prefix}{index}.", kept))
    keys[f"{GOLDEN}pictures"] = str(len(pictures))
    for index, picture in enumerate(pictures):
        keys[f"{GOLDEN}picture.{index}"] = " ".join(map(str, picture.shape)) + " " + _dump(picture, np.uint8)
    return keys


def _kept_to_keys(prefix: str, kept: Kept) -> dict[str, str]:
    if isinstance(kept, KeptValues):
        part = kept.part
        keys = {
            f"{prefix}kind": "values",
            f"{prefix}output": part.output,
            f"{prefix}slice": f"{part.axis} {part.start} {part.stop}",
            f"{prefix}log": str(int(part.log)),
            f"{prefix}samples": _dump(kept.samples, np.float32),
            f"{prefix}means": _dump(kept.means, np.float32),
        }
        if part.best:
            keys[f"{prefix}best"] = " ".join(map(str, kept.best.tolist()))
            keys[f"{prefix}margins"] = _dump(kept.margins, np.float32)
    else:
        keys = {
            f"{prefix}kind": "rows",
            f"{prefix}columns": f"{kept.box} {kept.extra}",
            f"{prefix}rows": _dump(kept.rows, np.float32),
            f"{prefix}cuts": _dump(kept.cuts, np.float32),
        }
    for precision, values in kept.tolerances.items():
        keys[f"{prefix}tolerance.{precision}"] = " ".join(f"{value:.4g}" for value in values)
    return keys


def cases_from_keys(keys: Mapping[str, str]) -> tuple[Case, ...]:
    """The golden cases of a file's metadata; none where it has none.

    Raises:
        ModelError: a key is missing or malformed.
    """
    if f"{GOLDEN}cases" not in keys:
        return ()
    (count,) = _integers(keys, "cases", 1, most=CASES)
    (stored,) = _integers(keys, "pictures", 1, most=_PICTURES)
    pictures = [_picture(keys, f"picture.{index}") for index in range(stored)]
    return tuple(_case(keys, f"{number}.", pictures) for number in range(count))


def _case(keys: Mapping[str, str], prefix: str, pictures: list[np.ndarray]) -> Case:
    key = f"{prefix}images"
    words = _WORD.findall(_text(keys, key))
    numbers = words[1:5] + words[6:]
    if (
        len(words) != 7
        or words[0] not in ("noise", "picture")
        or words[5] not in get_args(Stage)
        or not all(_INTEGER.fullmatch(word) for word in numbers)
    ):
        raise _malformed(key, "'noise|picture NUMBER BATCH HEIGHT WIDTH image|tensor HALVINGS'", keys)
    number, batch, height, width, soft = map(int, numbers)
    picture = None
    fits = 0 < batch <= _BATCH and 0 < height <= _SIDE and 0 < width <= _SIDE and 0 <= soft <= _SOFTEST
    if words[0] == "picture":
        fits = fits and 0 <= number < len(pictures)
        picture = pictures[number] if fits else None
    if not fits or not 0 <= number < 1 << 63 or batch * height * width > _PIXELS:
        raise _malformed(key, "numbers in their ranges", keys)
    (outputs,) = _integers(keys, f"{prefix}outputs", 1, most=_PROBES)
    stage: Stage = "image" if words[5] == "image" else "tensor"
    return Case(
        picture=picture,
        seed=0 if words[0] == "picture" else number,
        batch=batch,
        height=height,
        width=width,
        stage=stage,
        soft=soft,
        kept=tuple(_kept(keys, f"{prefix}{index}.", batch) for index in range(outputs)),
    )


def _kept(keys: Mapping[str, str], prefix: str, batch: int) -> Kept:
    kind = _text(keys, f"{prefix}kind")
    if kind == "values":
        return _kept_values(keys, prefix, batch)
    if kind != "rows":
        raise _malformed(f"{prefix}kind", "'values' or 'rows'", keys)
    box, extra = _integers(keys, f"{prefix}columns", 2, most=_COLUMNS)
    rows = _floats(keys, f"{prefix}rows")
    width = 3 + box + extra
    if len(rows) % width:
        raise _malformed(f"{prefix}rows", f"rows of {width} values", keys, show=False)
    cuts = _floats(keys, f"{prefix}cuts")
    if len(cuts) != batch:
        raise _malformed(f"{prefix}cuts", f"{batch} values", keys, show=False)
    return KeptRows(
        box=box,
        extra=extra,
        rows=rows.reshape(-1, width),
        cuts=cuts,
        tolerances=_tolerances(keys, prefix, 3),
    )


def _kept_values(keys: Mapping[str, str], prefix: str, batch: int) -> KeptValues:
    axis, start, stop = _integers(keys, f"{prefix}slice", 3, least=-1, most=(1 << 31) - 1)
    (log,) = _integers(keys, f"{prefix}log", 1, most=1)
    best = np.empty(0, np.int64)
    margins = np.empty(0, np.float32)
    if GOLDEN + f"{prefix}best" in keys:
        best = np.array(_integers(keys, f"{prefix}best", batch, most=(1 << 31) - 1), np.int64)
        margins = _floats(keys, f"{prefix}margins")
        if len(margins) != batch:
            raise _malformed(f"{prefix}margins", f"{batch} values", keys, show=False)
    return KeptValues(
        part=Slice(
            output=_text(keys, f"{prefix}output"),
            axis=axis,
            start=start,
            stop=stop,
            log=bool(log),
            best=len(best) > 0,
        ),
        samples=_floats(keys, f"{prefix}samples"),
        means=_floats(keys, f"{prefix}means"),
        best=best,
        margins=margins,
        tolerances=_tolerances(keys, prefix, 2),
    )


def _tolerances(keys: Mapping[str, str], prefix: str, count: int) -> dict[str, tuple[float, ...]]:
    start = f"{GOLDEN}{prefix}tolerance."
    found = {}
    for key in keys:
        if not key.startswith(start):
            continue
        precision, values = key.removeprefix(start), _WORD.findall(keys[key])
        numbers = [float(value) for value in values if _FLOAT.fullmatch(value)]
        if len(numbers) != count or len(values) != count or not _PRECISION.fullmatch(precision):
            raise _malformed(key.removeprefix(GOLDEN), f"{count} numbers", keys)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise _malformed(key.removeprefix(GOLDEN), "finite numbers from 0", keys)
        found[precision] = tuple(numbers)
    return found


def _picture(keys: Mapping[str, str], key: str) -> np.ndarray:
    words = _WORD.findall(_text(keys, key))
    sides = [int(word) for word in words[:3] if _INTEGER.fullmatch(word)]
    if len(words) != 4 or len(sides) != 3 or not all(0 < side <= 1024 for side in sides):
        raise _malformed(key, "'HEIGHT WIDTH CHANNELS BASE64'", keys, show=False)
    pixels = np.frombuffer(_decoded(words[3], key, keys), np.uint8)
    if len(pixels) != math.prod(sides):
        raise _malformed(key, f"{math.prod(sides)} bytes", keys, show=False)
    return pixels.reshape(sides)


def _dump(values: np.ndarray, dtype: type) -> str:
    little = np.dtype(dtype).newbyteorder("<")
    return base64.b64encode(np.ascontiguousarray(values, little).tobytes()).decode("ascii")


def _floats(keys: Mapping[str, str], key: str) -> np.ndarray:
    content = _decoded(_text(keys, key), key, keys)
    if len(content) % 4 or len(content) // 4 > _VALUES:
        raise _malformed(key, f"float32 values, at most {_VALUES}", keys, show=False)
    return np.frombuffer(content, "<f4").astype(np.float32)


def _decoded(text: str, key: str, keys: Mapping[str, str]) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise _malformed(key, "base64", keys, show=False) from None


def _integers(keys: Mapping[str, str], key: str, count: int, *, least: int = 0, most: int) -> list[int]:
    words = _WORD.findall(_text(keys, key))
    numbers = [int(word) for word in words if _INTEGER.fullmatch(word)]
    if len(numbers) != count or len(words) != count or not all(least <= n <= most for n in numbers):
        raise _malformed(key, f"{count} whole numbers in {least}..{most}", keys)
    return numbers


def _text(keys: Mapping[str, str], key: str) -> str:
    found = keys.get(GOLDEN + key)
    if found is None:
        raise ModelError(
            f"The model's golden cases lack {GOLDEN}{key}.",
            hint="The file was altered: export the checkpoint again.",
        )
    return found


def _malformed(key: str, wanted: str, keys: Mapping[str, str], *, show: bool = True) -> ModelError:
    found = f", found {keys.get(GOLDEN + key, '')[:200]!r}" if show else ""
    return ModelError(
        f"Metadata {GOLDEN}{key} wants {wanted}{found}.",
        hint="The file was altered: export the checkpoint again.",
    )
