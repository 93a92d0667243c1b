"""Histograms of the inputs and outputs of layers, and the ranges that each method derives from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.files import atomic_path
from deploykit_runtimes.ort.errors import failures

from deploykit.quantization.int8.graph.network import Network
from deploykit.quantization.int8.measuring.sessions import session_returning

__all__ = ["METHODS", "Activations", "collect"]

METHODS = ("min-max", "percentile 99.999", "percentile 99.99", "entropy")

_BINS = 4096
"""Of a symmetric histogram."""
_LEVELS = 128
_STEP = 16
"""Bins between two cuts that entropy compares."""
_TINY = 1e-9
"""Share of the values that a level has at least."""
_LEAST = 1e-6
"""Range of a tensor that is zero on every picture."""

Feeds = Mapping[str, np.ndarray]


@dataclass
class Activations:
    """The statistics of each tensor.

    Attributes:
        largest: The largest magnitude per tensor.
        histograms: Symmetric around 0, int64 [bins], of values up to ``largest``.
    """

    largest: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, np.ndarray] = field(default_factory=dict)

    def ranges(self, method: str) -> dict[str, float]:
        """The largest magnitude of each tensor that 8 bits have to represent.

        Args:
            method: One of ``METHODS``.
        """
        if method == "min-max":
            return {name: max(most, _LEAST) for name, most in self.largest.items()}
        found = {}
        for name, histogram in self.histograms.items():
            found[name] = max(_range(histogram, self.largest[name], method), _LEAST)
        return found

    def write(self, path: Path) -> None:
        """Save the histograms to a file."""
        names = list(self.largest)
        with atomic_path(path) as draft, draft.open("wb") as file:
            np.savez_compressed(
                file,
                names=np.array(names),
                largest=np.array([self.largest[name] for name in names], np.float64),
                histograms=np.array([self.histograms[name] for name in names], np.int64),
            )

    @classmethod
    def read(cls, path: Path) -> Activations:
        """Read a file written by ``write``.

        Raises:
            ValueError: the file cannot be read, or is damaged.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                names = arrays["names"].tolist()
                largest = dict(zip(names, arrays["largest"].tolist(), strict=True))
                histograms = dict(zip(names, arrays["histograms"], strict=True))
        except Exception as error:  # zipfile, zlib and numpy each have errors of their own
            raise ValueError(f"{path.name} cannot be read: {error}") from error
        sound = all(isinstance(each, float) for each in largest.values()) and all(
            each.dtype == np.int64 and each.ndim == 1 for each in histograms.values()
        )
        if not sound:
            raise ValueError(f"{path.name} does not hold histograms")
        return cls(largest=largest, histograms=histograms)


def collect(
    network: Network, feeds: Callable[[], Iterable[Feeds]], *, done: Callable[[], None] = lambda: None
) -> Activations:
    """Run a network in float32 over pictures, twice: for the largest magnitudes, and for the histograms.

    Args:
        network: The network.
        feeds: The graph's inputs, picture after picture; iterated twice.
        done: Called after each picture.

    Raises:
        ModelError: an activation is not finite.
    """
    session, names = _watched(network)
    found = Activations()
    for each in feeds():
        for name, values in zip(names, _run(session, names, each), strict=True):
            most = float(max(values.max(initial=0), -values.min(initial=0)))
            if not np.isfinite(most):
                raise ModelError(
                    f"{network.path.name} computes NaN or infinity in {name} on a calibration picture.",
                    hint="The float32 model is broken: deploykit verify CHECKPOINT MODEL",
                )
            found.largest[name] = max(found.largest.get(name, 0.0), most)
        done()
    for each in feeds():
        for name, values in zip(names, _run(session, names, each), strict=True):
            most = max(found.largest[name], _LEAST)
            counts, _ = np.histogram(values, _BINS, range=(-most, most))
            found.histograms[name] = found.histograms.get(name, 0) + counts
        done()
    return found


def _watched(network: Network) -> tuple[Any, list[str]]:
    """A session that returns every tensor that may be quantised, and their names; the inputs are last."""
    inputs = {info.name for info in network.model.graph.input}
    names = [name for name in network.tensors if name not in inputs]
    session = session_returning(network.model, names)
    return session, [*names, *(name for name in network.tensors if name in inputs)]


def _run(session: Any, names: list[str], feeds: Feeds) -> list[np.ndarray]:
    outputs = [output.name for output in session.get_outputs()]
    try:
        found = dict(zip(outputs, session.run(outputs, dict(feeds)), strict=True))
    except failures() as error:
        raise ModelError(f"The network does not run on a calibration picture: {error}") from error
    return [found[name] if name in found else feeds[name] for name in names]


def _range(histogram: np.ndarray, largest: float, method: str) -> float:
    """The largest magnitude to keep of a symmetric histogram."""
    counts = histogram[_BINS // 2 :] + histogram[: _BINS // 2][::-1]
    total = counts.sum()
    if not total:
        return largest
    kind, _, share = method.partition(" ")
    if kind == "percentile":
        kept = int(np.searchsorted(counts.cumsum(), total * float(share) / 100)) + 1
    else:
        kept = _least_divergence(counts.astype(np.float64))
    return largest * min(kept, len(counts)) / len(counts)


def _least_divergence(counts: np.ndarray) -> int:
    """How many bins to keep so that 128 levels lose the least information (Kullback-Leibler divergence).

    The algorithm of TensorRT's calibrator (S. Migacz, "8-bit inference with TensorRT", GTC 2017): clipped
    values are added to the last bin that is kept.

    Args:
        counts: Histogram of magnitudes, float64 [bins].
    """
    best, kept = np.inf, len(counts)
    for stop in range(_LEVELS, len(counts) + 1, _STEP):
        inside = counts[:stop]
        wanted = inside.copy()
        wanted[-1] += counts[stop:].sum()
        starts = np.arange(_LEVELS) * stop // _LEVELS
        filled = inside > 0
        number = np.add.reduceat(filled, starts, dtype=np.float64)
        level = np.add.reduceat(inside, starts) / np.maximum(number, 1)
        found = np.repeat(level, np.diff(np.append(starts, stop))) * filled
        some = wanted > 0
        p = wanted[some] / wanted.sum()
        q = np.maximum(found[some] / max(found.sum(), 1.0), _TINY)
        divergence = float((p * np.log(p / q)).sum())
        if divergence < best:
            best, kept = divergence, stop
    return kept
