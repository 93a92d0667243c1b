"""The pictures of a calibration, and the options of Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_runtimes.errors import InputError, OptionError
from PIL import Image

import deploykit
from deploykit.quantization.fp16 import calibration_pictures


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_a_folder_or_its_sub_folders(tmp_path: Path) -> None:
    deep = [picture(tmp_path / "classes" / name) for name in ("a/2.png", "a/10.png", "b/1.png")]
    (tmp_path / "classes" / "a" / "notes.txt").write_text("no picture")
    assert calibration_pictures(tmp_path / "classes") == deep
    flat = picture(tmp_path / "classes" / "flat.png")
    assert calibration_pictures(tmp_path / "classes") == [flat]
    assert calibration_pictures(flat) == [flat]


def test_a_data_yaml_gives_those_of_the_training(tmp_path: Path) -> None:
    train = picture(tmp_path / "images" / "train" / "1.png")
    val = picture(tmp_path / "images" / "val" / "2.png")
    data = tmp_path / "data.yaml"
    data.write_text("train: images/train\nval: images/val\nnames: [a]\n")
    assert calibration_pictures(data) == [train]
    data.write_text("val: images/val\nnames: [a]\n")
    assert calibration_pictures(data) == [val]
    data.write_text("test: images/val\nnames: [a]\n")
    with pytest.raises(OptionError, match="has no train or val"):
        calibration_pictures(data)


def test_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--calib: The folder .* holds no images"):
        calibration_pictures(tmp_path)


def test_python_refuses_what_is_no_option(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="fp8"):
        deploykit.quantize(tmp_path / "m.onnx", fp8=True)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="found none"):
        deploykit.quantize(tmp_path / "m.onnx")
