"""torch.save's files: every tensor as torch.load gives it, and no file that harms."""

from __future__ import annotations

import io
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.containers.torch_file import read_legacy, read_zip
from deploykit_runtimes.errors import CheckpointError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(obj: Any, path: Path, zipped: bool, protocol: int = 2) -> Path:
    torch.save(obj, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return path


def read(path: Path, zipped: bool) -> Any:
    return (read_zip if zipped else read_legacy)(path).value


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return (
        found.dtype == expected.dtype
        and found.shape == expected.shape
        and found.stride() == expected.stride()
        and torch.equal(found.contiguous().view(torch.uint8), expected.contiguous().view(torch.uint8))
        if expected.ndim
        else torch.equal(found, expected)
    )


@FORMS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_are_those_of_torch_load(zipped: bool, protocol: int, tmp_path: Path) -> None:
    base = torch.randn(4, 6)
    value = {
        "plain": base,
        "transposed": base.T,
        "slice": base[1:3, ::2],
        "offset": base[2],
        "expanded": base[:1].expand(5, 6),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(7),
        "parameter": nn.Parameter(torch.randn(3)),
        "channels_last": torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
        **{
            str(dtype): torch.arange(6).to(dtype)
            for dtype in (
                torch.float64,
                torch.float16,
                torch.bfloat16,
                torch.int64,
                torch.int32,
                torch.int16,
                torch.int8,
                torch.uint8,
                torch.bool,
                torch.complex64,
            )
        },
    }
    path = save(value, tmp_path / "tensors.pth", zipped, protocol)
    found, expected = read(path, zipped), torch.load(path, weights_only=False)
    assert list(found) == list(expected)
    assert [name for name in found if not same(found[name], expected[name].detach())] == []
    assert found["slice"].untyped_storage().data_ptr() == found["plain"].untyped_storage().data_ptr()


def test_eight_bit_floats_are_read(tmp_path: Path) -> None:
    value = {"w": torch.randn(8).to(torch.float8_e4m3fn)}
    found = read(save(value, tmp_path / "f8.pth", True), True)["w"]
    assert found.dtype == torch.float8_e4m3fn
    assert torch.equal(found.float(), value["w"].float())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3), nn.SiLU())
        self.register_buffer("anchors", torch.randn(2), persistent=False)
        self.register_buffer("grid", torch.randn(2))
        self.register_buffer("absent", None)
        self.scale = nn.Parameter(torch.randn(1))
        self.tied = self.features[0]
        self.names = {0: "cat"}


@FORMS
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code:UserWarning")
def test_a_whole_module_gives_its_state_dict(
    zipped: bool, tmp_path: Path, perturb: Callable[..., nn.Module]
) -> None:
    net = perturb(Net())
    checkpoint = read_checkpoint(save(net, tmp_path / "net.pt", zipped))
    expected = net.state_dict()
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.tensors[name], expected[name]) for name in expected)
    assert checkpoint.module.features._modules["1"].eps == 1e-3
    assert checkpoint.module.names == {0: "cat"}


@FORMS
def test_trust_reads_the_real_objects(zipped: bool, tmp_path: Path) -> None:
    path = save(Net(), tmp_path / "net.pt", zipped)
    trusted, inert = read_checkpoint(path, trust=True), read_checkpoint(path)
    assert type(trusted.module).__name__ == "Net"
    assert list(trusted.tensors) == list(inert.tensors)
    assert all(torch.equal(trusted.tensors[name], inert.tensors[name]) for name in inert.tensors)


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(3)}, tmp_path / "weights.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(tmp_path / "weights.pth").tensors["w"].tolist() == [1.0, 1.0, 1.0]


def test_trust_names_a_class_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(Net(), path)
    content = path.read_bytes()
    # The same length, so that no offset moves.
    path.write_bytes(content.replace(b"test_torch_file", b"test_torch_gone"))
    with pytest.raises(CheckpointError, match="cannot be unpickled"):
        read_checkpoint(path, trust=True)
    assert read_checkpoint(path).tensors


