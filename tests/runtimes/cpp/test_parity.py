"""deploykit-run prints what ``deploykit predict --json`` prints: every family, with and without the
processing inside the graph."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.machine.nvidia import has_nvidia_driver
from PIL import Image

from deploykit.cli import main

PHOTOS = ("cat", "flower_portrait", "cat_wide", "cat_small")
FILES = {
    "crossformer": "golden/crossformer/crossformer.pth",
    "mmpretrain vit": "fixtures/mmpretrain_vit.pth",
    "mmpretrain efficientnet": "fixtures/mmpretrain_efficientnet_v2.pth",
    "yolov5": "fixtures/yolov5_detect.pt",
    "yolov5 segment": "fixtures/yolov5_segment.pt",
    "yolox": "fixtures/yolox_plain.pth",
}
TIMM = {
    "efficientnet": ("efficientnet_lite0", {"num_classes": 3}),
    "vit": ("vit_tiny_patch16_224", {"num_classes": 3, "img_size": 64, "depth": 2}),
}
ULTRALYTICS = ("yolov8n", "yolov10n", "yolo26n", "yolo11n-cls", "yolo11n-seg", "yolo11n-pose", "yolo11n-obb")
PLAIN = {"dynamic": True}
WHOLE = {"preprocess": True, "postprocess": True}


@pytest.fixture(scope="module")
def pictures(photos, tmp_path_factory) -> list[Path]:
    """The photos as PNG, which every decoder reads alike."""
    folder = tmp_path_factory.mktemp("photos")
    for name in PHOTOS:
        Image.fromarray(photos[name]).save(folder / f"{name}.png", compress_level=1)
    return [folder / f"{name}.png" for name in PHOTOS]


@pytest.fixture(scope="module")
def checkpoint_of(golden: Path, ultralytics_file, perturb, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")

    def find(name: str) -> tuple[Path, dict[str, Any]]:
        if name in FILES:
            # Their random heads score low.
            return golden.parent / FILES[name], {"conf": 0.001} if name.startswith("yolo") else {}
        if name in ULTRALYTICS:
            return ultralytics_file(name)[0], {}
        architecture, options = TIMM[name]
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.manual_seed(0)
            torch.save(perturb(timm.create_model(architecture, **options), 0).state_dict(), path)
        return path, {"imgsz": 64}

    return find


def documents(tool: Path, ort_library: Path, capsys, arguments: list[str]) -> tuple[Any, Any]:
    """What the C++ program prints, and what Python prints of the same graph: C++ rewrites INT8 files."""
    environment = {"DEPLOYKIT_ONNXRUNTIME": str(ort_library)}
    done = subprocess.run(
        [str(tool), *arguments], capture_output=True, text=True, env=environment, check=False
    )
    capsys.readouterr()
    code = main(["predict", *arguments, "--exact", "--json"])
    printed = capsys.readouterr().out
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout), json.loads(printed)


@pytest.mark.parametrize("form", [PLAIN, WHOLE], ids=["plain", "whole"])
@pytest.mark.parametrize("name", [*FILES, *TIMM, *ULTRALYTICS])
def test_same_document(
    name: str, form: dict[str, Any], tool, ort_library, checkpoint_of, pictures, differences, capsys, tmp_path
) -> None:
    checkpoint, extra = checkpoint_of(name)
    options = ExportOptions(output=tmp_path / "model.onnx", **form, **extra)
    export(checkpoint, options)
    found, wanted = documents(
        tool, ort_library, capsys, [str(options.output), *map(str, pictures), "--threads", "1"]
    )
    assert list(found) == list(wanted)
    assert differences(found["results"], wanted["results"]) == []
    assert {key: found[key] for key in ("model", "images", "failed", "placement")} == {
        key: wanted[key] for key in ("model", "images", "failed", "placement")
    }
    assert any(entry.get("detections") or entry.get("top") for entry in found["results"])


def test_masks_of_the_graph(
    tool, ort_library, checkpoint_of, pictures, differences, capsys, tmp_path
) -> None:
    """A segmentation model that returns masks at the size of the image."""
    checkpoint, _ = checkpoint_of("yolo11n-seg")
    options = ExportOptions(output=tmp_path / "model.onnx", **WHOLE, masks=True)
    export(checkpoint, options)
    found, wanted = documents(tool, ort_library, capsys, [str(options.output), *map(str, pictures)])
    assert differences(found["results"], wanted["results"]) == []
    assert any(entry["detections"] for entry in found["results"])


def test_thresholds_of_the_call(
    tool, ort_library, checkpoint_of, pictures, differences, capsys, tmp_path
) -> None:
    checkpoint, _ = checkpoint_of("yolov8n")
    options = ExportOptions(output=tmp_path / "model.onnx", **WHOLE, runtime_thresholds=True)
    export(checkpoint, options)
    arguments = [str(options.output), *map(str, pictures), "--conf", "0.01", "--iou", "0.4"]
    found, wanted = documents(tool, ort_library, capsys, [*arguments, "--goal", "throughput"])
    assert differences(found["results"], wanted["results"]) == []
    assert any(entry["detections"] for entry in found["results"])


@pytest.mark.parametrize("name", ["logits", "half_nhwc", "finished_masks", "foreign_plain"])
def test_placements(name: str, tool, ort_library, golden, pictures, capsys, tmp_path) -> None:
    """The precision is that of the weights: float32, float16, uint8 and float32."""
    Image.open(pictures[0]).resize((150, 100)).save(tmp_path / "photo.png")
    arguments = [str(golden / "cpp" / f"{name}.onnx"), str(tmp_path / "photo.png")]
    found, wanted = documents(tool, ort_library, capsys, arguments)
    assert found["placement"] == wanted["placement"]


@pytest.mark.gpu
@pytest.mark.skipif(not has_nvidia_driver(), reason="no GPU: on a machine with one, pytest -m gpu")
@pytest.mark.parametrize("runtime", ["ort-cuda", "ort-trt"])
@pytest.mark.parametrize("name", ["logits", "yolo", "segment", "obb", "finished_masks"])
def test_gpus(name, runtime, tool, ort_library, golden, pictures, differences, capsys, tmp_path) -> None:
    """Both sides find the engine that one of them has built in the same cache, and say what ran alike."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed: pip install onnxruntime-gpu")
    Image.open(pictures[0]).resize((150, 100)).save(tmp_path / "photo.png")
    arguments = [str(golden / "cpp" / f"{name}.onnx"), str(tmp_path / "photo.png")]
    arguments += ["--runtime", runtime, "--cache", str(tmp_path / "cache")]
    found, wanted = documents(tool, ort_library, capsys, arguments)
    assert differences(found["results"], wanted["results"]) == []
    assert found["placement"] == wanted["placement"]
    assert any("CPU" not in provider for provider in found["placement"]["providers"])


