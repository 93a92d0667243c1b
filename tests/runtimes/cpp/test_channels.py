"""deploykit-run prints what ``deploykit predict --json`` prints for models of other channels than three."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.pictures import picture
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
