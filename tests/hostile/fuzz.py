"""Damage honest files in random places and read them: python tests/hostile/fuzz.py [--count N] [READER ...]

Each reader gets an honest file, of which bytes are flipped, cut, repeated, exchanged or replaced by extreme
numbers; files in archives are damaged inside. What comes back must be a result, or one of our errors with the
reader's exit code. Children do the work in batches, so that a crash or a growth in memory is found, with the
seed that repeats it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[1] / "fixtures"
MEMORY_MB = 200
BATCH = 250
EXTREMES = (0, 1, -1, 127, 255, 2**15, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**62, 2**63 - 1)
TEXTS = (
    b"nan",
    b"1e400",
    b"-1",
    b"[]",
    b"{}",
    b"null",
    b'"',
    b"'",
    b"\\ud800",
    b"\x1b]0;a\x07",
    b"9" * 400,
    b"[" * 300,
)


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


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One to eight changes, mostly near each other."""
    data = bytearray(content)
    near = chance.randrange(len(data)) if data else 0
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = min(max(near + chance.randrange(-64, 65), 0), len(data)) if chance.random() < 0.7 else near
        kind = chance.randrange(7)
        length = chance.choice((1, 2, 4, 8, 16, 64, 300))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + length] = b""
        elif kind == 2:
            data[at:at] = data[at : at + length] * chance.choice((1, 2, 50))
        elif kind == 3:
            data[at : at + length] = bytes(chance.randrange(256) for _ in range(length))
        elif kind == 4:
            form = chance.choice(("<i", "<q", ">i", "<h"))
            value = chance.choice(EXTREMES) & ((1 << 8 * struct.calcsize(form)) - 1)
            data[at : at + struct.calcsize(form)] = struct.pack(form.upper(), value)
        elif kind == 5:
            data[at : at + chance.choice((0, 1, 4))] = chance.choice(TEXTS)
        elif chance.random() < 0.2:
            del data[at:]
        near = chance.randrange(len(data)) if data and chance.random() < 0.3 else near
    return bytes(data)


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
    from deploykit_runtimes.metadata import spec_to_metadata

    return json.dumps(spec_to_metadata(load_checkpoint(path, Hints()).built.spec))


def _labels(path: Path) -> object:
    from deploykit_exporters.labels import read_labels

    return read_labels(path)


def _config(path: Path) -> object:
    from deploykit_exporters.dialects.mm_config import parse_config
    from deploykit_exporters.options import read_config

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


@dataclass
class Tally:
    """What became of the damaged files of a reader."""

    read: int = 0
    refused: int = 0
    faults: list[str] = None  # type: ignore[assignment]
    slowest: float = 0.0
    growth_mb: int = 0


def _batch(reader: Reader, seeds: range, said: str, path: Path) -> Iterator[dict[str, Any]]:
    """In the child: one record per damaged file."""
    from deploykit_runtimes.errors import DeploykitError

    warnings.simplefilter("ignore")
    for seed in seeds:
        chance = random.Random(f"{said} {seed}")
        path.write_bytes(reader.repack(damaged(reader.content, chance)))
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        fault, refused = "", False
        try:
            reader.read(path)
        except DeploykitError as error:
            refused = True
            if error.exit_code != reader.exit_code:
                fault = f"exit code {error.exit_code}: {str(error)[:200]}"
        except Exception as error:  # noqa: BLE001 - what the fuzzer looks for
            fault = f"{type(error).__name__}: {str(error)[:200]}"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        if grown > MEMORY_MB:
            fault = fault or f"{grown} MB"
        yield {
            "seed": seed,
            "fault": fault,
            "refused": refused,
            "s": time.process_time() - started,
            "mb": grown,
        }


def fuzz(name: str, reader: Reader, *, count: int, seed: str, folder: Path) -> Tally:
    """Read ``count`` damaged files in children of this process."""
    tally = Tally(faults=[])
    for start in range(0, count, BATCH):
        seeds = range(start, min(start + BATCH, count))
        records = _in_child(reader, seeds, f"{name} {seed}", folder / f"damaged{reader.suffix}")
        for record in records:
            tally.refused += record["refused"]
            tally.read += not record["refused"]
            tally.slowest = max(tally.slowest, record["s"])
            tally.growth_mb = max(tally.growth_mb, record["mb"])
            if record["fault"]:
                tally.faults.append(f"seed {seed!r} number {record['seed']}: {record['fault']}")
        if len(records) < len(seeds):
            tally.faults.append(f"seed {seed!r} number {start + len(records)}: the process died")
    return tally


def _in_child(reader: Reader, seeds: range, said: str, path: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if child == 0:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
            for record in _batch(reader, seeds, said, path):
                os.write(told.fileno(), json.dumps(record).encode() + b"\n")
            os._exit(0)
        os.waitpid(child, 0)
        told.seek(0)
        return [json.loads(line) for line in told.read().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        made = readers(Path(folder))
        for name in arguments.names or list(made):
            started = time.time()
            tally = fuzz(name, made[name](), count=arguments.count, seed=arguments.seed, folder=Path(folder))
            print(  # noqa: T201
                f"{name}: {tally.read} read, {tally.refused} refused, {len(tally.faults)} faults, at most "
                f"{tally.growth_mb} MB, slowest {tally.slowest:.2f} s ({time.time() - started:.0f} s)",
                *tally.faults[:20],
                sep="\n    ",
                flush=True,
            )
            failed = failed or bool(tally.faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
