"""The few globals of a pickle that are rebuilt as real values: tensors, arrays, plain containers.

Each is rebuilt by a small function written here, which checks its arguments and charges the result to the
budget of the read; the function or class that the pickle names is never called. Everything that is not in
``REBUILDERS`` becomes an inert stand-in.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch

from deploykit_exporters.containers.budget import FREE_BYTES, Budget

__all__ = [
    "REBUILDERS",
    "ArrayType",
    "NotPlainError",
    "Rebuilder",
    "Storage",
    "StorageType",
    "set_array_state",
]


_PAIR_BYTES = 200  # of an ordered dictionary
_ELEMENT_BYTES = 64  # of a set
_PATH_MAX = 4096  # of Linux; other systems have shorter paths


class NotPlainError(UnpicklingError):
    """An honest object with more than plain data; an inert stand-in takes its place."""


@dataclass(frozen=True)
class Rebuilder:
    """A global that has a rebuilding function. It is on the pickle's stack in place of the real one and is
    deliberately not callable.

    Attributes:
        counted: The function takes the budget as its first argument.
    """

    inert_path: str
    rebuild: Callable[..., Any]
    counted: bool = False

    def run(
        self, budget: Budget, args: Iterable[Any], kwargs: Mapping[str, Any] = MappingProxyType({})
    ) -> Any:
        """The stand-in for a call with these arguments."""
        return self.rebuild(budget, *args, **kwargs) if self.counted else self.rebuild(*args, **kwargs)


@dataclass(frozen=True)
class StorageType:
    """A global such as ``torch.FloatStorage``."""

    dtype: torch.dtype


@dataclass(frozen=True)
class Storage:
    """The bytes behind one or more tensors, and the type of their elements."""

    data: torch.UntypedStorage
    dtype: torch.dtype


@dataclass
class ArrayType:
    """A numpy dtype while it is being rebuilt: its code first, then (by BUILD) its byte order."""

    code: str
    order: Literal["<", ">", "=", "|"] = "="

    def resolve(self) -> np.dtype[Any]:
        """The numpy dtype, of numbers or text, and never of Python objects."""
        dtype = np.dtype(self.code).newbyteorder(self.order)
        if dtype.kind not in "biufcSU":
            raise NotPlainError(f"an array of {self.code} is not plain data")
        return dtype


def set_array_state(array: np.ndarray, state: Any) -> None:
    """Fill an array from ``_reconstruct`` in place, as its BUILD operation asks."""
    _version, shape, array_type, fortran, data = state
    dtype = _resolve(array_type)
    if not isinstance(data, bytes | bytearray | str):
        raise NotPlainError("an array holds Python objects")
    raw = data.encode("latin-1") if isinstance(data, str) else bytes(data)
    if math.prod(_sizes(shape)) * dtype.itemsize != len(raw):
        raise UnpicklingError("an array does not have as many bytes as its shape says")
    array.__setstate__((1, tuple(shape), dtype, bool(fortran), raw))  # type: ignore[arg-type]


def _sizes(values: Iterable[Any]) -> tuple[int, ...]:
    sizes = tuple(values)
    if len(sizes) > 64 or not all(type(n) is int and 0 <= n < 2**62 for n in sizes):
        raise UnpicklingError("a shape is not made of sizes")
    return sizes


def _tensor(
    budget: Budget, storage: Any, offset: int, size: Iterable[int], stride: Iterable[int], *more: Any
) -> torch.Tensor:
    """``_rebuild_tensor``, ``_v2`` and ``_v3``; only the last gives a dtype, as its third extra argument."""
    if not isinstance(storage, Storage):
        raise UnpicklingError("a tensor has no storage")
    dtype = more[2] if len(more) > 2 and isinstance(more[2], torch.dtype) else storage.dtype
    sizes, strides = _sizes(size), _sizes(stride)
    (start,) = _sizes((offset,))
    if len(sizes) != len(strides):
        raise UnpicklingError("a tensor has as many strides as axes")
    used = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True)) + 1
    empty = 0 in sizes
    capacity = storage.data.nbytes()
    numel = 0 if empty else math.prod(sizes)
    if not empty and used * dtype.itemsize > capacity:
        raise UnpicklingError(
            f"a tensor of shape {list(sizes)} needs {used * dtype.itemsize} bytes, its storage has {capacity}"
        )
    # A tensor may repeat its storage (a stride of 0), so a few bytes can describe terabytes.
    if numel * dtype.itemsize > max(capacity, FREE_BYTES):
        raise UnpicklingError(f"a tensor of shape {list(sizes)} repeats a storage of {capacity} bytes")
    budget.tensor(numel * dtype.itemsize)
    if empty:
        return torch.empty(sizes, dtype=dtype)
    return torch.empty(0, dtype=dtype).set_(storage.data, start, sizes, strides)


def _same_tensor(data: Any, *_: Any) -> torch.Tensor:
    if not isinstance(data, torch.Tensor):
        raise UnpicklingError("a parameter holds no tensor")
    return data


def _tensor_subclass(
    budget: Budget, rebuilder: Any, _type: Any, args: tuple[Any, ...], _state: Any
) -> torch.Tensor:
    if not (isinstance(rebuilder, Rebuilder) and rebuilder.rebuild in (_tensor, _same_tensor)):
        raise UnpicklingError("a tensor subclass is rebuilt by a function of its own")
    return rebuilder.run(budget, args)  # type: ignore[no-any-return]


def _tensor_from_array(array: Any, *_: Any) -> torch.Tensor:
    """A tensor of another device; one that was bfloat16 is float32 in the array, and remains so."""
    if not isinstance(array, np.ndarray):
        raise UnpicklingError("a tensor has no array")
    return torch.from_numpy(array)


def _array_type(code: Any, *_: Any) -> ArrayType:
    code = code.decode("ascii") if isinstance(code, bytes) else code
    if not (isinstance(code, str) and len(code) <= 16 and "," not in code):
        raise NotPlainError("a numpy dtype is not plain")
    return ArrayType(code)


def _resolve(array_type: Any) -> np.dtype[Any]:
    if not isinstance(array_type, ArrayType):
        raise NotPlainError("a numpy dtype is not plain")
    return array_type.resolve()


def _array(*_: Any) -> np.ndarray:
    return np.empty(0, dtype=np.uint8)


def _array_from_buffer(data: Any, array_type: ArrayType, shape: Iterable[int], order: str) -> np.ndarray:
    array = _array()
    set_array_state(array, (1, tuple(shape), array_type, order == "F", data))
    return array


def _scalar(array_type: ArrayType, data: Any) -> Any:
    dtype = _resolve(array_type)
    if not isinstance(data, bytes | bytearray | str):
        raise NotPlainError("a numpy scalar is not plain")
    raw = data.encode("latin-1") if isinstance(data, str) else bytes(data)
    if len(raw) != dtype.itemsize:
        raise UnpicklingError("a numpy scalar does not have the bytes of its type")
    return np.frombuffer(raw, dtype=dtype)[0]


def _pairs(budget: Budget, items: Any = ()) -> dict[Any, Any]:
    if not isinstance(items, dict | list | tuple):
        raise NotPlainError("a dictionary is made from something that is not a dictionary")
    pairs = list(dict.items(items)) if isinstance(items, dict) else items
    for pair in pairs:
        if not isinstance(pair, list | tuple | str) or len(pair) != 2:
            raise UnpicklingError("a dictionary is made from something other than pairs")
        budget.key(pair[0])
        budget.spend(_PAIR_BYTES)
    return OrderedDict(pairs)


def _default_dict(budget: Budget, _factory: Any = None, items: Any = ()) -> dict[Any, Any]:
    return dict(_pairs(budget, items))


def _sequence(items: Any = (), *_: Any) -> list[Any]:
    if not isinstance(items, list | tuple | set | frozenset | dict):
        raise NotPlainError("a list is made from something that is not a list")
    return list(items)


def _set(budget: Budget, items: Any = ()) -> set[Any]:
    for item in (elements := _sequence(items)):
        budget.key(item)
        budget.spend(_ELEMENT_BYTES)
    return set(elements)


def _frozen(budget: Budget, items: Any = ()) -> frozenset[Any]:
    """A frozen set, which may be a key, unlike a set."""
    return frozenset(_set(budget, items))


def _bytes(data: Any = b"", *_: Any) -> bytes:
    if isinstance(data, str):
        return data.encode("latin-1")
    if not isinstance(data, bytes | bytearray | list | tuple):
        raise NotPlainError("bytes are made from something that is not bytes")
    return bytes(data)


def _complex(real: float = 0.0, imag: float = 0.0) -> complex:
    return complex(float(real), float(imag))


def _text(*parts: Any) -> str:
    """``torch.device("cuda", 0)`` becomes ``"cuda:0"``; a TorchVersion becomes a plain string."""
    return ":".join(str(part) for part in parts if isinstance(part, str | int))


def _posix_path(*parts: Any) -> PurePath:
    return PurePosixPath(*_parts(parts))


def _windows_path(*parts: Any) -> PurePath:
    return PureWindowsPath(*_parts(parts))


def _parts(parts: Iterable[Any]) -> list[str]:
    texts = [part for part in parts if isinstance(part, str)]
    if sum(map(len, texts)) > _PATH_MAX:  # a path keeps an object for each of its steps
        raise NotPlainError("a path is longer than any real one")
    return texts


_FUNCTIONS: dict[Callable[..., Any], tuple[str, ...]] = {
    _tensor: (
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
    ),
    _same_tensor: (
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
    ),
    _tensor_subclass: ("torch._tensor._rebuild_from_type_v2", "torch.tensor._rebuild_from_type_v2"),
    _tensor_from_array: ("torch._utils._rebuild_device_tensor_from_numpy",),
    _array_type: ("numpy.dtype",),
    _array: ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
    _array_from_buffer: ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
    _scalar: ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
    _pairs: ("collections.OrderedDict", "collections.Counter", "builtins.dict"),
    _default_dict: ("collections.defaultdict",),
    _sequence: ("collections.deque", "builtins.list"),
    _set: ("builtins.set",),
    _frozen: ("builtins.frozenset",),
    _bytes: ("_codecs.encode", "builtins.bytes", "builtins.bytearray"),
    _complex: ("builtins.complex",),
    _text: ("torch.device", "torch.torch_version.TorchVersion"),
    _posix_path: ("pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.Path", "pathlib.PurePath"),
    _windows_path: ("pathlib.WindowsPath", "pathlib.PureWindowsPath"),
    tuple: ("torch.Size",),
}


_COUNTED = {_tensor, _tensor_subclass, _pairs, _default_dict, _set, _frozen}


def _table() -> dict[str, Rebuilder | StorageType | torch.dtype]:
    table: dict[str, Rebuilder | StorageType | torch.dtype] = {}
    for rebuild, paths in _FUNCTIONS.items():
        for path in paths:
            table[path] = Rebuilder(path, rebuild, rebuild in _COUNTED)
            # Python 2 and Python 3.13 have other homes for some of them.
            for home, other in (("builtins.", "__builtin__."), ("pathlib.", "pathlib._local.")):
                if path.startswith(home):
                    alias = other + path.removeprefix(home)
                    table[alias] = Rebuilder(alias, rebuild, rebuild in _COUNTED)
    for name, value in vars(torch).items():
        if isinstance(value, torch.dtype):
            table[f"torch.{name}"] = value
    for name, dtype in _STORAGES.items():
        for home in ("torch", "torch.cuda", "torch.storage"):
            table[f"{home}.{name}Storage"] = StorageType(dtype)
    return table


_STORAGES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}
REBUILDERS = _table()
