"""How much reading one file may consume: memory, work, and the size of what it describes.

A file of a few kilobytes can describe gigabytes: by copying the same list again and again, by a list that
holds another list ten times, which holds a third ten times, by keys that all have the same hash. One
budget covers a whole read, nested files included, and is charged where objects are made. The limits
depend on the size of the file; SECURITY.md lists them with their reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pickle import UnpicklingError
from typing import Any

import numpy as np
from deploykit_runtimes.errors import CheckpointError

__all__ = [
    "FREE_BYTES",
    "Budget",
    "ExcessError",
    "Holder",
    "check_extent",
    "check_integer",
    "excess",
]

FREE_BYTES = 64 << 20
"""Memory that every file may take, however small it is."""

_BYTES_PER_BYTE = 32
"""Memory for each byte of a pickle. Honest ones, of modules and of optimisers, take less than 20."""

_FREE_STEPS = 2_000_000
_BYTES_PER_STEP = 4
"""Operations: as many as an honest pickle of 10 MB has, and one more for every 4 bytes of the file."""

_TENSOR_BYTES_PER_BYTE = 16
"""Bytes that all tensors would have as copies: module, EMA and state dict of one file share storages."""

_MAX_ALIKE = 4000
"""Parts of different keys that have one hash, which a file can choose. They cost their number squared."""

_SEEN = 150  # bytes of memory for a hash that is remembered

_MAX_KEY_PARTS = 100
_SAFE_INTEGER = 1 << 60  # hash(n) == n up to here
_MAX_INTEGER_BITS = 4096
_MAX_LEVELS = 200
_MAX_LOOPS = 8
_CONTAINERS = (dict, list, tuple, set, frozenset)
_FREE_TEXT = 32 << 20
_TEXT_PER_BYTE = 8


class Holder:
    """An object that holds others besides its items, and has its own hash."""

    __slots__ = ()

    def inert_records(self) -> tuple[Any, ...]:
        """What it holds besides its items."""
        raise NotImplementedError


class ExcessError(UnpicklingError):
    """A file asks for more than a file of its size may use."""


def excess(name: str, error: ExcessError, again: str) -> CheckpointError:
    """The error for a file that asks for too much: names the file, and says how to write it again."""
    return CheckpointError(
        f"{name} asks for more than a checkpoint of its size may take: {error}.",
        hint=f"It is damaged, or was made to fill the memory. {again}",
    )


class Budget:
    """What is left of the budget for reading one file.

    Args:
        size: Size of the file in bytes.

    Attributes:
        consumed: Bytes of pickles read so far, including nested pickles.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.consumed = 0
        self._bytes = 0
        self._limit = FREE_BYTES
        self._steps = _FREE_STEPS + size // _BYTES_PER_STEP
        self._tensor_bytes = FREE_BYTES + _TENSOR_BYTES_PER_BYTE * size
        self._alike = _MAX_ALIKE
        self._hashes: dict[int, object] = {}

    def step(self, count: int, nbytes: int, consumed: int) -> None:
        """Account for ``count`` operations that create ``nbytes`` of objects from ``consumed`` bytes of a
        pickle.
        """
        self.consumed += consumed
        self._limit = FREE_BYTES + _BYTES_PER_BYTE * min(self.consumed, self.size)
        self._steps -= count
        if self._steps < 0:
            raise ExcessError("it takes more operations to read than a file of its size may")
        self.spend(nbytes)

    def spend(self, nbytes: int) -> None:
        """Account for objects just before or after they are made."""
        self._bytes += nbytes
        if self._bytes > self._limit:
            raise ExcessError("it makes or copies the same objects again and again")

    def tensor(self, nbytes: int) -> None:
        """Account for a tensor by its own size, even if it shares or repeats a storage."""
        self._tensor_bytes -= nbytes
        if self._tensor_bytes < 0:
            raise ExcessError("its tensors repeat their storages beyond any network")

    def key(self, key: object) -> None:
        """Refuse keys that could take forever to hash or compare: nested in themselves, or all with equal
        hashes.
        """
        # The hashes of text are salted, those of stand-ins are their places in memory.
        if key is None or isinstance(key, str | bytes | bool | Holder):
            return
        if isinstance(key, int | np.integer) and -_SAFE_INTEGER < key < _SAFE_INTEGER:
            return
        work = _comparison(key)
        try:
            value = hash(key)
        except TypeError:
            return  # whoever makes the dictionary tells
        if value not in self._hashes:
            self.spend(_SEEN)
            self._hashes[value] = key
        elif work > _MAX_KEY_PARTS or self._hashes[value] != key:
            self._alike -= work
            if self._alike < 0:
                raise ExcessError("thousands of its keys have the same hash")


