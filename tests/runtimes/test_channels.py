"""Images of one channel, of four, of many: read as the training codes read them, or refused."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from deploykit_runtimes.contract.inferred_spec import infer_spec
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import InputError, ModelError
from deploykit_runtimes.pixels.images import drawable, open_image, read_image
from deploykit_runtimes.pixels.listing import list_images
from deploykit_runtimes.pixels.npy import npy_shape
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from deploykit_runtimes.pixels.preprocess import preprocess
from deploykit_runtimes.pixels.resample import resize_opencv
from PIL import Image

GREY = PixelFormat(color="grey", channels=1)
GREY_CV = PixelFormat(color="grey", channels=1, library="opencv")


def bands(count: int, library: str = "pillow") -> PixelFormat:
    return PixelFormat(color="as_is", channels=count, library=library)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """Every kind of colour, uint8 [H, W, 8]."""
    return np.random.default_rng(0).integers(0, 256, (211, 307, 8), dtype=np.uint8)


def save(pixels: np.ndarray, path: Path, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def test_grey_as_pillow_does(photos, noise, tmp_path) -> None:
    colours = np.ascontiguousarray(noise[..., :3])
    for name, pixels in {"cat": photos["cat"], "noise": colours}.items():
        for suffix in ("png", "jpg", "bmp", "webp"):
            path = save(pixels, tmp_path / f"{name}.{suffix}")
            wanted = np.asarray(Image.open(path).convert("L"))[..., None]
            for source in (path, path.read_bytes(), Image.open(path)):
                np.testing.assert_array_equal(read_image(source, GREY), wanted)
                assert open_image(source, GREY).mode == "L"
        wanted = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        np.testing.assert_array_equal(read_image(pixels, GREY), wanted)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "ppm", "webp", "jp2"])
def test_grey_as_opencv_reads_files(photos, noise, tmp_path, suffix) -> None:
    """Each of its decoders mixes colours by itself."""
    lossless = {"lossless": True} if suffix == "webp" else {}
    for pixels in (photos["cat"], np.ascontiguousarray(noise[..., :3])):
        path = save(pixels, tmp_path / f"image.{suffix}", **lossless)
        wanted = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[..., None]
        np.testing.assert_array_equal(read_image(path, GREY_CV), wanted)
        np.testing.assert_array_equal(read_image(path.read_bytes(), GREY_CV), wanted)


def test_grey_as_opencv_reads_other_modes(photos, noise, tmp_path) -> None:
    cat = Image.fromarray(photos["cat"])
    images = {
        "grey.png": cat.convert("L"),
        "grey.jpg": cat.convert("L"),
        "palette.png": cat.quantize(64),
        "alpha.png": Image.fromarray(np.ascontiguousarray(noise[..., :4])),
        "deep.png": Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0]),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
        wanted = cv2.imread(str(tmp_path / name), cv2.IMREAD_GRAYSCALE)[..., None]
        np.testing.assert_array_equal(read_image(tmp_path / name, GREY_CV), wanted, err_msg=name)


def test_grey_turned_by_exif(photos, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(photos["cat"], tmp_path / "turned.jpg", exif=exif, quality=95)
    wanted = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[..., None]
    np.testing.assert_array_equal(read_image(path, GREY_CV), wanted)


def test_grey_arrays(noise) -> None:
    grey = np.ascontiguousarray(noise[..., 0])
    for form in (GREY, GREY_CV):
        for array in (grey, grey[..., None]):
            np.testing.assert_array_equal(read_image(array, form), grey[..., None])
    colours = np.ascontiguousarray(noise[..., :3])
    wanted = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)[..., None]
    np.testing.assert_array_equal(read_image(colours, GREY_CV), wanted)
    with pytest.raises(
        InputError, match=r"Wanted an array of shape \[H, W\] or \[H, W, 1\].*found \[211, 307, 2\]"
    ):
        read_image(noise[..., :2], GREY)


def test_sixteen_bits_are_not_cut_off(tmp_path) -> None:
    path = save(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100, tmp_path / "deep.tif")
    with pytest.raises(InputError, match=r"deep\.tif has 16 bits per pixel, wanted 8"):
        read_image(path, GREY)
    with pytest.raises(InputError, match="found uint16"):
        read_image(np.asarray(Image.open(path)), GREY)


@pytest.mark.parametrize("count", [2, 4, 5, 8])
@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
def test_pages_of_a_tiff_as_ultralytics_reads_them(noise, tmp_path, count, deep) -> None:
    tifffile = pytest.importorskip("tifffile")
    from ultralytics.utils.patches import imread

    pages = np.ascontiguousarray(noise[..., :count].transpose(2, 0, 1)).astype(
        np.uint16 if deep else np.uint8
    )
    path = tmp_path / "bands.tif"
    tifffile.imwrite(path, pages * 200 if deep else pages, photometric="minisblack")
    wanted = imread(path, cv2.IMREAD_UNCHANGED)
    assert wanted.shape == (211, 307, count)
    np.testing.assert_array_equal(read_image(path, bands(count, "opencv")), wanted)
    np.testing.assert_array_equal(read_image(path.read_bytes(), bands(count, "opencv")), wanted)
    if deep:
        with pytest.raises(InputError, match="holds uint16 values; wanted 8 bits"):
            read_image(path, bands(count))
    else:
        np.testing.assert_array_equal(read_image(path, bands(count)), wanted)
        with pytest.raises(
            InputError, match=rf"takes images of 3 channels, Image .*bands\.tif has {count} pages"
        ):
            read_image(path, bands(3))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("count", [2, 4, 5, 8])
def test_channels_of_a_tiff(noise, tmp_path, count, planar, compression) -> None:
    """As GDAL writes them, which neither Pillow nor OpenCV reads."""
    tifffile = pytest.importorskip("tifffile")
    pixels = np.ascontiguousarray(noise[..., :count])
    path = tmp_path / "bands.tif"
    stored = pixels.transpose(2, 0, 1) if planar == "separate" else pixels
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planar, compression=compression)
    for library in ("pillow", "opencv"):
        for source in (path, path.read_bytes()):
            np.testing.assert_array_equal(read_image(source, bands(count, library)), pixels)
    with pytest.raises(InputError, match="takes images of 6 channels"):
        read_image(path, bands(6))


def test_rgba(noise, tmp_path) -> None:
    pixels = np.ascontiguousarray(noise[..., :4])
    path = save(pixels, tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(path, bands(4)), pixels)
    np.testing.assert_array_equal(read_image(Image.open(path), bands(4)), pixels)
    wanted = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read_image(path, bands(4, "opencv")), wanted)
    np.testing.assert_array_equal(read_image(pixels, bands(4, "opencv")), pixels)
    tiff = save(pixels, tmp_path / "rgba.tif")
    np.testing.assert_array_equal(read_image(tiff, bands(4)), pixels)
    with pytest.raises(InputError, match="which OpenCV multiplies the colours by"):
        read_image(tiff, bands(4, "opencv"))


def test_arrays_and_npy_files(noise, tmp_path) -> None:
    path = tmp_path / "image.npy"
    for form, pixels in ((bands(5), noise[..., :5]), (GREY, noise[..., :1]), (PixelFormat(), noise[..., :3])):
        np.save(path, pixels)
        for source in (pixels, path, str(path), path.read_bytes()):
            np.testing.assert_array_equal(read_image(source, form), pixels)
    assert npy_shape(path.read_bytes()) == (211, 307, 3)
    assert open_image(path).mode == "RGB"
    np.save(path, noise[..., :5].astype(np.float32))
    with pytest.raises(InputError, match=r"image\.npy holds float32 values; wanted uint8"):
        read_image(path, bands(5))


def test_something_to_draw_on(noise, tmp_path) -> None:
    np.save(tmp_path / "five.npy", noise[..., :5])
    for source in (noise[..., :5], tmp_path / "five.npy", noise[..., :4]):
        np.testing.assert_array_equal(drawable(source), noise[..., :3])
    np.testing.assert_array_equal(drawable(noise[..., :2]), np.repeat(noise[..., :1], 3, axis=2))
    pytest.importorskip("tifffile").imwrite(
        tmp_path / "five.tif", noise[..., :5], photometric="minisblack", planarconfig="contig"
    )
    np.testing.assert_array_equal(drawable(tmp_path / "five.tif"), noise[..., :3])
    with pytest.raises(InputError, match="not an image of a known format"):
        drawable(b"no image")


def test_damaged_npy_files(noise, tmp_path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, noise)
    whole = buffer.getvalue()
    for damaged in (whole[:-1], whole[:40], whole[:7], whole[:64] + b"x" * 64):
        with pytest.raises(InputError, match=r"\.npy file|damaged or truncated"):
            read_image(damaged, bands(8))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="object"):
        read_image(tmp_path / "objects.npy", bands(1))
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "none.npy", bands(1))


def test_wrong_channels(photos, noise, tmp_path) -> None:
    path = save(photos["cat"], tmp_path / "cat.jpg")
    with pytest.raises(
        InputError, match=r"takes images of 4 channels, Image .*cat\.jpg has 3 \(RGB\)"
    ) as error:
        read_image(path, bands(4))
    assert "uint8 array [H, W, 4], a .npy file of such an array, or a TIFF file" in error.value.hint
    for array in (photos["cat"], noise[..., 0], noise[..., :5]):
        with pytest.raises(InputError, match=r"Wanted an array of shape \[H, W, 4\], found"):
            read_image(array, bands(4))
    with pytest.raises(InputError, match=r"transpose\(1, 2, 0\)"):
        read_image(noise[..., :4].transpose(2, 0, 1), bands(4))
    palette = tmp_path / "palette.png"
    Image.fromarray(photos["cat"]).quantize(16).save(palette)
    with pytest.raises(InputError, match="has a palette"):
        read_image(palette, bands(1))
    with pytest.raises(InputError, match="not an image of a known format"):
        read_image(b"no image", bands(4))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_tiff(noise, tmp_path) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "bands.tif"
    tifffile.imwrite(path, noise, photometric="minisblack", planarconfig="contig")
    whole = path.read_bytes()
    for length in (8, 200, len(whole) // 2):
        with pytest.raises(InputError):
            read_image(whole[:length], bands(8))


def test_contradictions() -> None:
    with pytest.raises(ModelError, match="takes 4 channels, but its pre-processing makes grey images of 1"):
        PixelFormat(color="grey", channels=4)
    spec = make_spec(4, Preprocess(color="as_is", mean=(0.5, 0.5, 0.5), std=(1.0,)))
    with pytest.raises(ModelError, match="a mean and std of 4 channels"):
        preprocess(np.zeros((64, 64, 4), np.uint8), spec)


def make_spec(channels: int, how: Preprocess) -> ModelSpec:
    return ModelSpec(
        task="features",
        family="any",
        variant="any",
        origin="any",
        input=InputSpec(height=64, width=64, channels=channels),
        preprocess=how,
        output=OutputSpec(names=("y",), layout="features"),
    )


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("size", [(64, 64), (200, 400), (300, 100)])
def test_opencv_resizes_each_channel(noise, count, size) -> None:
    image = np.ascontiguousarray(noise[..., :count])
    for name, flag in (("nearest", cv2.INTER_NEAREST), ("bilinear", cv2.INTER_LINEAR)):
        wanted = cv2.resize(image, size[::-1], interpolation=flag).reshape(*size, count)
        np.testing.assert_array_equal(resize_opencv(image, size, name), wanted)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box"])
@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_pillow_resizes_each_channel(noise, count, interpolation) -> None:
    """By itself: Pillow would weight the colours of an RGBA image by its alpha."""
    color = "grey" if count == 1 else "as_is"
    mean, std = tuple(0.1 * n for n in range(count)), tuple(0.2 + 0.1 * n for n in range(count))
    how = Preprocess(color=color, resize="short", resize_to=(80,), crop=(64, 64), mean=mean, std=std)
    spec = make_spec(count, Preprocess(**{**vars(how), "interpolation": interpolation}))
    image = np.ascontiguousarray(noise[..., :count])
    found, _ = preprocess(image, spec)
    assert found.shape == (count, 64, 64)
    for index in range(count):
        band = Image.fromarray(image[..., index])
        resized = band.resize((116, 80), Image.Resampling[interpolation.upper()]).crop((26, 8, 90, 72))
        wanted = (np.asarray(resized) / 255 - mean[index]) / std[index]
        np.testing.assert_allclose(found[index], wanted, atol=1e-5)


@pytest.mark.parametrize(("count", "color"), [(1, "grey"), (3, "rgb"), (4, "as_is")])
def test_files_of_other_exporters(count, color) -> None:
    image = TensorInfo(name="x", dtype="float32", shape=("n", count, 32, 32))
    scores = TensorInfo(name="y", dtype="float32", shape=("n", 10))
    spec = infer_spec((image,), (scores,), {})
    assert (spec.input.channels, spec.preprocess.color) == (count, color)
    assert spec.preprocess.mean == ((0.485, 0.456, 0.406) if count == 3 else (0.0,))
    assert spec.assumed[0].startswith("ImageNet mean" if count == 3 else "pixels scaled to 0..1, ")
    pixels = np.full((32, 32, count), 51, np.uint8)
    found, _ = preprocess(pixels, spec)
    assert found.shape == (count, 32, 32)
    if count != 3:
        np.testing.assert_allclose(found, 0.2, atol=1e-6)


def test_lists_of_arrays(noise, photos, tmp_path) -> None:
    for name in ("b10.npy", "b2.npy"):
        np.save(tmp_path / name, noise)
    assert [path.name for path in list_images(tmp_path)] == ["b2.npy", "b10.npy"]
    assert [path.name for path in list_images(f"{tmp_path}/*.npy")] == ["b2.npy", "b10.npy"]
    save(photos["cat"], tmp_path / "cat.png")
    assert [path.name for path in list_images(tmp_path)] == ["cat.png"]
    assert [path.name for path in list_images(f"{tmp_path}/b*.npy")] == ["b2.npy", "b10.npy"]
