"""What may be given as a picture, brought to few forms."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels import fetch as fetching
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.sources import NamedBytes, read_source, rgb_of_bgr, several
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "png")
    return buffer.getvalue()


class OtherPath(os.PathLike[str]):
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    path.write_bytes(png())
    return path


def test_every_form_gives_the_same_pixels(file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "cat.png.gz"
    packed.write_bytes(gzip.compress(png()))
    spooled = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - closed below
    spooled.write(png())
    with file.open("rb") as opened, gzip.open(packed) as unpacked, spooled:
        opened.seek(7)  # as after a look at its first bytes
        sources: list[Any] = [
            *(file, str(file), OtherPath(file), png(), bytearray(png()), memoryview(png())),
            *(io.BytesIO(png()), opened, unpacked, spooled, Image.fromarray(PIXELS), PIXELS),
        ]
        for source in sources:
            np.testing.assert_array_equal(read_image(source), PIXELS, err_msg=type(source).__name__)
            assert several(source) is None, type(source).__name__
        np.testing.assert_array_equal(read_image(opened), PIXELS)  # twice
        names = [source.name for source in map(read_source, sources) if isinstance(source, NamedBytes)]
        assert names == ["", str(file), str(packed), ""]


def test_a_url_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "fetch", lambda url: png() if url.endswith("cat.png") else b"<html>")
    np.testing.assert_array_equal(read_image("https://example.org/cat.png"), PIXELS)
    assert several("https://example.org/*.png") is None
    with pytest.raises(InputError, match=r"^https://example\.org/page is not an image") as caught:
        read_image("https://me:secret@example.org/page?key=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (io.StringIO("text"), "gives str"),
        (io.BytesIO(), "is empty"),
        (3, "found int"),
        (None, "found NoneType"),
        ("ftp://host/cat.png", "found ftp://"),
    ],
)
def test_what_is_none_of_them(source: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_source(source)


def test_files_that_cannot_be_read(file: Path) -> None:
    closed = file.open("rb")
    closed.close()
    with pytest.raises(InputError, match=r"cat\.png cannot be read"):
        read_source(closed)
    with file.open("ab") as writing, pytest.raises(InputError, match=r"cat\.png cannot be read"):
        read_source(writing)
    with file.open(encoding="latin-1") as text, pytest.raises(InputError, match="'rb'"):
        read_source(text)


def test_a_stream_that_cannot_be_moved_is_read_where_it_is() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb") as end:
        end.write(png())
        end.close()
        np.testing.assert_array_equal(read_image(stream), PIXELS)


def test_a_tensor_is_one_image_and_told_how_to_convert() -> None:
    import torch

    tensor = torch.zeros(3, 8, 8)
    assert several(tensor) is None
    with pytest.raises(InputError, match="found Tensor") as caught:
        read_source(tensor)
    converted = eval(caught.value.hint.split(": ")[1].split(". For")[0], {"tensor": tensor})
    assert (converted.shape, converted.dtype) == ((8, 8, 3), np.uint8)


def test_opencv_arrays_become_rgb(file: Path, tmp_path: Path) -> None:
    flipped = PIXELS[..., ::-1]
    np.testing.assert_array_equal(rgb_of_bgr(flipped), PIXELS)
    with_alpha = np.dstack([flipped, np.full((12, 16), 9, np.uint8)])
    np.testing.assert_array_equal(rgb_of_bgr(with_alpha), PIXELS)
    np.save(tmp_path / "cat.npy", flipped)
    np.testing.assert_array_equal(rgb_of_bgr(tmp_path / "cat.npy"), PIXELS)
    for source in (file, png(), PIXELS[..., 0], Image.fromarray(PIXELS)):
        assert rgb_of_bgr(source) is source


def test_several(tmp_path: Path, file: Path) -> None:
    (tmp_path / "a10.png").write_bytes(png())
    (tmp_path / "a9.png").write_bytes(png())
    in_order = [tmp_path / "a9.png", tmp_path / "a10.png", file]
    assert several(tmp_path) == several(str(tmp_path)) == several(tmp_path / "*.png") == in_order
    assert several(OtherPath(tmp_path)) == in_order
    assert several(str(tmp_path / "a*.png")) == in_order[:2]
    assert several([1, 2]) == [1, 2]
    assert several(deque([1, 2])) == deque([1, 2])
    assert several(number for number in (1, 2)) == [1, 2]
    with pytest.raises(InputError, match="No image matches"):
        several(str(tmp_path / "*.jpg"))


def test_a_file_whose_name_reads_as_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "cat[1].png"
    path.write_bytes(png())
    assert several(path) is None
    np.testing.assert_array_equal(read_image(path), PIXELS)


def test_a_name_is_kept_with_bytes() -> None:
    named = NamedBytes.of(b"data", "https://example.org/cat.png")
    assert (named, named.name) == (b"data", "https://example.org/cat.png")
