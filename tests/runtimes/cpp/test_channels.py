"""deploykit-run prints what ``deploykit predict --json`` prints for models of other channels than three."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import timm
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.pictures import picture
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.images import read_image
from deploykit_runtimes.pixels.pixel_format import PixelFormat
from PIL import Image

from deploykit.cli import main

PLAIN = {"dynamic": ("batch",)}
WHOLE = {"preprocess": True, "postprocess": True}


def documents(tool: Path, ort_library: Path, capsys: Any, arguments: list[str]) -> tuple[Any, Any]:
    """What the C++ program prints, and what Python prints."""
    environment = {"DEPLOYKIT_ONNXRUNTIME": str(ort_library)}
    done = subprocess.run(
        [str(tool), *arguments], capture_output=True, text=True, env=environment, check=False
    )
    capsys.readouterr()
    code = main(["predict", *arguments, "--json"])
    printed = capsys.readouterr().out
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout), json.loads(printed)


def checkpoint(folder: Path, origin: str, channels: int, perturb: Any, ultralytics_file: Any) -> Path:
    if origin == "ultralytics":
        from ultralytics.nn.tasks import yaml_model_load

        path: Path = ultralytics_file({**yaml_model_load("yolo11n.yaml"), "nc": 3, "channels": channels})[0]
        return path
    torch.manual_seed(0)
    options = {"img_size": 64, "depth": 2}
    model = timm.create_model("vit_tiny_patch16_224", in_chans=channels, num_classes=3, **options)
    torch.save(perturb(model, 0).state_dict(), folder / "vit.pth")
    return folder / "vit.pth"


def pictures(folder: Path, channels: int, cat: np.ndarray) -> list[Path]:
    """Files that both decoders read alike: colours for a grey model too, else the channels themselves."""
    array = picture(PixelFormat(color="grey" if channels == 1 else "as_is", channels=channels))
    np.save(folder / "image.npy", array)
    files = [folder / "image.npy"]
    if channels == 1:
        for name in ("colour.png", "colour.bmp"):
            Image.fromarray(cat).save(folder / name)
        Image.fromarray(array[..., 0]).save(folder / "grey.png")
        np.save(folder / "flat.npy", array[..., 0])
        np.save(folder / "rgb.npy", cat)
        files += [folder / name for name in ("colour.png", "colour.bmp", "grey.png", "flat.npy", "rgb.npy")]
    if channels == 4:
        Image.fromarray(array).save(folder / "rgba.png")
        files.append(folder / "rgba.png")
    return files


def tiff_files(folder: Path, array: np.ndarray, *, opencv: bool) -> list[Path]:
    """Channels a pixel, in planes and in pages, in rows and in tiles, compressed and not."""
    height, width = array.shape[0] // 16 * 16, array.shape[1] // 16 * 16
    array = np.ascontiguousarray(array[:height, :width])
    planes = np.moveaxis(array, 2, 0)
    grey: dict[str, Any] = {"photometric": "minisblack"}
    pixels = {**grey, "planarconfig": "contig", "extrasamples": ["unspecified"] * (array.shape[2] - 1)}
    forms: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "pixels": (array, pixels),
        "big-endian": (array, {**pixels, "byteorder": ">", "rowsperstrip": 7}),
        "deflate": (array, {**pixels, "compression": "zlib", "predictor": True}),
        "tiles": (array, {**pixels, "tile": (64, 48)}),
        "big-tiff": (array, {**pixels, "bigtiff": True}),
        "planes": (planes, {**pixels, "planarconfig": "separate"}),
        "plane-tiles": (planes, {**pixels, "planarconfig": "separate", "tile": (64, 48)}),
    }
    files = []
    for name, (values, how) in forms.items():
        tifffile.imwrite(folder / f"{name}.tif", values, metadata=None, **how)
        files.append(folder / f"{name}.tif")
    pages = [Image.fromarray(plane) for plane in planes]
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"):
        files.append(folder / f"pages-{compression}.tif")
        pages[0].save(files[-1], save_all=True, append_images=pages[1:], compression=compression)
    if opencv:
        files.append(folder / "deep.tif")
        tifffile.imwrite(files[-1], array.astype(np.uint16) << 8 | 200, metadata=None, **pixels)
    return files


@pytest.mark.parametrize("form", [PLAIN, WHOLE], ids=["plain", "whole"])
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("origin", ["timm", "ultralytics"])
def test_same_document(
    origin: str,
    channels: int,
    form: dict[str, Any],
    tool: Path,
    ort_library: Path,
    photos: dict[str, np.ndarray],
    perturb: Any,
    ultralytics_file: Any,
    differences: Any,
    capsys: Any,
    tmp_path: Path,
) -> None:
    source = checkpoint(tmp_path, origin, channels, perturb, ultralytics_file)
    imgsz = (64, 64) if origin == "timm" else None
    result = export(source, ExportOptions(output=tmp_path / "model.onnx", imgsz=imgsz, **form))
    assert result.spec.input.channels == channels
    files = pictures(tmp_path, channels, photos["cat"])
    arguments = [str(tmp_path / "model.onnx"), *map(str, files), "--threads", "1"]
    found, wanted = documents(tool, ort_library, capsys, arguments)
    assert differences(found["results"], wanted["results"]) == []
    assert found["images"] == wanted["images"] == len(files)
    assert not wanted["failed"]
    assert all(entry.get("detections") or entry.get("top") for entry in found["results"])


def test_wrong_images(
    tool: Path,
    ort_library: Path,
    photos: dict[str, np.ndarray],
    perturb: Any,
    ultralytics_file: Any,
    capsys: Any,
    tmp_path: Path,
) -> None:
    source = checkpoint(tmp_path, "timm", 4, perturb, ultralytics_file)
    export(source, ExportOptions(output=tmp_path / "model.onnx", imgsz=(64, 64)))
    np.save(tmp_path / "five.npy", np.zeros((80, 90, 5), np.uint8))
    np.save(tmp_path / "float.npy", np.zeros((80, 90, 4), np.float32))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(np.zeros((80, 90, 4), np.uint8)))
    np.save(tmp_path / "good.npy", np.zeros((80, 90, 4), np.uint8))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-1])
    (tmp_path / "header.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:40])
    Image.fromarray(photos["cat"]).save(tmp_path / "cat.png")
    names = ("five.npy", "float.npy", "cut.npy", "header.npy", "cat.png")
    arguments = [str(tmp_path / "model.onnx"), *(str(tmp_path / name) for name in names)]
    found, wanted = documents(tool, ort_library, capsys, arguments)
    assert found["failed"] == wanted["failed"] == len(names)
    errors = [[entry["error"] for entry in document["results"]] for document in (found, wanted)]
    assert errors[0][0] == errors[1][0] == "Wanted an array of shape [H, W, 4], found [80, 90, 5]."
    assert errors[0][4].startswith("The model takes images of 4 channels, Image ")
    assert errors[1][4].startswith("The model takes images of 4 channels, Image ")
    done = subprocess.run(
        [str(tool), arguments[0], str(tmp_path / "fortran.npy")],
        capture_output=True,
        text=True,
        env={"DEPLOYKIT_ONNXRUNTIME": str(ort_library)},
        check=False,
    )
    assert "numpy.ascontiguousarray" in done.stderr


def prints(tool: Path, ort_library: Path, *arguments: Path | str) -> Any:
    """The results that the C++ program prints."""
    done = subprocess.run(
        [str(tool), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"DEPLOYKIT_ONNXRUNTIME": str(ort_library)},
        check=False,
    )
    results = json.loads(done.stdout)["results"]
    if any("built without libtiff" in str(result.get("error")) for result in results):
        pytest.skip("deploykit-run was built without libtiff (apt-get install libtiff-dev)")
    return results


@pytest.mark.parametrize(("origin", "channels"), [("timm", 2), ("timm", 6), ("ultralytics", 5)])
def test_tiff_files_give_the_answers_of_their_arrays(
    origin: str,
    channels: int,
    tool: Path,
    ort_library: Path,
    perturb: Any,
    ultralytics_file: Any,
    tmp_path: Path,
) -> None:
    source = checkpoint(tmp_path, origin, channels, perturb, ultralytics_file)
    imgsz = (64, 64) if origin == "timm" else None
    spec = export(source, ExportOptions(output=tmp_path / "model.onnx", imgsz=imgsz, witness=False)).spec
    array = picture(PixelFormat(color="as_is", channels=channels))
    array = array[: array.shape[0] // 16 * 16, : array.shape[1] // 16 * 16]
    np.save(tmp_path / "array.npy", array)
    wanted, *found = prints(
        tool,
        ort_library,
        tmp_path / "model.onnx",
        tmp_path / "array.npy",
        *tiff_files(tmp_path, array, opencv=origin == "ultralytics"),
    )
    assert wanted.get("detections") or wanted.get("top")
    for result in found:
        answer = {key: value for key, value in result.items() if key not in ("image", "source", "path")}
        assert {**wanted, **answer} == {**wanted, **{key: wanted[key] for key in answer}}, result
    wanted_format = PixelFormat.of(spec)
    for path in sorted(tmp_path.glob("*.tif")):
        np.testing.assert_array_equal(read_image(path, wanted_format), array, err_msg=path.name)


def test_tiff_files_that_are_not_the_model_s(
    tool: Path, ort_library: Path, perturb: Any, ultralytics_file: Any, tmp_path: Path
) -> None:
    source = checkpoint(tmp_path, "timm", 4, perturb, ultralytics_file)
    export(source, ExportOptions(output=tmp_path / "model.onnx", imgsz=(64, 64), witness=False))
    grey: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    four = {**grey, "planarconfig": "contig", "extrasamples": ["unspecified"] * 3}
    array = np.arange(80 * 96 * 4, dtype=np.uint32).astype(np.uint8).reshape(80, 96, 4)
    tifffile.imwrite(tmp_path / "good.tif", array, compression="zlib", **four)
    tifffile.imwrite(tmp_path / "float.tif", array.astype(np.float32), **four)
    tifffile.imwrite(tmp_path / "deep.tif", array.astype(np.uint16), **four)
    tifffile.imwrite(tmp_path / "pages.tif", np.moveaxis(array, 2, 0)[:3], **grey)
    whole = (tmp_path / "good.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "head.tif").write_bytes(whole[:30])
    Image.fromarray(array, mode="CMYK").save(tmp_path / "cmyk.tif")
    said = {
        "float.tif": "holds signed or floating-point values of 32 bits; wanted 8 bits per channel",
        "deep.tif": "holds values of 16 bits; wanted 8 bits per channel",
        "pages.tif": "The model takes images of 4 channels, Image",
        "cut.tif": "is damaged or truncated",
        "head.tif": "is damaged or truncated",
        "cmyk.tif": "does not hold its channels as they are",
    }
    files = [tmp_path / name for name in said]
    results = prints(tool, ort_library, tmp_path / "model.onnx", *files)
    for result, text in zip(results, said.values(), strict=True):
        assert text in result["error"]
    with pytest.raises(InputError):
        read_image(tmp_path / "cut.tif", PixelFormat(color="as_is", channels=4))


@pytest.mark.parametrize("seed", range(3))
def test_tiff_files_with_changed_bytes_end_with_an_answer_or_an_error(
    seed: int, tool: Path, ort_library: Path, perturb: Any, ultralytics_file: Any, tmp_path: Path
) -> None:
    source = checkpoint(tmp_path, "timm", 2, perturb, ultralytics_file)
    export(source, ExportOptions(output=tmp_path / "model.onnx", imgsz=(64, 64), witness=False))
    random = np.random.default_rng(seed)
    array = random.integers(0, 255, (48, 48, 2), np.uint8)
    files = []
    for original in tiff_files(tmp_path, array, opencv=False):
        for number in range(12):
            content = np.frombuffer(original.read_bytes(), np.uint8).copy()
            places = random.integers(0, min(len(content), 400) if number % 2 else len(content), 3)
            content[places] = random.integers(0, 256, 3)
            files.append(tmp_path / f"{original.stem}-{number}.tif")
            files[-1].write_bytes(content.tobytes())
    results = prints(tool, ort_library, tmp_path / "model.onnx", *files)
    assert len(results) == len(files)
    assert all(("error" in result) != ("top" in result) for result in results)
