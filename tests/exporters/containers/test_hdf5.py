"""HDF5 files that claim more than they hold: refused, before the memory is touched."""

from __future__ import annotations

import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError

Writer = Callable[[h5py.File], None]
HUGE = (4096, 4096)  # 64 MB of float32


def keras(file: h5py.File, names: int = 1) -> h5py.Group:
    """The layout of Keras' weights, with a layer whose data sets are still to be written."""
    file.attrs["layer_names"] = [b"conv"]
    layer = file.create_group("conv")
    layer.attrs["weight_names"] = [f"conv/kernel_{index}:0".encode() for index in range(names)]
    return layer


def never_written(file: h5py.File) -> None:
    """Data sets of a default value: nothing of them is stored, each is 64 MB."""
    layer = keras(file, 40)
    for index in range(40):
        layer.create_dataset(f"conv/kernel_{index}:0", HUGE, "f4", chunks=(64, 64))


def compressed_zeros(file: h5py.File) -> None:
    layer = keras(file, 3)
    for index in range(3):
        layer.create_dataset(f"conv/kernel_{index}:0", data=np.zeros(HUGE, "f4"), compression="gzip")


def huge_chunk(file: h5py.File) -> None:
    """One number in a chunk of a gigabyte."""
    keras(file).create_dataset("conv/kernel_0:0", (1,), "f4", chunks=(1 << 28,), maxshape=(None,))


def inflating_chunk(file: h5py.File) -> None:
    """A chunk of 4 kB whose content inflates to 200 MB."""
    data = keras(file).create_dataset("conv/kernel_0:0", (1024,), "f4", chunks=(1024,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(200 << 20)))


def foreign_filter(file: h5py.File) -> None:
    keras(file).create_dataset("conv/kernel_0:0", data=np.ones(1000, "f4"), compression="lzf")


def outside(file: h5py.File) -> None:
    """A layer that is a link into another file."""
    with h5py.File(Path(file.filename).with_name("secret.h5"), "w") as other:
        other["conv/conv/kernel_0:0"] = np.ones(4, "f4")
        other["conv"].attrs["weight_names"] = [b"conv/kernel_0:0"]
    file.attrs["layer_names"] = [b"conv"]
    file["conv"] = h5py.ExternalLink("secret.h5", "/conv")


def whole_model_outside(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("secret.h5"), "w") as other:
        keras(other)["conv/kernel_0:0"] = np.ones(4, "f4")
    file["model_weights"] = h5py.ExternalLink("secret.h5", "/")


def numbers_elsewhere(file: h5py.File) -> None:
    (Path(file.filename).with_name("secret.bin")).write_bytes(bytes(16))
    keras(file).create_dataset("conv/kernel_0:0", (4,), "f4", external=[("secret.bin", 0, 16)])


def objects_in_attributes(file: h5py.File) -> None:
    keras(file)["conv/kernel_0:0"] = np.ones(4, "f4")
    file.attrs.create("backend", np.array([file["conv"].ref], h5py.ref_dtype))


BOMBS = {
    never_written: "claims bytes",
    compressed_zeros: "claims bytes",
    huge_chunk: "claims bytes",
    inflating_chunk: "inflates",
    foreign_filter: "compressed in a way",
    outside: "lists the layer conv, but does not hold it",
    whole_model_outside: "wanted the weights of a Keras model",
    numbers_elsewhere: "not a plain array",
    objects_in_attributes: "neither numbers nor text",
}


def refused(path: Path, match: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=match):
        read_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.parametrize(("write", "match"), BOMBS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_claims_are_refused(write: Writer, match: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        write(file)
    refused(tmp_path / "bomb.h5", match)


def test_one_long_text_named_thousands_of_times_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file.attrs["long"] = "a" * 900_000
        file.attrs.create("layer_names", ["n" * 7] * 3000, dtype=h5py.string_dtype())
    content = path.read_bytes()
    at = content.index(struct.pack("<I", 900_000))
    long = content[at : at + 16]
    start = content.index(struct.pack("<I", 7), at + 16 if content.find(struct.pack("<I", 7)) < at else 0)
    while content[start + 16 : start + 20] != struct.pack("<I", 7):
        start = content.index(struct.pack("<I", 7), start + 1)
    path.write_bytes(content[:start] + long + content[start + 16 :])
    with h5py.File(path, "r") as file:  # which reads all of an attribute: one of its texts is enough
        assert len(file.attrs["layer_names"][0]) == 900_000
    path.write_bytes(content[:start] + long * 3000 + content[start + 48_000 :])
    refused(path, "'layer_names' claims bytes")


def test_a_claimed_shape_of_an_attribute_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shape.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"a" * 11] * 1234)
    content = path.read_bytes()
    assert content.count(struct.pack("<Q", 1234)) >= 1
    path.write_bytes(content.replace(struct.pack("<Q", 1234), struct.pack("<Q", 1 << 36)))
    refused(path, "layer_names|complete HDF5")


def test_honest_compressed_weights_are_read(tmp_path: Path) -> None:
    kernel = np.arange(70_000, dtype="f4").reshape(700, 100)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layer = keras(file, 2)
        layer.create_dataset(
            "conv/kernel_0:0", data=kernel, compression="gzip", shuffle=True, fletcher32=True
        )
        layer.create_dataset("conv/kernel_1:0", data=kernel, chunks=(64, 64))
    tensors = read_checkpoint(tmp_path / "a.h5").tensors
    assert len(tensors) == 2
    assert all(np.array_equal(tensor.numpy(), kernel) for tensor in tensors.values())
