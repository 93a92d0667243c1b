"""Files that are not golden answers: one clear error each, before anything large is allocated."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters import record as recording
from deploykit_exporters.golden import file as golden_file
from deploykit_exporters.golden.file import read_golden
from deploykit_exporters.record import record
from deploykit_runtimes.errors import OptionError
from torch import nn


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of a small network, on recipes and on a tensor."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    path = tmp_path_factory.mktemp("golden") / "golden.npz"
    return record(net, path, images=torch.rand(1, 3, 16, 16), labels=["a", "b"])


def rewritten(good: Path, path: Path, **arrays: np.ndarray) -> Path:
    """The file with some arrays replaced."""
    with np.load(good) as file:
        np.savez_compressed(path, **{**file, **arrays})
    return path


def described(good: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The file with its description changed."""
    with np.load(good) as file:
        meta = json.loads(file["golden"].tobytes())
    change(meta)
    return rewritten(good, path, golden=np.frombuffer(json.dumps(meta).encode(), np.uint8))


def test_a_good_file_is_read_without_torch_being_asked(good: Path) -> None:
    found = read_golden(good)
    assert found.labels == ("a", "b")
    assert [case.name for case in found.cases] == ["picture", "soft", "contrast", "noise", "batch"]
    assert golden_file._READS == recording.FORMAT
    assert not any(name in vars(golden_file) for name in ("torch", "record"))


