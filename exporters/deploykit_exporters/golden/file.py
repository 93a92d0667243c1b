"""Reading of golden answers. The file may come from anywhere: nothing is unpickled, sizes are checked first.

An .npz of ``deploykit.record`` holds the array ``golden``, JSON as UTF-8 bytes, which names the cases; their
arrays are ``caseN.images`` (with ``.levels``: which of those values each pixel has), ``caseN.pixels`` and
``caseN.outputM``.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.text.printable import one_line, printable

__all__ = ["Fingerprint", "Golden", "GoldenCase", "GoldenOutput", "read_golden"]

_READS = 1
"""The newest format of ``deploykit_exporters.record`` that is read."""

_MOST_BYTES = 1 << 29
_MOST_MEMBERS = 1024
_MOST_VALUES = 1 << 26
"""Values of all images together, as five of 267 channels and 224 pixels have: a recipe takes a line."""
_FREE_BYTES, _MOST_INFLATED = 1 << 26, 20
"""Arrays have 64 MB, and 20 times the file: what a network takes and answers hardly compresses."""
_MOST_JSON = 1 << 22
_MOST_WEIGHTS = 32_768
_MOST_CASES = 32
_MOST_OUTPUTS = 16
_MOST_BANDS = 1024
_LONGEST_SIDE = 1 << 14
_LARGEST = 1e6

Source = Literal["recipe", "tensor", "photo", "picture"]


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What tells two sets of weights apart: shape, mean and root mean square of one of them."""

    shape: tuple[int, ...]
    mean: float
    rms: float


@dataclass(frozen=True, kw_only=True)
class GoldenOutput:
    """One output of the recorded model.

    Attributes:
        name: Its place in what the model returned: ``logits``, ``0``, ``1.boxes``; ``:head.fc`` is the input
            of the last layer, which has that name.
        shape: Its shape.
        values: float32 [K]: all values in a row, or those at ``record.places``.
    """

    name: str
    shape: tuple[int, ...]
    values: np.ndarray

    @property
    def size(self) -> int:
        """The number of values of the whole output."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class GoldenCase:
    """Images, and what the model answered.

    Attributes:
        name: What they are.
        of: Where they come from: a recipe, the user's tensor, the synthetic photo or the user's picture as
            the user's transform makes it.
        shape: [N, C, H, W].
        sha256: Of the images' bytes, float32.
        recipe: For ``record.make_images``.
        stored: The images themselves, float32 [N, C, H, W], where there is no recipe.
        pixels: uint8 [H, W, C], of a user's picture: RGB, or what a network of other channels takes.
        bands: Channels of the synthetic photo.
        outputs: The outputs of the model.
        last: The input of its last layer, where there is one.
    """

    name: str
    of: Source
    shape: tuple[int, int, int, int]
    sha256: str
    recipe: Mapping[str, Any] | None
    stored: np.ndarray | None
    pixels: np.ndarray | None
    bands: int
    outputs: tuple[GoldenOutput, ...]
    last: GoldenOutput | None


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Golden answers.

    Attributes:
        path, sha256, format: The file, and the version of its form.
        model: The class of the recorded model.
        labels: The names of its classes; empty where none were given.
        versions: Of Python and the libraries that took part.
        weights: The fingerprint of each of its weights, by name.
        cases: What it was run on.
    """

    path: Path
    sha256: str
    format: int
    model: str
    labels: tuple[str, ...]
    versions: Mapping[str, str]
    weights: Mapping[str, Fingerprint]
    cases: tuple[GoldenCase, ...]

    @property
    def inputs(self) -> int:
        """How many images the model was run on."""
        return sum(case.shape[0] for case in self.cases)


