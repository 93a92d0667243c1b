"""Many records in a few arrays, for a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

__all__ = ["Record", "pack", "unpack"]

Record: TypeAlias = dict[str, np.ndarray]
"""What one picture contributes, by name. The first axis of an array counts its objects or answers."""


def pack(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Pack records that share names: one array per name, and the lengths of its parts."""
    packed: dict[str, np.ndarray] = {}
    for name in records[0] if records else ():
        packed[name] = np.concatenate([record[name] for record in records])
        packed[f"{name}.lengths"] = np.array([len(record[name]) for record in records], np.int64)
    return packed


def unpack(packed: dict[str, np.ndarray]) -> list[Record]:
    """The reverse of ``pack``.

    Raises:
        ValueError: the lengths contradict the arrays.
    """
    names = [name for name in packed if not name.endswith(".lengths")]
    parts: dict[str, list[np.ndarray]] = {}
    for name in names:
        lengths = packed[f"{name}.lengths"]
        if int(lengths.sum()) != len(packed[name]) or (lengths < 0).any():
            raise ValueError(f"{name} has {len(packed[name])} rows, and its parts {int(lengths.sum())}")
        parts[name] = np.split(packed[name], np.cumsum(lengths)[:-1])
    if len({len(split) for split in parts.values()}) > 1:
        raise ValueError("its arrays are of different numbers of pictures")
    return [dict(zip(names, values, strict=True)) for values in zip(*parts.values(), strict=True)]
