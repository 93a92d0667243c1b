"""Files that ask for memory, time or trust: about 1 MB each, written byte by byte.

``ATTACKS`` maps a name to a function that writes the file to a path and returns what is to be read.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

__all__ = ["ATTACKS"]

START = b"\x80\x02"
MARK, STOP, TUPLE, LIST, EMPTY_LIST, EMPTY_DICT, EMPTY_SET = b"(", b".", b"t", b"l", b"]", b"}", b"\x8f"
APPENDS, SETITEMS, REDUCE, POP, NONE, EMPTY_TUPLE = b"e", b"u", b"R", b"0", b"N", b")"
FIXTURES = Path(__file__).parents[1] / "fixtures"
PRIME = (1 << 61) - 1  # every multiple of it has the hash 0

Writer = Callable[[Path], Path]


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(content)) + content


def named(path: str) -> bytes:
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def content_of(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


STORAGE = MARK + text("storage") + named("torch.FloatStorage") + text("0") + text("cpu") + number(16) + b"tQ"


def tensor(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A tensor over the storage that lies in the memo's place 0."""
    axes = (MARK + b"".join(map(number, values)) + TUPLE for values in (size, stride))
    return named("torch._utils._rebuild_tensor_v2") + MARK + get(0) + number(0) + b"".join(axes) + b"\x89}tR"


def archive(pickle: bytes, *, method: int = zipfile.ZIP_STORED, filler: int = 0) -> Writer:
    """A file of torch.save around a pickle; ``filler`` bytes that do not compress justify a large one."""

    def write(path: Path) -> Path:
        with zipfile.ZipFile(path, "w") as target:
            target.writestr("a/data.pkl", START + pickle + STOP, method)
            target.writestr("a/version", "3\n")
            target.writestr("a/data/0", bytes(range(64)))
            if filler:
                target.writestr("a/data/1", os.urandom(filler))
        return path

    return write


def beside_weights(entry: bytes) -> Writer:
    """A checkpoint with honest weights, and one more entry."""
    weights = (
        STORAGE + put(0) + POP + EMPTY_DICT + MARK + text("conv.weight") + tensor((2, 2), (2, 1)) + SETITEMS
    )
    return archive(EMPTY_DICT + MARK + text("state_dict") + weights + text("args") + entry + SETITEMS)


def laughs(start: bytes, levels: int, first: int = 50) -> bytes:
    """A list ten times in a list, ten times in a list, ..."""
    content = EMPTY_LIST + MARK + start * 10 + APPENDS + put(first) + POP
    for level in range(first + 1, first + levels):
        content += EMPTY_LIST + MARK + get(level - 1) * 10 + APPENDS + put(level) + POP
    return content