def read_golden(path: Path) -> Golden:
    """Read what ``deploykit.record`` wrote.

    Raises:
        OptionError: it is missing, something else, damaged, or of a newer version.
    """
    if not path.is_file():
        raise OptionError(
            f"--golden {path} does not exist.", hint="deploykit.record(model, FILE) writes one."
        )
    try:
        return _golden(path, _arrays(path))
    except _NewerError as error:
        raise OptionError(
            f"--golden {path} has format {error}, this version reads {_READS}.", hint="Upgrade deploykit."
        ) from error
    except (zipfile.BadZipFile, zlib.error, RecursionError) as error:
        raise _refused(path, f"it is damaged ({error})") from error
    except KeyError as error:
        raise _refused(path, f"it lacks {error.args[0]!r}") from error
    except (ValueError, LookupError, TypeError, RuntimeError, OSError, EOFError, ArithmeticError) as error:
        raise _refused(path, str(error)) from error


class _DamagedError(ValueError):
    """What is wrong with the file, in words."""


class _NewerError(Exception):
    """The format of a file of a newer version."""


def _refused(path: Path, reason: str) -> OptionError:
    return OptionError(
        f"--golden {path} cannot be used: {reason}.",
        hint="Give an .npz file that deploykit.record(model, FILE) wrote.",
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise _DamagedError("it is not an .npz file")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        most = min(_MOST_BYTES, _FREE_BYTES + _MOST_INFLATED * path.stat().st_size)
        if len(members) > _MOST_MEMBERS or sum(one.file_size for one in members) > most:
            raise _DamagedError(f"it holds more than {_MOST_MEMBERS} arrays or {most >> 20} MB")
        return {one.filename.removesuffix(".npy"): _array(archive, one) for one in members}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array; what its header claims is checked against its size before anything is allocated."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in readers:
            raise _DamagedError(f"{member.filename} is of numpy's format {version}")
        try:
            shape, fortran, dtype = readers[version](stream)
        except Exception as error:  # numpy parses the header as Python, and lets through what that raises
            reason = one_line(error) or type(error).__name__
            raise _DamagedError(f"the header of {member.filename} is damaged ({reason})") from error
        if dtype.kind not in "fu" or fortran:
            raise _DamagedError(f"{member.filename} holds {dtype}, wanted plain numbers")
        size = math.prod(shape) * dtype.itemsize
        if size != member.file_size - stream.tell():
            raise _DamagedError(f"{member.filename} claims the shape {shape}, which is not its size")
        content = stream.read(size)
    return np.frombuffer(content, dtype).reshape(shape)


def _golden(path: Path, arrays: Mapping[str, np.ndarray]) -> Golden:
    text = arrays["golden"]
    if text.dtype != np.uint8 or text.ndim != 1 or text.size > _MOST_JSON:
        raise _DamagedError("its array 'golden' is not a text")
    meta = json.loads(text.tobytes())
    if _of(_of(meta, dict)["format"], int) > _READS:
        raise _NewerError(str(meta["format"]))
    cases = _of(meta["cases"], list)
    if not 0 < len(cases) <= _MOST_CASES:
        raise _DamagedError(f"it has {len(cases)} cases")
    read = tuple(_case(_of(one, dict), f"case{n}", arrays) for n, one in enumerate(cases))
    if sum(math.prod(case.shape) for case in read) > _MOST_VALUES:
        raise _DamagedError(f"its cases have more than {_MOST_VALUES} values of images together")
    weights = _of(meta["weights"], dict)
    if len(weights) > _MOST_WEIGHTS:
        raise _DamagedError(f"it has the means of {len(weights)} weights")
    return Golden(
        path=path,
        sha256=sha256_of(path),
        format=int(meta["format"]),
        model=_word(meta["model"]),
        labels=tuple(_of(one, str) for one in _of(meta["labels"], list)),
        versions={_word(key): _word(value) for key, value in _of(meta["versions"], dict).items()},
        weights={name: _fingerprint(one) for name, one in weights.items()},
        cases=read,
    )


def _case(told: Mapping[str, Any], key: str, arrays: Mapping[str, np.ndarray]) -> GoldenCase:
    recipe = told.get("recipe")
    of: Source = "recipe" if recipe is not None else told["of"]
    if of not in get_args(Source):
        raise _DamagedError(f"{key} is of {of!r}, which is not known")
    stored = None if recipe is not None else _images(key, arrays)
    shape = _shape(_of(recipe, dict)["shape"]) if recipe is not None else cast("np.ndarray", stored).shape
    if len(shape) != 4 or not all(0 < side <= _LONGEST_SIDE for side in shape):
        raise _DamagedError(f"{key} has images of the shape {shape}")
    if math.prod(shape) * 4 > _MOST_BYTES:
        raise _DamagedError(f"{key} has more than {_MOST_BYTES >> 20} MB of images")
    outputs = _of(told["outputs"], list)
    if not 0 < len(outputs) <= _MOST_OUTPUTS:
        raise _DamagedError(f"{key} has {len(outputs)} outputs")
    read = [_output(_of(one, dict), arrays[f"{key}.output{n}"]) for n, one in enumerate(outputs)]
    return GoldenCase(
        name=_of(told["name"], str),
        of=of,
        shape=shape,
        sha256=_of(told["sha256"], str),
        recipe=None if recipe is None else _recipe(recipe, shape),
        stored=stored,
        pixels=_pixels(arrays[f"{key}.pixels"]) if of == "picture" else None,
        bands=_bands(told.get("bands", 3)),
        outputs=tuple(one for one in read if not one.name.startswith(":")),
        last=next((one for one in read if one.name.startswith(":")), None),
    )


def _recipe(told: Mapping[str, Any], shape: tuple[int, ...]) -> Mapping[str, Any]:
    low, high = float(told["low"]), float(told["high"])
    if not max(abs(low), abs(high)) <= _LARGEST:
        raise _DamagedError(f"a recipe goes from {low} to {high}")
    seed = _of(told["seed"], int)
    return {"kind": _of(told["kind"], str), "seed": seed, "shape": shape, "low": low, "high": high}


def _images(key: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    images = arrays[f"{key}.images"]
    levels = arrays.get(f"{key}.levels") if images.dtype.kind == "u" else None
    if levels is None:
        return np.array(images, np.float32)
    if levels.ndim != 1 or levels.dtype != np.float32 or not images.size or images.max() >= len(levels):
        raise _DamagedError(f"{key} has pixels outside its levels")
    return np.asarray(levels[images])


def _pixels(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] > _MOST_BANDS or not pixels.size:
        raise _DamagedError(f"a picture is {pixels.dtype} {pixels.shape}, wanted uint8 [H, W, C]")
    return pixels


def _bands(told: Any) -> int:
    bands: int = _of(told, int)
    if not 0 < bands <= _MOST_BANDS:
        raise _DamagedError(f"a photo has {bands} channels")
    return bands


def _output(told: Mapping[str, Any], values: np.ndarray) -> GoldenOutput:
    output = GoldenOutput(name=_of(told["name"], str), shape=_shape(told["shape"]), values=values)
    if values.dtype != np.float32 or values.ndim != 1 or not 0 < len(values) <= output.size:
        raise _DamagedError(
            f"the output {output.name!r} of the shape {output.shape} has {values.shape} values"
        )
    return output


def _fingerprint(told: Any) -> Fingerprint:
    shape, mean, rms = _of(told, list)
    return Fingerprint(shape=_shape(shape), mean=float(mean), rms=float(rms))


def _shape(value: Any) -> Any:
    sides = tuple(_of(side, int) for side in _of(value, list))
    if len(sides) > 8 or any(side < 0 or side > 1 << 40 for side in sides):
        raise _DamagedError(f"a shape is {sides}")
    return sides


def _word(value: Any) -> str:
    """A name or version, which is printed."""
    word: str = _of(value, str)
    if printable(word, 200) != word:
        raise _DamagedError(f"its description has the name {word!r:.60}")
    return word


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _DamagedError(f"its description has {value!r:.60} where {kind.__name__} belongs")
    return value
