"""Files that are not checkpoints are called by their name."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.containers.sniff import sniff
from deploykit_runtimes.errors import CheckpointError
from hypothesis import given, settings
from hypothesis import strategies as st

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name in names:
            target.writestr(name, "content")
    return file.getvalue()


def numpy_archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(2))
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as target:
        target.addfile(tarfile.TarInfo("model.pth"))
    return file.getvalue()


def onnx_model() -> bytes:
    graph = onnx.helper.make_graph([], "g", [], [])
    return bytes(onnx.helper.make_model(graph, producer_name="pytorch").SerializeToString())


MISTAKES = {
    "git-lfs": (LFS, "git-lfs pointer", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html><head>", "web page", "raw file"),
    "xml": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page", "raw file"),
    "json": (b'{"error": {"status": 404}}', "JSON", "checkpoint"),
    "text": (b"Entry not found", "plain text", "checkpoint"),
    "yaml": (b"nc: 80\nnames: [a]\n", "plain text", "checkpoint"),
    "gzip": (gzip.compress(b"x" * 100), "compressed archive", "Unpack"),
    "tar": (tar(), "tar archive", "Unpack"),
    "onnx": (onnx_model(), "ONNX model", "no export"),
    "tensorrt": (b"ftrt" + bytes(100), "TensorRT engine", "built from"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite", "converted from"),
    "npy": (b"\x93NUMPY\x01\0", "numpy array", "checkpoint"),
    "npz": (numpy_archive(), "numpy archive", "checkpoint"),
    "image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "an image", "checkpoint"),
    "zip": (archive("photos/a.jpg"), r"other files \(photos/a.jpg\)", "Unpack"),
    "empty zip": (archive(), r"other files \(none\)", "Unpack"),
    "keras 3": (archive("metadata.json", "config.json", "model.weights.h5"), "Keras 3 archive", "HDF5"),
    "torch.export": (archive("archive_format", "models/model.json"), "torch.export", "made from"),
    "cut zip": (archive("a/data.pkl", "a/data/0")[:60], "beginning of an archive", "truncated"),
    "noise": (bytes(range(128, 256)), "no known kind", "checkpoint"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake: str, tmp_path: Path) -> None:
    content, what, remedy = MISTAKES[mistake]
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=what) as caught:
        sniff(path)
    assert remedy in caught.value.hint
    assert "model.pth" in caught.value.problem


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "model.pth").touch()
    with pytest.raises(CheckpointError, match="empty"):
        sniff(tmp_path / "model.pth")


def test_torchscript(tmp_path: Path) -> None:
    content = archive("net/data.pkl", "net/constants.pkl", "net/code/__torch__.py")
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="TorchScript"):
        sniff(tmp_path / "net.pt")


@pytest.mark.parametrize("length", [0x0280, 0x4B50])
def test_a_safetensors_file_whose_header_has_the_length_of_a_mark(length: int, tmp_path: Path) -> None:
    """Read as bytes, these lengths are the beginning of a pickle and of a zip archive."""
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    path = tmp_path / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header + bytes(4))
    assert sniff(path) == "safetensors"
    assert list(read_checkpoint(path).tensors) == ["a"]


def test_the_extension_does_not_matter(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.save({"w": torch.ones(1)}, tmp_path / "a.safetensors")
    torch.save({"w": torch.ones(1)}, tmp_path / "b.h5", _use_new_zipfile_serialization=False)
    save_file({"w": torch.ones(1)}, tmp_path / "c.pth")
    (tmp_path / "d.bin").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert [sniff(path) for path in sorted(tmp_path.iterdir())] == [
        "torch-zip",
        "pickle",
        "safetensors",
        "hdf5",
    ]


@given(content=st.binary(max_size=64))
@settings(deadline=None)
def test_any_bytes_are_told_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any", numbered=True) / "file"
    path.write_bytes(content)
    try:
        sniff(path)
    except CheckpointError:
        return
