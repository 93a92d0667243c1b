"""Honest files for the fuzzer: one for each reader, small, with what reads it."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

__all__ = ["Reader", "readers"]

FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True)
class Reader:
    """An honest content, how to damage it, and how to read it.

    Attributes:
        content: The honest file.
        read: Reads a path.
        exit_code: That of the errors it may raise.
        suffix: Of the file's name.
        repack: Writes damaged content back into the archive it came from.
    """

    content: bytes
    read: Callable[[Path], object]
    exit_code: int = 2
    suffix: str = ".pth"
    repack: Callable[[bytes], bytes] = bytes


def _vit(*, name: bool = False) -> dict[str, Any]:
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", depth=1, embed_dim=64, num_heads=1, num_classes=2, img_size=32
    )
    args = argparse.Namespace(model="vit_tiny_patch16_224", mean=[0.5] * 3, model_kwargs={"num_heads": 1})
    named = {"arch": "vit_tiny_patch16_224", "args": args} if name else {}  # which timm is asked for, slowly
    return {
        "epoch": 3,
        **named,
        "state_dict": model.state_dict(),
        "hyper_parameters": {"num_heads": 1, "lr": 0.1},
    }


def _saved(content: object, *, zipped: bool) -> bytes:
    import torch

    target = io.BytesIO()
    torch.save(content, target, _use_new_zipfile_serialization=zipped)
    return target.getvalue()


def _inside(archive: bytes, record: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The content of a record, and what writes the archive with another content for it."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        name = next(name for name in source.namelist() if name.endswith(record))
        records = {name: source.read(name) for name in source.namelist()}

    def repack(content: bytes) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as out:
            for other, old in records.items():
                out.writestr(other, content if other == name else old)
        return target.getvalue()

    return records[name], repack


def _checkpoint(path: Path) -> object:
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.load import load_checkpoint
    from deploykit_runtimes.contract.metadata import spec_to_metadata

    with _uninitialised():
        return json.dumps(spec_to_metadata(load_checkpoint(path, Hints()).built.spec))


@contextmanager
def _uninitialised() -> Iterator[None]:
    """Networks are built without first weights, whose making takes longer than all the rest."""
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    with ExitStack() as stack:
        for owner, name in (
            *((nn.init, name) for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")),
            (VisionTransformer, "init_weights"),
        ):
            stack.enter_context(patch.object(owner, name, _nothing))
        yield


def _nothing(*_arguments: object, **_options: object) -> None:
    """In place of a function that fills weights in place."""


def _labels(path: Path) -> object:
    from deploykit_exporters.containers.labels import read_labels

    return read_labels(path)


def _config(path: Path) -> object:
    from deploykit_exporters.families.shared.mm.config import parse_config
    from deploykit_exporters.option_values import read_config

    found = read_config(path)
    return parse_config(found["text"]) if "text" in found else found


def _model(path: Path) -> object:
    from deploykit.model_report import inspect_model

    return json.dumps(inspect_model(str(path)).to_dict(), default=str)


def _onnx(folder: Path) -> bytes:
    from deploykit_exporters.export import export
    from deploykit_exporters.options import ExportOptions

    source = folder / "vit.pth"
    source.write_bytes(_saved(_vit(), zipped=True))
    return export(source, ExportOptions(output=folder / "vit.onnx")).path.read_bytes()


def _metadata(model: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The metadata of a model as lines of key and value, and what writes them back."""
    import onnx

    graph = onnx.load_from_string(model)
    lines = [f"{entry.key}\t{entry.value}".encode() for entry in graph.metadata_props]

    def repack(content: bytes) -> bytes:
        del graph.metadata_props[:]
        for line in content.split(b"\n"):
            key, _, value = line.partition(b"\t")
            graph.metadata_props.add(
                key=key.decode("utf-8", "replace"), value=value.decode("utf-8", "replace")
            )
        return graph.SerializeToString()

    return b"\n".join(lines), repack


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
LABELS = "".join(f"{index}: name {index}\n" for index in range(40))


def readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """Each reader by its name, made when it is asked for."""

    def pickled(archive: bytes) -> Reader:
        content, repack = _inside(archive, "data.pkl")
        return Reader(content, _checkpoint, repack=repack)

    def metadata() -> Reader:
        content, repack = _metadata(_onnx(folder))
        return Reader(content, _model, 5, ".onnx", repack)

    def safetensors() -> Reader:
        from safetensors.torch import save

        return Reader(save(_vit()["state_dict"], {"format": "pt"}), _checkpoint, suffix=".safetensors")

    return {
        "torch zip": lambda: Reader(_saved(_vit(), zipped=True), _checkpoint),
        "torch zip, the pickle": lambda: pickled(_saved(_vit(name=True), zipped=True)),
        "torch legacy": lambda: Reader(_saved(_vit(), zipped=False), _checkpoint),
        "YOLOv5": lambda: pickled((FIXTURES / "yolov5_classify.pt").read_bytes()),
        "safetensors": safetensors,
        "hdf5": lambda: Reader(
            (FIXTURES / "keras_efficientnet_finetuned.h5").read_bytes(), _checkpoint, suffix=".h5"
        ),
        "ONNX metadata": metadata,
        "ONNX": lambda: Reader(_onnx(folder), _model, 5, ".onnx"),
        "labels .txt": lambda: Reader(LABELS.encode(), _labels, suffix=".txt"),
        "labels .json": lambda: Reader(json.dumps(["cat", "dog"] * 9).encode(), _labels, suffix=".json"),
        "labels .yaml": lambda: Reader(YAML.encode(), _labels, suffix=".yaml"),
        "config .py": lambda: Reader(CONFIG.encode(), _config, suffix=".py"),
        "config .yaml": lambda: Reader(YAML.encode(), _config, suffix=".yaml"),
    }
