"""Files of ``torch.save``: the zip form, and the older form of consecutive pickles.

Both are read here rather than by ``torch.load``, so that the pickle goes through the machine of
``unpickle.py`` and every offset and size that the file claims is checked against the file before
memory is touched. Tensors of the zip form are views of the mapped file.

The forms are described by ``torch/serialization.py`` and ``caffe2/serialize/inline_container.h``.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, cast

import torch
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.files import utf8_name
from deploykit_runtimes.text.printable import one_line

from deploykit_exporters.containers.budget import Budget, ExcessError, excess
from deploykit_exporters.containers.pickles.rebuild import REBUILDERS, Rebuilder, Storage, StorageType
from deploykit_exporters.containers.pickles.unpickle import Pickle, load_inert

__all__ = ["read_legacy", "read_trusted", "read_zip"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
# Weights hardly compress; an archive that claims more than this was made to fill the memory.
_MAX_EXPANSION = 20
_MAX_NESTED = 3
_LOAD = "torch.storage._load_from_bytes"
# What a malformed file can provoke in the standard library and in torch.
MALFORMED = (
    UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_zip(path: Path) -> Pickle:
    """Read the zip form (torch 1.6 and later).

    Raises:
        CheckpointError: the archive is truncated, damaged, or claims more than it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(path, archive).load()
    except MALFORMED as error:
        raise damaged(path, error) from error


def read_legacy(path: Path) -> Pickle:
    """Read the form of torch before 1.6, or a plain pickle.

    Raises:
        CheckpointError: the file is truncated or damaged.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _Legacy(_mapped(path, len(mapped))).load(cast(BinaryIO, mapped))
    except MALFORMED as error:
        raise damaged(path, error) from error


def read_trusted(path: Path) -> Any:
    """Read either form with the real classes, executing whatever the file asks for.

    Raises:
        CheckpointError: torch cannot read the file, or a class that it names is not installed.
    """
    try:
        with utf8_name(path) as name:
            return torch.load(name, map_location="cpu", weights_only=False)
    except (*MALFORMED, ImportError) as error:
        raise CheckpointError(
            f"{path.name} cannot be unpickled: {one_line(error)}",
            hint="Install the package that defines the named class, or leave out --trust.",
        ) from error


def damaged(path: Path, error: BaseException) -> CheckpointError:
    if isinstance(error, ExcessError):
        return excess(path.name, error, "Save the model's state_dict() alone.")
    if isinstance(error, QuantizedError):
        return CheckpointError(
            f"{path.name}: wanted a model in floating point, found a quantised one ({error}).",
            hint="Give the checkpoint of the model as it was before torch's quantisation (convert, "
            "quantize_dynamic).",
        )
    reason = str(error) or type(error).__name__
    return CheckpointError(
        f"{path.name} is not a complete checkpoint of torch.save: {reason}.",
        hint="The file is truncated or damaged; copy or download it again.",
    )


class QuantizedError(UnpicklingError):
    """The file has tensors with torch's quantised types."""