def _comparison(key: object) -> int:
    """Steps of a comparison with a key of equal hash: each part once; for sets, each with each."""
    parts: list[object] = [key]
    sets = False
    for count, part in enumerate(parts):
        if count > _MAX_KEY_PARTS:
            raise ExcessError("a dictionary key or set element is nested too deeply")
        if isinstance(part, tuple | frozenset):
            parts.extend(list(part)[: _MAX_KEY_PARTS + 1])
            sets = sets or isinstance(part, frozenset)
    return len(parts) ** 2 if sets else len(parts)


def check_integer(value: int) -> int:
    """The integer, if a program could print it.

    Raises:
        ExcessError: it has thousands of bits.
    """
    if value.bit_length() > _MAX_INTEGER_BITS:
        raise ExcessError(f"it has an integer of {value.bit_length()} bits")
    return value


def check_extent(value: Any, size: int) -> None:
    """Refuse plain containers that, written out, would be far longer than their source.

    A list may hold the same list many times, which may in turn do the same, so that walking, printing,
    comparing or copying the outermost takes forever. Here each object is visited once.

    Args:
        value: The value that was read. Inert objects are checked too, each separately.
        size: Number of bytes that it was read from.

    Raises:
        ExcessError: it is too long, nested too deeply, or contains itself in many places.
    """
    _Extent(_FREE_TEXT + _TEXT_PER_BYTE * size).check(value)


class _Extent:
    """The length of each container as text, by its identity, and its nesting depth."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.known: dict[int, tuple[int, int]] = {}
        self.open: set[int] = set()
        self.roots: list[Any] = []
        self.seen: set[int] = set()
        self.loops = 0

    def check(self, value: Any) -> None:
        self.roots.append(value)
        while self.roots:
            root = self.roots.pop()
            if isinstance(root, Holder):
                if id(root) in self.seen:
                    continue
                self.seen.add(id(root))
                self.roots.extend(root.inert_records())
            if isinstance(root, _CONTAINERS):
                self._measure(root)

    def _measure(self, root: Any) -> None:
        """Measure depth first, without recursion: a pickle can nest millions of lists."""
        if id(root) in self.known:
            return
        pending: list[tuple[Any, Iterator[Any], list[int]]] = [(root, _items(root), [2, 0])]
        self.open.add(id(root))
        while pending:
            container, items, total = pending[-1]
            for item in items:
                if type(item) is str:
                    total[0] += len(item) + 4
                elif not isinstance(item, _CONTAINERS):
                    total[0] += _leaf(item)
                    if isinstance(item, Holder):
                        self.roots.append(item)
                elif id(item) in self.known:
                    _add(total, self.known[id(item)])
                elif id(item) in self.open:
                    self._loop()
                else:
                    if len(pending) > _MAX_LEVELS:
                        raise _too_deep()
                    self.open.add(id(item))
                    pending.append((item, _items(item), [2, 0]))
                    break
            else:
                self._close(container, total)
                pending.pop()
                if pending:
                    _add(pending[-1][2], self.known[id(container)])

    def _loop(self) -> None:
        """Refuse a loop: a container inside itself is printed as ``...``, but at different places from
        every start.
        """
        self.loops += 1
        if self.loops > _MAX_LOOPS:
            raise ExcessError("its content contains itself in many places")

    def _close(self, container: Any, total: list[int]) -> None:
        if total[0] > self.limit:
            raise ExcessError("written out, it would be thousands of times as long as the file")
        if total[1] > _MAX_LEVELS:
            raise _too_deep()
        self.known[id(container)] = (total[0], total[1] + 1)
        self.open.discard(id(container))
        if isinstance(container, Holder):
            self.roots.append(container)


def _too_deep() -> ExcessError:
    return ExcessError(f"it nests its content more than {_MAX_LEVELS} levels deep")


def _add(total: list[int], part: tuple[int, int]) -> None:
    total[0] += part[0]
    total[1] = max(total[1], part[1])


def _items(container: Any) -> Iterator[Any]:
    """What is printed of a container: its elements, and for a dictionary also the keys."""
    if isinstance(container, dict):
        return chain.from_iterable(dict.items(container))
    return iter(container)


def _leaf(value: Any) -> int:
    """Characters of a value that is neither a container nor text; arrays and tensors print little."""
    if isinstance(value, float):
        return 16
    if isinstance(value, bytes | bytearray):
        return 2 * len(value) + 4
    if isinstance(value, int):
        return value.bit_length() // 3 + 4
    return len(value) + 4 if isinstance(value, str) else 16
