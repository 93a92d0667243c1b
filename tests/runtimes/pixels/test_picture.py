"""What a result remembers of its picture, and that it never draws into another one in silence."""

from __future__ import annotations

import copy
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.picture import Picture
from deploykit_runtimes.pixels.sources import NamedBytes
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def test_a_path_is_kept_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(NOISE).save(tmp_path / "cat.png")
    monkeypatch.chdir(tmp_path)
    picture = Picture("cat.png")
    assert (picture.name, picture.path) == ("cat.png", tmp_path / "cat.png")
    monkeypatch.chdir("/")
    assert picture.source() == tmp_path / "cat.png"


def test_a_file_that_changed_or_went_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latest.png"
    Image.fromarray(NOISE).save(path)
    picture = Picture(path)
    os.utime(path, (1, 1))
    with pytest.raises(InputError, match=r"latest\.png has changed") as caught:
        picture.source()
    assert "result.plot(image)" in caught.value.hint
    path.unlink()
    with pytest.raises(InputError, match="no longer exists"):
        picture.source()


def test_an_array_is_not_copied_and_a_used_buffer_refused() -> None:
    frame = NOISE.copy()
    picture = Picture(frame)
    assert picture.source() is frame
    frame[:] = np.random.default_rng(1).integers(0, 256, frame.shape, np.uint8)
    with pytest.raises(InputError, match="array has changed"):
        picture.source()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (500, 1), (7, 9, 8), (0, 5, 3), (4,)])
def test_arrays_of_any_shape(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.uint8)
    assert Picture(array).source() is array


def test_names() -> None:
    assert Picture(NamedBytes.of(b"x", "https://example.org/cat.png")).name == "https://example.org/cat.png"
    assert Picture(b"x").name == Picture(NOISE).name == ""
    assert repr(Picture(NOISE)) == "Picture(ndarray)"
    assert repr(Picture("a.png")) == "Picture(a.png)"


def test_only_paths_travel(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    Image.fromarray(NOISE).save(path)
    buffer = io.BytesIO()
    pickle.dump(Picture(NOISE), buffer)
    assert buffer.tell() < 1000
    with pytest.raises(InputError, match="did not come along"):
        pickle.loads(buffer.getvalue()).source()
    there = pickle.loads(pickle.dumps(Picture(path)))
    assert (there.source(), there.name) == (path, str(path))
    path.write_bytes(b"other")
    with pytest.raises(InputError, match="has changed"):
        there.source()
    kept = Picture(NOISE)
    assert copy.deepcopy(kept) is kept