class _Archive:
    """An open file of the zip form: ``<root>/data.pkl`` and one record per storage."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.file = cast(BinaryIO, archive.fp)
        self.size = path.stat().st_size
        self.data = _mapped(path, self.size)
        self.storages: dict[str, torch.UntypedStorage] = {}
        _check_expansion(archive, self.size)
        self.root = next(
            (name.removesuffix("data.pkl") for name in archive.namelist() if _is_root(name)),
            None,
        )

    def load(self) -> Pickle:
        if self.root is None:
            raise UnpicklingError("the archive has no data.pkl")
        self.swap = self._optional("byteorder", sys.byteorder.encode()) != sys.byteorder.encode()
        content = self._bytes(self.archive.getinfo(f"{self.root}data.pkl"))
        nested = _Nested(Budget(self.size))
        return nested.load(io.BytesIO(content), self.storage)

    def storage(self, pid: Any) -> Storage:
        kind, storage_type, key, _location, numel = pid
        nbytes = _nbytes(kind, storage_type, numel)
        key = _key(key)
        if key not in self.storages:
            self.storages[key] = self._read(
                self.archive.getinfo(f"{self.root}data/{key}"), storage_type.dtype
            )
        if nbytes > self.storages[key].nbytes():
            raise UnpicklingError(f"storage {key} has fewer bytes than its {numel} elements need")
        return Storage(self.storages[key], storage_type.dtype)

    def _read(self, info: zipfile.ZipInfo, dtype: torch.dtype) -> torch.UntypedStorage:
        start = self._content_start(info)
        if info.compress_type == zipfile.ZIP_STORED and start % 8 == 0:
            storage = self.data[start : start + info.file_size]
        else:  # only archives that were packed again
            storage = _storage_of(self._bytes(info))
        if self.swap:
            storage = storage.clone()
            storage.byteswap(dtype)
        return cast(torch.UntypedStorage, storage)

    def _bytes(self, info: zipfile.ZipInfo) -> bytes:
        """The content. Its checksum is only checked if torch would check it: torch can be told not to write
        one.
        """
        if info.compress_type != zipfile.ZIP_STORED:
            with self.archive.open(
                info
            ) as record:  # read() alone would inflate beyond the claimed size first
                return record.read(info.file_size)
        self.file.seek(self._content_start(info))
        return self.file.read(info.file_size)

    def _content_start(self, info: zipfile.ZipInfo) -> int:
        """The start of the content: the local header may have another length than the central one says."""
        self.file.seek(info.header_offset)
        fields = _LOCAL_HEADER.unpack(self.file.read(_LOCAL_HEADER.size))
        if fields[0] != b"PK\x03\x04":
            raise UnpicklingError(f"{info.filename} has no header")
        start = info.header_offset + _LOCAL_HEADER.size + int(fields[-2]) + int(fields[-1])
        if start + info.compress_size > self.size:
            raise UnpicklingError(f"{info.filename} reaches beyond the end of the file")
        return start

    def _optional(self, name: str, default: bytes) -> bytes:
        try:
            return self._bytes(self.archive.getinfo(f"{self.root}{name}"))
        except KeyError:
            return default


class _Legacy:
    """A file of the older form: magic number, version, system, object, storage keys, storages."""

    def __init__(self, data: torch.UntypedStorage, nested: _Nested | None = None) -> None:
        self.data = data
        self.nested = nested or _Nested(Budget(data.nbytes()))
        self.claimed = 0
        self.storages: dict[str, torch.UntypedStorage] = {}
        self.item_sizes: dict[str, int] = {}

    def load(self, file: BinaryIO) -> Pickle:
        first = self.nested.load(file)
        if first.value != LEGACY_MAGIC:
            return first
        self.nested.load(file)
        system = self.nested.load(file).value
        if isinstance(system, dict) and not system.get("little_endian", True):
            raise UnpicklingError("it was written on a big-endian machine")
        pickle = self.nested.load(file, self.storage)
        last = self.nested.load(file)  # torch would run all five, so what any of them names counts
        keys = [_key(key) for key in last.value]
        for key in keys:
            self._fill(file, key)
        if len(set(keys)) < len(self.storages):
            raise UnpicklingError("some storages are missing")
        return Pickle(value=pickle.value, inert=last.inert)

    def storage(self, pid: Any) -> Any:
        if pid[0] == "module":  # a class with its source code, which is of no use here
            return pid[1]
        kind, storage_type, key, _location, numel, view = pid
        nbytes = _nbytes(kind, storage_type, numel)
        key = _key(key)
        if key not in self.storages:
            self.claimed += nbytes
            if self.claimed > self.data.nbytes():
                raise UnpicklingError("its tensors need more bytes than the file has")
            self.storages[key] = torch.empty(nbytes, dtype=torch.uint8).untyped_storage()
            self.item_sizes[key] = storage_type.dtype.itemsize
        storage = self.storages[key]
        if view is not None:
            _view_key, offset, length = view
            start = _nbytes(kind, storage_type, offset)
            storage = storage[start : start + _nbytes(kind, storage_type, length)]
        return Storage(storage, storage_type.dtype)

    def _fill(self, file: BinaryIO, key: str) -> None:
        storage = self.storages[key]
        (numel,) = struct.unpack("<q", file.read(8))
        start, length = file.tell(), storage.nbytes()
        if numel * self.item_sizes[key] != length or start + length > self.data.nbytes():
            raise UnpicklingError(f"storage {key} is cut off")
        if length:
            storage.copy_(self.data[start : start + length])
        file.seek(start + length)


def _key(key: Any) -> str:
    if not isinstance(key, str | int):
        raise UnpicklingError("a storage has a key that is not text")
    return str(key)


def _nbytes(kind: Any, storage_type: Any, numel: Any) -> int:
    if kind != "storage" or not isinstance(storage_type, StorageType):
        name = getattr(storage_type, "inert_path", type(storage_type).__name__)
        if re.fullmatch(r"torch\.QU?Int\w+Storage", name):
            raise QuantizedError(name)
        raise UnpicklingError(f"it has tensors of an unsupported kind ({name})")
    if type(numel) is not int or not 0 <= numel < 2**56:
        raise UnpicklingError("a storage has no size")
    return numel * storage_type.dtype.itemsize


class _Nested:
    """The pickles of one file: its own, and those nested in it as the content of other files
    (``torch.storage._load_from_bytes``). Globals named in any of them count for all.

    Args:
        budget: What is left of the budget for all of them.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.depth = 0
        self.inert: set[str] = set()
        self.rebuilders = {**REBUILDERS, _LOAD: Rebuilder(_LOAD, self._content)}

    def load(self, file: BinaryIO, storage: Callable[[Any], Any] | None = None) -> Pickle:
        pickle = load_inert(file, storage, rebuilders=self.rebuilders, budget=self.budget)
        self.inert.update(pickle.inert)
        return Pickle(value=pickle.value, inert=tuple(sorted(self.inert)))

    def _content(self, content: Any) -> Any:
        if not isinstance(content, bytes | bytearray):
            raise UnpicklingError("a storage has no content")
        self.budget.spend(2 * len(content))
        if self.depth == _MAX_NESTED:
            raise UnpicklingError("it has storages inside storages without end")
        self.depth += 1
        try:
            return _Legacy(_storage_of(content), self).load(io.BytesIO(content)).value
        finally:
            self.depth -= 1


def _storage_of(content: bytes | bytearray) -> torch.UntypedStorage:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage()


def _is_root(name: str) -> bool:
    """Whether this is the top folder with all records, named after the file when it was saved."""
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


def _check_expansion(archive: zipfile.ZipFile, size: int) -> None:
    records = archive.infolist()
    kinds = {record.compress_type for record in records}
    if not kinds <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UnpicklingError("the archive is packed in a way that torch does not use")
    expanded = sum(record.file_size for record in records)
    if any(r.file_size != r.compress_size for r in records if not r.compress_type):
        raise UnpicklingError("a record is stored in more or fewer bytes than it has")
    if expanded > size * (_MAX_EXPANSION if zipfile.ZIP_DEFLATED in kinds else 1):
        raise UnpicklingError(f"it claims to hold {expanded} bytes in a file of {size}")


def _mapped(path: Path, size: int) -> torch.UntypedStorage:
    with utf8_name(path) as name:
        return cast(torch.UntypedStorage, torch.UntypedStorage.from_file(name, False, size))
