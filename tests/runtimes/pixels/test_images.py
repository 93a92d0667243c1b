from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.images import open_image, read_image
from deploykit_runtimes.pixels.listing import list_images
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def cat(photos) -> Image.Image:
    return Image.fromarray(photos["cat"])


def test_every_kind_of_source(cat, tmp_path, photos) -> None:
    path = tmp_path / "cat.png"
    cat.save(path)
    for source in (path, str(path), path.read_bytes(), cat, photos["cat"]):
        pixels = read_image(source)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, photos["cat"])
        assert open_image(source).mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_opencv_does(cat, tmp_path, orientation) -> None:
    import cv2

    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    cat.resize((60, 40)).save(path, exif=exif)
    jpeg = tmp_path / "turned.jpg"
    cat.resize((60, 40)).save(jpeg, exif=exif, quality=95)
    assert read_image(path).shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    wanted = cv2.imread(str(jpeg))[..., ::-1]
    assert np.abs(read_image(jpeg).astype(int) - wanted).max() <= 3


def test_modes(cat) -> None:
    grey = np.asarray(cat.convert("L"))
    wanted = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(encode(cat.convert("L"), "PNG")), wanted)
    palette = cat.quantize(16)
    np.testing.assert_array_equal(read_image(encode(palette, "PNG")), np.asarray(palette.convert("RGB")))
    cmyk = encode(cat.convert("CMYK"), "JPEG", quality=95)
    assert np.abs(read_image(cmyk).astype(int) - np.asarray(cat)).mean() < 3


def test_colours_under_transparency_are_kept(cat) -> None:
    clear = cat.copy()
    clear.putalpha(0)
    np.testing.assert_array_equal(read_image(encode(clear, "PNG")), np.asarray(cat))
    np.testing.assert_array_equal(read_image(np.asarray(clear)), np.asarray(cat))


def test_16_bit_grey_keeps_the_upper_byte() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    wanted = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(encode(Image.fromarray(values), "PNG")), wanted)
    np.testing.assert_array_equal(read_image(Image.fromarray(values.astype(np.int32))), wanted)


def test_first_frame_of_an_animation(cat) -> None:
    frames = [Image.new("RGB", (20, 10), color) for color in ((255, 0, 0), (0, 255, 0))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(data)[5, 5].tolist() == [255, 0, 0]


def test_grey_arrays(photos) -> None:
    grey = photos["cat"][..., 0]
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(read_image(array), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.full((8, 8, 3), np.nan), "float64"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((3, 8, 8), np.uint8), r"\[3, 8, 8\]"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"\[1, 8, 8, 3\]"),
        (np.zeros((0, 8, 3), np.uint8), r"\[0, 8, 3\]"),
        (np.zeros(8, np.uint8), r"\[8\]"),
    ],
)
def test_arrays_that_are_no_images(array, message) -> None:
    with pytest.raises(InputError, match=message):
        read_image(array)


def test_float_images_are_refused() -> None:
    with pytest.raises(InputError, match="float image"):
        read_image(Image.fromarray(np.zeros((4, 4), np.float32)))
    with pytest.raises(InputError, match="32-bit grey"):
        read_image(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)))


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_not_an_image(data, tmp_path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.png"):
        read_image(path)
    with pytest.raises(InputError, match=f"{len(data)} bytes given"):
        read_image(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_files(cat, tmp_path, format) -> None:
    data = encode(cat, format)
    path = tmp_path / "half.img"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"half\.img"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's own remarks on damaged metadata
@settings(max_examples=150, deadline=None)
@given(data=st.data(), format=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"]))
def test_damaged_files_give_an_image_or_an_input_error(data, format) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 17, 3), dtype=np.uint8))
    damaged = bytearray(encode(image, format))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = read_image(bytes(damaged))
    except InputError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


@pytest.mark.parametrize("limit", [4_999, 3_000])
def test_decompression_bombs(monkeypatch, limit) -> None:
    """Also those between the limit and twice the limit, of which Pillow only warns."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(InputError, match="more pixels than the limit"):
        read_image(encode(Image.new("RGB", (100, 50)), "PNG"))


def test_missing_files_and_folders(tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="found int"):
        read_image(3)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b10.png", "b9.JPG", "a.webp", "notes.txt", "sub/c.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def test_list_images(folder) -> None:
    def names(*paths: Path | str) -> list[str]:
        return [path.name for path in list_images(paths)]

    assert names(folder) == ["a.webp", "b9.JPG", "b10.png"]
    assert names(folder / "b*") == ["b9.JPG", "b10.png"]
    assert names(str(folder / "**" / "*.png")) == ["b10.png", "c.png"]
    assert names(folder / "notes.txt", folder / "a.webp") == ["notes.txt", "a.webp"]


def test_list_images_takes_one_path_and_gives_each_image_once(folder) -> None:
    assert list_images(str(folder / "a.webp")) == list_images(folder / "a*") == [folder / "a.webp"]
    assert list_images([folder / "a.webp", folder])[:2] == [folder / "a.webp", folder / "b9.JPG"]
    assert len(list_images([folder, folder])) == 3


@pytest.mark.parametrize(
    ("path", "problem", "hint"),
    [
        ("empty", "holds no images", "Known suffixes"),
        ("above", "holds no images", "above/**/*"),
        ("*.gif", "No image matches", "Known suffixes"),
        ("b11.png", "does not exist", "Did you mean b10.png?"),
    ],
)
def test_list_images_refuses_what_gives_none(folder, path, problem, hint) -> None:
    (folder / "empty").mkdir()
    (folder / "above" / "below").mkdir(parents=True)
    with pytest.raises(InputError, match=problem) as caught:
        list_images([folder / "a.webp", folder / path])
    assert hint in caught.value.hint


def test_list_images_of_something_else() -> None:
    with pytest.raises(InputError, match="found int"):
        list_images([3])