def again(call: bytes) -> bytes:
    """As many calls of the memo's 1 with its 0 as fit into a megabyte."""
    step = get(1) + get(0) + call
    return EMPTY_LIST + MARK + step * (1_000_000 // len(step)) + APPENDS


def _pickles() -> dict[str, Writer]:
    nothing = MARK + NONE * 300_000 + TUPLE + put(0) + POP
    long = text("a" * 500_000) + put(0) + POP
    million = EMPTY_LIST + put(0) + MARK + NONE * 500_000 + APPENDS + POP
    call = {
        path: named(path) + put(1) + POP for path in ("builtins.set", "builtins.list", "n.F", "torch.device")
    }
    attributes = b"".join(text(f"k{index}") + NONE for index in range(60_000))
    state = EMPTY_DICT + put(0) + MARK + attributes + SETITEMS + POP + call["n.F"]
    objects = EMPTY_LIST + MARK + (get(1) + EMPTY_TUPLE + b"\x81" + get(0) + b"b") * 60_000 + APPENDS
    alike = [number(PRIME * index) for index in range(1, 60_000)]
    pairs = b"".join(number(-(2**40) * index) + number(index) + b"\x86" for index in range(60_000))
    deep = EMPTY_TUPLE + b"\x85" * 1_000_000
    key = laughs(text("A" * 40), 8)
    pid = MARK + text("storage") + named("torch.FloatStorage") + get(57) + text("cpu") + number(1) + b"tQ"
    sets = b"".join(MARK + b"".join(alike[:90]) + b"\x91" + put(index) + POP for index in range(2))
    of_sets = b"".join(get(index % 2) + alike[index] + b"\x86" + NONE for index in range(3700))
    call["pathlib.PosixPath"] = named("pathlib.PosixPath") + put(1) + POP
    numpy = (
        named("numpy.core.multiarray._reconstruct") + named("numpy.ndarray") + number(0) + b"\x85C\x01b\x87R"
    )

    def copied(function: bytes) -> Writer:
        return archive(million + function + again(b"\x85R"))

    return {
        "pairs that are copied": archive(
            million + named("collections.OrderedDict") + EMPTY_LIST + MARK + get(0) * 1500 + b"e\x85R"
        ),
        "storage key of lists in lists": archive(key + pid),
        "empty sets": archive(MARK + EMPTY_SET * 1_000_000 + LIST),
        "empty sets, deflated": archive(
            MARK + EMPTY_SET * 18_000_000 + LIST, method=zipfile.ZIP_DEFLATED, filler=950_000
        ),
        "empty dictionaries in the memo": archive(
            MARK + b"".join(EMPTY_DICT + put(index) for index in range(160_000)) + LIST
        ),
        "a list copied": copied(call["builtins.list"]),
        "a set made again": copied(call["builtins.set"]),
        "a call with a million arguments": archive(nothing + call["n.F"] + again(b"R")
        ),
        "a state given to many objects": archive(state + objects),
        "a state given again and again": archive(
            state + get(1) + EMPTY_TUPLE + b"\x81" + put(2) + (get(2) + get(0) + b"b" + POP) * 60_000
        ),
        "long texts joined": archive(long + call["torch.device"] + again(b"\x85R")
        ),
        "lists in lists": archive(laughs(text("ha"), 30) + get(79)),
        "lists in lists beside weights": beside_weights(laughs(text("ha"), 9) + get(58)),
        "texts in lists beside weights": beside_weights(
            text("a" * 100_000) + put(40) + POP + EMPTY_LIST + MARK + get(40) * 150_000 + APPENDS
        ),
        "keys with one hash": archive(EMPTY_DICT + MARK + b"".join(one + NONE for one in alike) + SETITEMS),
        "elements with one hash": archive(EMPTY_SET + MARK + b"".join(alike) + b"\x90"),
        "keys of tuples": archive(EMPTY_SET + MARK + pairs + b"\x90"),
        "keys of equal sets": archive(sets + EMPTY_DICT + MARK + of_sets + SETITEMS),
        "a path of a million steps": archive(
            text("a/" * 400_000) + put(0) + POP + call["pathlib.PosixPath"] + again(b"\x85R")
        ),
        "a list of a text's characters": archive(
            text("\u4e2d" * 300_000) + put(0) + POP + call["builtins.list"] + again(b"\x85R")
        ),
        "bytes of a number": archive(
            named("numpy.core.multiarray.scalar") + named("numpy.dtype") + text("u1") + b"\x85R"
            + number(1 << 50) + b"\x86R"
        ),
        "keys nested": archive(EMPTY_DICT + b"N" + b"2\x86" * 60 + number(1) + b"s"),
        "a million levels of tuples": archive(deep),
        "levels of dictionaries": archive(EMPTY_DICT + (text("m") + EMPTY_DICT) * 70_000 + b"s" * 70_000),
        "levels of modules": archive(
            (named("n.M") + b")\x81" + EMPTY_DICT + text("_modules") + EMPTY_DICT + text("m")) * 3000
            + NONE
            + b"ssb" * 3000
        ),
        "an integer of 8 million bits": archive(EMPTY_DICT + number(1 << 8_000_000) + b"Ns"),
        "digits": archive(b"L" + b"9" * 900_000 + b"L\n"),
        "halves of characters": beside_weights(text("\ud800" * 1000)),
        "stride 0, 500 times": archive(
            STORAGE
            + put(0)
            + POP
            + EMPTY_DICT
            + MARK
            + b"".join(text(f"l{index}.weight") + tensor((4096, 4096), (0, 0)) for index in range(500))
            + SETITEMS
        ),
        "empty tensors": archive(STORAGE + put(0) + POP + MARK + tensor((0,), (1,)) * 10_000 + LIST),
        "arrays of objects": archive(MARK + numpy * 10_000 + LIST),
        "classes": archive(MARK + b"".join(named(f"n.C{index}") for index in range(100_000)) + LIST),
        "an attribute named items": archive(
            EMPTY_DICT + text("state_dict") + named("yacs.CfgNode") + b")\x81" + MARK + text("a") + number(1)
            + b"u}" + text("items") + NONE + b"sbs"
        ),
        "a memo of four thousand million": archive(b"Nr\xff\xff\xff\xff"),
        "a text of an exabyte": archive(b"\x8d" + struct.pack("<Q", 2**60) + b"abc"),
        "commands for a shell": archive(named("os.system") + text("touch PWNED") + b"\x85R"),
        "commands for a terminal": archive(
            EMPTY_DICT + text("\x1b]52;c;cm0gLXJm\x07\x1b[2J") + number(1) + b"s"
        ),
    }  # fmt: skip


def nested(path: Path) -> Path:
    """Files of the older form inside each other, forty times each."""
    import torch

    inner = io.BytesIO()
    torch.save({"a": torch.zeros(60_000)}, inner, _use_new_zipfile_serialization=False)
    content = inner.getvalue()
    for _ in range(3):
        again = (get(1) + get(0) + b"\x85R") * 40
        setup = content_of(content) + put(0) + POP + named("torch.storage._load_from_bytes") + put(1) + POP
        content = START + setup + EMPTY_LIST + MARK + again + APPENDS + STOP
    path.write_bytes(content)
    return path


def overlapping(path: Path) -> Path:
    """A zip whose 1,000 records are all the same bytes."""
    archive(EMPTY_DICT, filler=500_000)(path)
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    start = struct.unpack("<I", content[end + 16 : end + 20])[0]
    directory = content[start:end]
    last = directory[directory.rindex(b"PK\x01\x02") :]
    path.write_bytes(
        content[:start]
        + directory
        + last * 1000
        + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1004, 1004, len(directory + last * 1000), start, 0)
    )
    return path