def header(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    """An .npy file that claims a shape and has one number."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0\0\0\0"


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def pickled(path: Path) -> Path:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], object), allow_pickle=True)
    return archive(path, {"golden.npy": stream.getvalue()})


def truncated(good: Path, path: Path) -> Path:
    path.write_bytes(good.read_bytes()[:-100])
    return path


def corrupt(good: Path, path: Path) -> Path:
    content = bytearray(good.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    return path


def bomb(path: Path) -> Path:
    return archive(path, {f"case{n}.images.npy": bytes(1 << 26) for n in range(9)})


def deep(good: Path, path: Path) -> Path:
    return rewritten(good, path, golden=np.frombuffer(b"[" * 100_000, np.uint8))


def text(path: Path) -> Path:
    path.write_text("not a zip file")
    return path


WRITERS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "missing": (lambda good, path: path, "does not exist"),
    "a folder": (lambda good, path: path.parent, "does not exist"),
    "text": (lambda good, path: text(path), "not an .npz file"),
    "truncated": (truncated, "not an .npz file"),
    "a bit flipped": (corrupt, "cannot be used"),
    "pickled": (lambda good, path: pickled(path), "holds object"),
    "a zip of something else": (lambda good, path: archive(path, {"readme.txt": b"hello"}), "magic string"),
    "empty": (lambda good, path: archive(path, {}), "lacks 'golden'"),
    "other arrays": (lambda good, path: rewritten_alone(path), "lacks 'golden'"),
    "an absurd shape": (
        lambda good, path: archive(path, {"golden.npy": header("(1099511627776, 1024)")}),
        "claims the shape",
    ),
    "a negative shape": (
        lambda good, path: archive(path, {"golden.npy": header("(-1, -1)")}),
        "cannot be used",
    ),
    "a shape of texts": (
        lambda good, path: archive(path, {"golden.npy": header("('a',)")}),
        "cannot be used",
    ),
    "a header that never ends": (
        lambda good, path: archive(path, {"golden.npy": header("(1, '")}),
        "cannot be used",
    ),
    "a fortran array": (
        lambda good, path: archive(path, {"golden.npy": header("(1,)", order="True")}),
        "plain numbers",
    ),
    "a zip bomb": (lambda good, path: bomb(path), "more than"),
    "a small zip bomb": (
        lambda good, path: rewritten(good, path, more=np.zeros(20 << 20, np.float32)),
        r"more than 1024 arrays or 6\d MB",
    ),
    "a header of signs": (
        lambda good, path: archive(path, {"golden.npy": header("-" * 8000 + "1")}),
        "the header of golden.npy is damaged",
    ),
    "JSON of empty lists": (
        lambda good, path: rewritten(good, path, golden=np.frombuffer(b"[]," * 2_000_000, np.uint8)),
        "not a text",
    ),
    "too many arrays": (
        lambda good, path: archive(path, {f"{n}.npy": b"" for n in range(2000)}, zipfile.ZIP_STORED),
        "more than 1024 arrays",
    ),
    "no JSON": (lambda good, path: rewritten(good, path, golden=np.zeros(8, np.uint8)), "cannot be used"),
    "no UTF-8": (
        lambda good, path: rewritten(good, path, golden=np.full(8, 255, np.uint8)),
        "cannot be used",
    ),
    "deep JSON": (deep, "damaged"),
    "numbers for JSON": (lambda good, path: rewritten(good, path, golden=np.zeros(8)), "not a text"),
    "a list": (
        lambda good, path: rewritten(good, path, golden=np.frombuffer(b"[]", np.uint8)),
        "dict belongs",
    ),
}


def rewritten_alone(path: Path) -> Path:
    np.savez(path, weights=np.zeros(3, np.float32))
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_other_files_are_refused(name: str, good: Path, tmp_path: Path) -> None:
    write, says = WRITERS[name]
    with pytest.raises(OptionError, match=says) as caught:
        read_golden(write(good, tmp_path / "bad.npz"))
    assert caught.value.exit_code == 2
    assert caught.value.hint


def case(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda meta: meta["cases"][0].update(changes)


def recipe(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda meta: meta["cases"][0]["recipe"].update(changes)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a newer format": (lambda meta: meta.update(format=2), "has format 2, this version reads 1"),
    "no format": (lambda meta: meta.pop("format"), "lacks 'format'"),
    "a format that is text": (lambda meta: meta.update(format="1"), "'1' where int belongs"),
    "no cases": (lambda meta: meta.pop("cases"), "lacks 'cases'"),
    "an empty list of cases": (lambda meta: meta.update(cases=[]), "0 cases"),
    "many cases": (lambda meta: meta.update(cases=meta["cases"] * 20), "100 cases"),
    "labels that are numbers": (lambda meta: meta.update(labels=[1, 2]), "1 where str belongs"),
    "fingerprints that are none": (lambda meta: meta["weights"].update(x=[[1], 2.0]), "cannot be used"),
    "fingerprints beyond floats": (
        lambda meta: meta["weights"].update(x=[[1], 10**400, 1]),
        "cannot be used",
    ),
    "many fingerprints": (
        lambda meta: meta["weights"].update({str(n): [[1], 0, 0] for n in range(40_000)}),
        "the means of 400",
    ),
    "a recipe beyond floats": (recipe(low=10**400), "cannot be used"),
    "images that are huge": (recipe(shape=[1, 3, 1 << 20, 1 << 20]), "images of the shape"),
    "many images": (recipe(shape=[16384, 3, 512, 512]), "more than 512 MB of images"),
    "images that are large together": (
        lambda meta: [one["recipe"].update(shape=[1, 3, 4096, 4096]) for one in meta["cases"][:4]],
        "values of images together",
    ),
    "images of two axes": (recipe(shape=[3, 4]), "images of the shape"),
    "a recipe without a seed": (lambda meta: meta["cases"][0]["recipe"].pop("seed"), "lacks 'seed'"),
    "a recipe without a limit": (recipe(high=float("inf")), "goes from"),
    "a recipe of large numbers": (recipe(low=-1e30), "goes from"),
    "a name with control characters": (lambda meta: meta.update(model="\x1b[2J"), "has the name"),
    "an output without values": (
        lambda meta: meta["cases"][0]["outputs"].extend([{"name": "x", "shape": [1]}] * 3),
        "lacks 'case0.output",
    ),
    "no outputs": (case(outputs=[]), "0 outputs"),
    "an output of another shape": (
        lambda meta: meta["cases"][0]["outputs"][0].update(shape=[1, 1]),
        "has .* values",
    ),
    "a shape without end": (
        lambda meta: meta["cases"][0]["outputs"][0].update(shape=[1] * 99),
        "a shape is",
    ),
    "an unknown source": (lambda meta: meta["cases"][4].update(of="disk"), "of 'disk', which is not known"),
    "a picture that is not there": (
        lambda meta: meta["cases"][4].update(of="picture"),
        "lacks 'case4.pixels'",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_descriptions_that_make_no_sense_are_refused(name: str, good: Path, tmp_path: Path) -> None:
    change, says = CHANGES[name]
    with pytest.raises(OptionError, match=says):
        read_golden(described(good, tmp_path / "bad.npz", change))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"case4.images": np.full((1, 3, 16, 16), 60000, np.uint16)}, "outside its levels"),
        ({"case4.levels": np.zeros(3, np.float64)}, "outside its levels"),
        ({"case4.images": np.zeros((3, 16, 16), np.uint16)}, "images of the shape"),
        ({"case0.output0": np.zeros((1, 2), np.float32)}, "has .* values"),
        ({"case0.output0": np.zeros(2, np.float64)}, "has .* values"),
        ({"case0.output0": np.zeros(0, np.float32)}, "has .* values"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(
    arrays: dict[str, np.ndarray], says: str, good: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=says):
        read_golden(rewritten(good, tmp_path / "bad.npz", **arrays))
