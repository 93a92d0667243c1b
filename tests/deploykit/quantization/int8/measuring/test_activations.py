"""Histograms and the ranges of each method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploykit.quantization.int8.graph.network import read_network
from deploykit.quantization.int8.measuring.activations import METHODS, Activations, collect


@pytest.fixture(scope="module")
def seen(vit: Path) -> Activations:
    network = read_network(vit)
    generator = np.random.default_rng(0)
    pictures = [generator.standard_normal((1, 3, 32, 32)).astype(np.float32) for _ in range(3)]
    return collect(network, lambda: ({"images": picture} for picture in pictures))


def test_histograms_count_every_value(seen: Activations) -> None:
    assert seen.largest.keys() == seen.histograms.keys()
    assert seen.histograms["images"].sum() == 3 * 3 * 32 * 32
    assert seen.largest["images"] == pytest.approx(4, abs=1)


def test_methods_cut_outliers_and_never_widen(seen: Activations) -> None:
    widest = seen.ranges("min-max")
    for method in METHODS:
        found = seen.ranges(method)
        assert found.keys() == widest.keys()
        assert all(0 < found[name] <= widest[name] * 1.01 for name in found), method


def test_a_few_outliers_are_cut_off() -> None:
    values = np.random.default_rng(0).standard_normal(200_000)
    values[:4] = 100.0
    counts, _ = np.histogram(values, 4096, range=(-100, 100))
    found = Activations(largest={"x": 100.0}, histograms={"x": counts})
    assert found.ranges("min-max")["x"] == 100.0
    for method in ("percentile 99.99", "entropy"):
        assert 3 < found.ranges(method)["x"] < 10, method


def test_they_survive_a_file(seen: Activations, tmp_path: Path) -> None:
    seen.write(tmp_path / "seen.npz")
    again = Activations.read(tmp_path / "seen.npz")
    assert again.ranges("percentile 99.99") == seen.ranges("percentile 99.99")
    (tmp_path / "seen.npz").write_bytes(b"not an archive")
    with pytest.raises((OSError, ValueError)):
        Activations.read(tmp_path / "seen.npz")


@pytest.mark.parametrize("kept", [0, 40, 200, -40])
def test_a_damaged_file_is_a_value_error(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "ranges.npz"
    Activations({"x": 1.0}, {"x": np.ones(8, np.int64)}).write(path)
    assert Activations.read(path).largest == {"x": 1.0}
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"ranges\.npz cannot be read"):
        Activations.read(path)


def test_a_file_of_other_arrays_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "ranges.npz"
    np.savez(path, names=np.array(["x"]), largest=np.array(["1"]), histograms=np.ones((1, 2)))
    with pytest.raises(ValueError, match="does not hold histograms"):
        Activations.read(path)
