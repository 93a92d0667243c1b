"""Settings of a checkpoint replaced by what no training writes: each is refused by a clear error, or read.

Every origin's file is made with its own code or fixtures. A walk over everything that the file gives beside
its weights (configurations, arguments, labels, attributes of pickled modules, processor files) finds the
places; a seed chooses which are forged, and how. ``DEPLOYKIT_FORGERIES=20000 pytest ...`` tries more.
"""

from __future__ import annotations

import copy
import json
import math
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import InertInstance, InertObject
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.load import build_checkpoint
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.errors import DeploykitError

FIXTURES = Path(__file__).parents[1] / "fixtures"
SEED = int(os.environ.get("DEPLOYKIT_SEED", "20261129"))
COUNT = int(os.environ.get("DEPLOYKIT_FORGERIES", "40"))
Place = tuple[Any, ...]

FORGERIES: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 2**31,
    lambda: 2**70,
    lambda: 1e400,
    lambda: math.nan,
    lambda: -0.5,
    lambda: "",
    lambda: "-" * 1_000_000,
    lambda: "9" * 5000,
    lambda: "\x1b]0;title\x07",
    lambda: "{0.__class__}%s\n../../x",
    lambda: b"\xff\xfe",
    list,
    dict,
    lambda: [[]],
    lambda: {"items": None, 3: None, (1, 2): "x"},
    lambda: [None] * 50_000,
    lambda: (1, 2, 3, 4, 5),
    lambda: {str(index): index for index in range(3)},
    lambda: torch.zeros(3),
    lambda: torch.zeros(0, dtype=torch.complex64),
    lambda: np.float64("nan"),
    lambda: np.zeros(3),
    lambda: InertInstance(1),
    lambda: complex(1, 2),
)


def places(value: Any, at: Place = (), seen: frozenset[int] = frozenset()) -> Iterator[Place]:
    """Where a value can be replaced: entries of dictionaries and lists, attributes of stand-ins."""
    if id(value) in seen or len(at) > 12:
        return
    seen = seen | {id(value)}
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        entries += dict.items(value)
    elif isinstance(value, list):
        entries += enumerate(value[:12])
    if isinstance(value, InertObject):
        entries += [(("attribute", name), entry) for name, entry in vars(value).items()]
    for key, entry in entries:
        yield (*at, key)
        yield from places(entry, (*at, key), seen)


def put(root: Any, place: Place, value: Any) -> None:
    *way, last = place
    for key in way:
        root = vars(root)[key[1]] if isinstance(key, tuple) and key[0] == "attribute" else root[key]
    if isinstance(last, tuple) and last[0] == "attribute":
        vars(root)[last[1]] = value
    else:
        root[last] = value


def forged(checkpoint: Checkpoint, place: Place, value: Any) -> Checkpoint:
    """A copy whose tensors are shared, with one value replaced."""
    tensors = {id(tensor): tensor for tensor in _tensors(checkpoint)}
    root = copy.deepcopy({"meta": dict(checkpoint.meta), "module": checkpoint.module}, tensors)
    put(root, place, value)
    return replace(checkpoint, **root)


def _tensors(checkpoint: Checkpoint) -> Iterator[torch.Tensor]:
    pending: list[Any] = [dict(checkpoint.meta), checkpoint.module, dict(checkpoint.tensors)]
    seen = set()
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            pending += dict.values(value)
        elif isinstance(value, list | tuple):
            pending += value
        if isinstance(value, InertObject):
            pending += vars(value).values()


def timm_hub(folder: Path) -> Path:
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2, embed_dim=48, img_size=64)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 3,
        "num_features": 48,
        "global_pool": "token",
        "model_args": {"depth": 2, "embed_dim": 48, "img_size": 64},
        "label_names": ["a", "b", "c"],
        "label_descriptions": {"a": "A", "b": "B", "c": "C"},
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def timm_train(folder: Path) -> Path:
    import argparse

    import timm

    model = timm.create_model("efficientnet_b0", num_classes=3)
    args = argparse.Namespace(
        model="efficientnet_b0", num_classes=3, gp=None, img_size=64, mean=None, std=None, model_kwargs={}
    )
    content = {"epoch": 3, "arch": "efficientnet_b0", "state_dict": model.state_dict(), "args": args}
    torch.save({**content, "metric": 0.9, "optimizer": {"state": {}}}, folder / "a.pth.tar")
    return folder / "a.pth.tar"


def transformers_vit(folder: Path) -> Path:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32
    )
    config.id2label, config.label2id = {0: "a", 1: "b"}, {"a": 0, "b": 1}
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def lightning(folder: Path) -> Path:
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=3)
    content = {
        "epoch": 1,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()},
        "hyper_parameters": {"lr": 1e-3, "num_classes": 3, "model": {"name": "vit"}, "image_size": 32},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "loops": {"fit_loop": {"state_dict": {}}},
    }
    torch.save(content, folder / "a.ckpt")
    return folder / "a.ckpt"


def pickled_efficientnet(folder: Path) -> Path:
    import timm

    torch.save(timm.create_model("efficientnet_b0", num_classes=3), folder / "a.pt")
    return folder / "a.pt"


def ultralytics(folder: Path) -> Path:
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolo11n.yaml", nc=3, verbose=False)
    model.args = {"imgsz": 64, "task": "detect"}
    model.names = {0: "a", 1: "b", 2: "c"}
    content = {"ema": model.half(), "train_args": {"imgsz": 64, "task": "detect"}, "version": "8.4.0"}
    torch.save({**content, "date": "2026-01-01", "license": "AGPL", "epoch": -1}, folder / "a.pt")
    return folder / "a.pt"


def fixture(name: str) -> Callable[[Path], Path]:
    return lambda _: FIXTURES / name


ORIGINS = {
    "timm hub": timm_hub,
    "timm training": timm_train,
    "transformers": transformers_vit,
    "Lightning": lightning,
    "timm pickled": pickled_efficientnet,
    "Ultralytics": ultralytics,
    "mmpretrain ViT": fixture("mmpretrain_vit.pth"),
    "YOLOv5": fixture("yolov5_detect.pt"),
    "YOLOv5 classifier": fixture("yolov5_classify.pt"),
    "YOLOX": fixture("yolox_plain.pth"),
    "Keras": fixture("keras_efficientnet_finetuned.h5"),
}


@pytest.fixture(scope="module", params=ORIGINS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    torch.manual_seed(0)
    return read_checkpoint(ORIGINS[request.param](tmp_path_factory.mktemp("origin")))


def test_forged_settings_are_read_or_refused(checkpoint: Checkpoint) -> None:
    """Whatever is built can also be written; the seed is printed with a failure."""
    found = list(places({"meta": dict(checkpoint.meta), "module": checkpoint.module}))[2:]
    assert found
    chance = random.Random(f"{SEED} {checkpoint.path.name}")
    refused = 0
    for _ in range(COUNT):
        place, make = chance.choice(found), chance.choice(FORGERIES)
        said = f"seed {SEED}: {checkpoint.path.name} {place} = {make()!r:.60}"
        try:
            built = build_checkpoint(forged(checkpoint, place, make()), Hints()).built
            json.dumps(spec_to_metadata(built.spec))
        except DeploykitError as error:
            refused += 1
            assert error.exit_code == 2, said
        except Exception as error:
            raise AssertionError(said) from error