def inflating(path: Path) -> Path:
    """A record that claims 64 bytes, and inflates to 900 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = b"".join(packer.compress(bytes(1 << 20)) for _ in range(900)) + packer.flush()
    pickle = START + STORAGE + STOP
    records = ((b"a/data.pkl", 0, pickle, len(pickle)), (b"a/data/0", 8, content, 64))
    written, directory = b"", b""
    for name, method, data, size in records:
        sizes = (zlib.crc32(data), len(data), size, len(name))
        entry = struct.pack(
            "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, method, 0, 33, *sizes, *(0,) * 5, len(written)
        )
        directory += entry + name
        written += struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, method, 0, 33, *sizes, 0) + name + data
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(written), 0)
    path.write_bytes(written + directory + end)
    return path


def _hdf5(fill: Callable[[h5py.File], None]) -> Writer:
    def write(path: Path) -> Path:
        with h5py.File(path, "w", libver="latest") as file:
            file.attrs["layer_names"] = [b"conv"]
            layer = file.create_group("conv")
            layer.attrs["weight_names"] = [f"conv/kernel_{index}:0".encode() for index in range(40)]
            fill(file)
        return path

    return write


def _never_written(file: h5py.File) -> None:
    for index in range(40):
        file["conv"].create_dataset(f"conv/kernel_{index}:0", (4096, 4096), "f4", chunks=(64, 64))


def _compressed(file: h5py.File) -> None:
    for index in range(8):
        file["conv"].create_dataset(
            f"conv/kernel_{index}:0", data=np.zeros((4096, 4096), "f4"), compression="gzip"
        )


def _inflating(file: h5py.File) -> None:
    data = file["conv"].create_dataset("conv/kernel_0:0", (1024,), "f4", chunks=(1024,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(900 << 20), 9))


def _outside(file: h5py.File) -> None:
    del file["conv"]
    file["conv"] = h5py.ExternalLink("/etc/passwd", "/")


def _deep(file: h5py.File) -> None:
    group = file["conv"]
    for _ in range(3000):
        group = group.create_group("g")


def _long_text(path: Path) -> Path:
    """A text of any length that claims 2 GB; the library allocates them before it looks for the text."""
    with h5py.File(path, "w") as file:  # of the older form, which has no checksums
        file.attrs["layer_names"] = [b"conv"]
        names = np.array(["conv/kernel_0:0"] * 4, object)
        file.create_group("conv").attrs.create("weight_names", names, dtype=h5py.string_dtype("ascii"))
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    reference = content.index(struct.pack("<IQ", len("conv/kernel_0:0"), heap))
    content[reference : reference + 4] = struct.pack("<I", 0x7FFFFFFF)
    path.write_bytes(content)
    return path


def _mm(config: str) -> Writer:
    def write(path: Path) -> Path:
        import torch
        from deploykit_exporters.containers.read import read_checkpoint

        honest = read_checkpoint(FIXTURES / "mmpretrain_vit.pth")
        torch.save({"state_dict": dict(honest.tensors), "meta": {"cfg": config}}, path)
        return path

    return write


SHARED = "a = ['xxxxxxxxxx']\n" + "".join(
    f"a{level} = [{', '.join([f'a{level - 1}' if level else 'a'] * 10)}]\n" for level in range(9)
)


def _safetensors(header: dict[str, object], size: int) -> Writer:
    def write(path: Path) -> Path:
        encoded = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(size))
        return path

    return write


def _index(path: Path) -> Path:
    """A Hugging Face folder whose index is nested."""
    folder = path.with_suffix("")
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ' + "[" * 400_000)
    return folder


ATTACKS: dict[str, Writer] = {
    **_pickles(),
    "files in files in files": nested,
    "records that overlap": overlapping,
    "a record that inflates beyond its size": inflating,
    "hdf5: never written": _hdf5(_never_written),
    "hdf5: zeros, compressed": _hdf5(_compressed),
    "hdf5: a chunk that inflates": _hdf5(_inflating),
    "hdf5: groups in groups": _hdf5(_deep),
    "hdf5: a text that claims 2 GB": _long_text,
    "hdf5: a link to another file": _hdf5(_outside),
    "mmengine: lists in lists": _mm(
        SHARED + "model = dict(backbone=dict(type='VisionTransformer', arch=a8))"
    ),
    "mmengine: tuples as keys": _mm("a = (1, 1)\n" + "a = (a, a)\n" * 60 + "model = {a: 1}\n"),
    "mmengine: comparisons": _mm("model = 1" + "<1" * 450_000),
    "mmengine: lines": _mm("a\r" * 450_000),
    "mmengine: hexadecimal": _mm("model = 0x" + "f" * 900_000),
    "mmengine: brackets": _mm("model = " + "[" * 90 + "]" * 90 + "-" * 400_000 + "1"),
    "safetensors: a million minus signs": _safetensors(
        {"-" * 900_000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, 4
    ),
    "safetensors: a shape of exabytes": _safetensors(
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, 4
    ),
    "safetensors: 20,000 empty tensors": _safetensors(
        {f"l{i}.w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(15_000)}, 0
    ),
    "a folder whose index is nested": _index,
}