def test_a_plain_pickle_of_tensors_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    state = {"layer.weight": torch.randn(3, 2), "layer.bias": torch.randn(3)}
    path.write_bytes(pickle.dumps(state))
    checkpoint = read_checkpoint(path)
    assert all(torch.equal(checkpoint.tensors[name], state[name]) for name in state)


def test_a_repacked_archive_is_read(tmp_path: Path) -> None:
    """Compressed, and stored without torch's alignment."""
    state = {"w": torch.randn(1000), "v": torch.arange(5)}
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        other = tmp_path / f"packed{method}.pth"
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w", method) as target:
            for record in source.namelist():
                target.writestr(record, source.read(record))
        tensors = read_checkpoint(other).tensors
        assert all(torch.equal(tensors[name], state[name]) for name in state)


def rewrite(path: Path, change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED) -> Path:
    other = path.with_name(f"changed_{path.name}")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w", method) as target:
        for record in source.namelist():
            target.writestr(record, change(record, source.read(record)))
    return other


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.tensor([1.0, 2.0])}, path)

    def swap(name: str, content: bytes) -> bytes:
        if name.endswith("byteorder"):
            return b"big"
        return struct.pack(">2f", 1.0, 2.0) if name.endswith("data/0") else content

    assert read_checkpoint(rewrite(path, swap)).tensors["w"].tolist() == [1.0, 2.0]


def test_a_record_shorter_than_its_tensor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.randn(100)}, path)
    cut = rewrite(path, lambda name, content: content[:8] if name.endswith("data/0") else content)
    with pytest.raises(CheckpointError, match="fewer bytes"):
        read_checkpoint(cut)


@pytest.mark.parametrize(
    ("size", "stride", "match"),
    [
        ((2**40,), (1,), "its storage has"),
        ((2**40,), (0,), "repeats"),
        ((-1,), (1,), "sizes"),
        ((2,), (2**70,), "sizes"),
    ],
)
def test_a_tensor_larger_than_its_storage_is_refused(
    size: tuple[int], stride: tuple[int], match: str, tmp_path: Path
) -> None:
    class Claim:
        def __reduce__(self) -> Any:
            storage = torch.zeros(4)._typed_storage()  # type: ignore[no-untyped-call]
            return torch._utils._rebuild_tensor_v2, (storage, 0, size, stride, False, {})

    path = tmp_path / "claim.pth"
    torch.save({"w": Claim()}, path)
    with pytest.raises(CheckpointError, match=match):
        read_checkpoint(path)


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.zeros(1)}, path)
    zeros = bytes(4 << 20)
    bomb = rewrite(path, lambda name, content: zeros if "data/" in name else content, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="claims to hold"):
        read_checkpoint(bomb)


def test_a_legacy_file_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = save({"w": torch.zeros(7)}, tmp_path / "weights.pth", False)
    content = path.read_bytes()
    assert content.count(b"K\x07") >= 2  # the size of the storage and of the tensor
    path.write_bytes(content.replace(b"K\x07", b"J\x00\x00\x00\x7f"))
    with pytest.raises(CheckpointError, match="more bytes than the file has"):
        read_checkpoint(path)


def _small(zipped: bool) -> bytes:
    file = io.BytesIO()
    value = {"epoch": 3, "state_dict": {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3)}}
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


SMALL = {True: _small(True), False: _small(False)}


@FORMS
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_gives_one_clear_error(zipped: bool, data: st.DataObject) -> None:
    content = bytearray(SMALL[zipped])
    if data.draw(st.booleans(), label="truncate"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 8), label="flips")):
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        path.write_bytes(content)
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError:
            return
        assert sum(tensor.double().nan_to_num().sum() for tensor in checkpoint.tensors.values()) is not None