def test_features(tool, ort_library, pictures, differences, capsys, checkpoint_of, tmp_path) -> None:
    checkpoint, _ = checkpoint_of("efficientnet")
    export(checkpoint, ExportOptions(output=tmp_path / "model.onnx", features=True, imgsz=64))
    found, wanted = documents(tool, ort_library, capsys, [str(tmp_path / "model.onnx"), str(pictures[0])])
    assert differences(found["results"], wanted["results"]) == []


def test_images_that_cannot_be_read(tool, ort_library, golden, pictures, capsys, tmp_path) -> None:
    """The good one is answered, the bad ones are reported, the exit code is 8."""
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(pictures[0].read_bytes()[:2000])
    photo = Image.open(pictures[0])
    photo.save(tmp_path / "whole.jpg", quality=90)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    paths = [str(tmp_path / name) for name in ("text.png", "cut.png", "cut.jpg")]
    arguments = [str(golden / "cpp" / "logits.onnx"), *paths, str(pictures[0])]
    found, wanted = documents(tool, ort_library, capsys, arguments)
    assert found["failed"] == wanted["failed"] == 3
    for ours, theirs in zip(found["results"][:3], wanted["results"][:3], strict=True):
        # The hints are in the words of the decoders.
        assert ours["error"].splitlines()[0] == theirs["error"].splitlines()[0]
    assert "top" in found["results"][3]


def test_photos_are_turned_upright(tool, ort_library, golden, photos, capsys, tmp_path) -> None:
    """All eight EXIF orientations; the answers show the size after turning."""
    picture = Image.fromarray(photos["cat_small"])
    paths = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        paths.append(str(tmp_path / f"{orientation}.jpg"))
        picture.save(paths[-1], exif=exif, quality=98)
    found, wanted = documents(tool, ort_library, capsys, [str(golden / "cpp" / "foreign_plain.onnx"), *paths])
    sizes = [entry["image_size"] for entry in wanted["results"]]
    assert [entry["image_size"] for entry in found["results"]] == sizes
    assert len({tuple(size) for size in sizes}) == 2


def test_wrong_options(tool, run) -> None:
    for arguments in (["model.onnx"], ["--conf", "x", "m", "i"], ["--none", "m", "i"], ["m", "i", "--conf"]):
        done = subprocess.run([str(tool), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
    assert run([tool, "--help"]).startswith("deploykit-run MODEL IMAGE")
