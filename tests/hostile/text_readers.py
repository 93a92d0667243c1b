"""Honest texts for the fuzzer: class names, settings beside weights, and files of other libraries."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from reading import FIXTURES, Reader, inside, inspected, loaded, saved, vit

__all__ = ["text_readers"]

CONFIG = """model = dict(type='ImageClassifier', backbone=dict(type='VisionTransformer', arch='b'))
norm = dict(mean=[123.675, 116.28, 103.53], std=[58.4, 57.1, 57.4], to_rgb=True)
test_pipeline = [dict(type='Resize', scale=(224, 224)), dict(type='CenterCrop', crop_size=224), norm]
"""
YAML = """nc: 3
names:
  0: cat
  1: dog
  2: bird
scales: &a [1, 2, 3]
again: *a
run: {lr: 1e-3, steps: 1_000}
"""
ARGS = """model: vit_tiny_patch16_224
model_kwargs: {depth: 1, embed_dim: 64, num_heads: 1}
num_classes: 2
img_size: 32
input_size: [3, 32, 32]
mean: [0.485, 0.456, 0.406]
std: [0.229, 0.224, 0.225]
interpolation: bicubic
crop_pct: 0.9
train_interpolation: random
drop: 0.0
smoothing: 0.1
"""
LABELS = "".join(f"{index}: name {index}\n" for index in range(40))
CSV = "id,name\n" + "".join(f'{index},"name {index}"\n' for index in range(20))
PBTXT = "".join(f"item {{\n  id: {index + 1}\n  name: 'name {index}'\n}}\n" for index in range(20))
COCO = {"categories": [{"id": index, "name": f"name {index}", "supercategory": "x"} for index in range(20)]}
KERAS = {str(index): [f"n{index:08}", f"name_{index}"] for index in range(20)}
ENGINE = {
    "description": "Ultralytics YOLO11n model",
    "stride": 32,
    "task": "pose",
    "batch": 1,
    "imgsz": [640, 640],
    "names": {"0": "person", "1": "dog"},
    "kpt_shape": [17, 3],
    "args": {"dynamic": False, "half": True, "nms": False},
    "channels": 3,
}


def _labels(path: Path) -> object:
    from deploykit_exporters.containers.labels import read_labels

    return read_labels(path)


def _config(path: Path) -> object:
    from deploykit_exporters.families.shared.mm.config import parse_config
    from deploykit_exporters.option_values import read_config

    found = read_config(path)
    return parse_config(found["text"]) if "text" in found else found


def _golden(path: Path) -> object:
    from deploykit_exporters.golden.file import read_golden

    return read_golden(path)


def _args(folder: Path) -> Reader:
    """The args.yaml of a training of timm, given for a state dict."""
    weights = folder / "vit_args.pth"
    weights.write_bytes(saved(vit()["state_dict"], zipped=True))
    return Reader(ARGS.encode(), lambda path: loaded(weights, config=path), suffix=".yaml")


def _mm() -> Reader:
    """The configuration of a training of mmpretrain, given for its weights."""
    from deploykit_exporters.containers.read import read_checkpoint

    weights = FIXTURES / "mmpretrain_vit.pth"
    content = read_checkpoint(weights).meta["meta"]["cfg"].encode()
    return Reader(content, lambda path: loaded(weights, config=path), suffix=".py")


def _beside(folder: Path, name: str) -> Reader:
    """A text of a folder of Hugging Face, the others being honest."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    home = folder / f"hugging_{name}"
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32
    )
    ViTForImageClassification(config).save_pretrained(home, max_shard_size="20KB")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(home)
    content = (home / name).read_bytes()

    def read(path: Path) -> object:
        shutil.copyfile(path, home / name)
        return loaded(home)

    return Reader(content, read, suffix=".json")


def _recorded(folder: Path) -> Reader:
    from deploykit_exporters.record import record
    from torch import nn

    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    path = record(model, folder / "golden.npz", size=32, labels=["cat", "dog"])
    content, repack = inside(path.read_bytes(), "golden.npy")
    return Reader(content, _golden, suffix=".npz", repack=repack)


def _engine() -> Reader:
    text = json.dumps(ENGINE).encode()
    return Reader(struct.pack("<I", len(text)) + text + bytes(64), inspected, 5, ".engine")


def text_readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """Each reader by its name, made when it is asked for."""

    def labels(content: str | bytes | object, suffix: str) -> Callable[[], Reader]:
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        return lambda: Reader(text if isinstance(text, bytes) else text.encode(), _labels, suffix=suffix)

    return {
        "labels .txt": labels(LABELS, ".txt"),
        "labels .txt, UTF-16": labels(LABELS.encode("utf-16"), ".txt"),
        "labels .txt, a dictionary": labels(str({index: f"name {index}" for index in range(20)}), ".txt"),
        "labels .csv": labels(CSV, ".csv"),
        "labels .pbtxt": labels(PBTXT, ".pbtxt"),
        "labels .json": labels(["cat", "dog"] * 9, ".json"),
        "labels .json, COCO": labels(COCO, ".json"),
        "labels .json, Keras": labels(KERAS, ".json"),
        "labels .yaml": labels(YAML, ".yaml"),
        "config .py": lambda: Reader(CONFIG.encode(), _config, suffix=".py"),
        "config .yaml": lambda: Reader(YAML.encode(), _config, suffix=".yaml"),
        "config .json": lambda: Reader(json.dumps(ENGINE).encode(), _config, suffix=".json"),
        "timm's args.yaml": lambda: _args(folder),
        "mmpretrain's config": _mm,
        "config.json": lambda: _beside(folder, "config.json"),
        "preprocessor_config.json": lambda: _beside(folder, "preprocessor_config.json"),
        "model.safetensors.index.json": lambda: _beside(folder, "model.safetensors.index.json"),
        "golden.npz": lambda: _recorded(folder),
        "Ultralytics' .engine": _engine,
    }
