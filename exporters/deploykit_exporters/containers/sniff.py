"""What kind of file this is, judged by its content; the extension only serves people."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Literal

from deploykit_runtimes.errors import CheckpointError

__all__ = ["Kind", "is_golden", "sniff"]

Kind = Literal["torch-zip", "pickle", "safetensors", "hdf5"]

_HEAD = 1024
_GOLDEN = "golden.npy"  # the description in what deploykit.record writes
_NOT_WEIGHTS = "Give the checkpoint that training saved (.pth, .pt, .ckpt, .safetensors, .h5)."
_TORCHSCRIPT = (
    "a TorchScript archive, which holds a program and not a training checkpoint",
    "Give the checkpoint that it was made from. Of OpenAI's CLIP files, which are such archives, save the "
    'weights: torch.save(clip.load(FILE, device="cpu")[0].state_dict(), "clip.pth").',
)
# What the first bytes of other files are, and what to do instead.
_OTHERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what, hint)
    for pattern, what, hint in (
        (
            rb"version https://git-lfs",
            "a git-lfs pointer, not the file itself",
            "Fetch the file with `git lfs pull`, or download it from the web page of the repository.",
        ),
        (
            rb"\s*<(!doctype|html|\?xml|head)",
            "a web page",
            "The download got a page instead of the file; use the link to the raw file.",
        ),
        (rb"\s*[{\[]\s*(\"|\{|\})", "a JSON document, which has no weights", _NOT_WEIGHTS),
        (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "a compressed archive", "Unpack it first."),
        (rb".{257}ustar", "a tar archive", "Unpack it, and give the checkpoint inside."),
        (
            rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]",
            "an ONNX model",
            "It needs no export: use it as it is.",
        ),
        (rb"ftrt", "a TensorRT engine", "Give the checkpoint that it was built from."),
        (rb".{4}TFL3", "a TensorFlow Lite model", "Give the checkpoint that it was converted from."),
        (rb"GGUF|lmgg|tjgg", "a GGML model", _NOT_WEIGHTS),
        (rb"\x93NUMPY", "a numpy array", _NOT_WEIGHTS),
        (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF|BM.{4}\0\0\0\0", "an image", _NOT_WEIGHTS),
    )
)


def is_golden(path: Path) -> bool:
    """Whether a file was written by ``deploykit.record``; it may still be unreadable."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _GOLDEN in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def sniff(path: Path) -> Kind:
    """Identify the container of a file.

    Raises:
        CheckpointError: the container is not supported; says what it is and what to do.
    """
    size = path.stat().st_size
    if size == 0:
        raise CheckpointError(
            f"{path.name} is empty.", hint="The copy or download failed; fetch the file again."
        )
    with path.open("rb") as file:
        head = file.read(_HEAD)
    # Before all others: the length of its header can begin with the mark of a pickle or an archive.
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head.startswith(b"PK"):
        return _sniff_zip(path)
    if re.match(rb"\x80[\x01-\x05]", head):
        return "pickle"
    if head[8:9] == b"{" and not _is_text(head[:8]):
        return "safetensors"
    for pattern, what, hint in _OTHERS:
        if pattern.match(head):
            raise _mistaken(path, what, hint)
    raise _mistaken(path, "plain text" if _is_text(head) else "a file of no known kind", _NOT_WEIGHTS)


def _sniff_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path.name} is the beginning of an archive, but not a whole one: {error}.",
            hint="The file is truncated or damaged; copy or download it again.",
        ) from error
    records = {name.partition("/")[2] or name for name in names}
    if "constants.pkl" in records or any(record.startswith("code/") for record in records):
        raise _mistaken(path, *_TORCHSCRIPT)
    if "data.pkl" in records or "data.pkl" in names:
        return "torch-zip"
    if "model.weights.h5" in names:
        what = "a Keras 3 archive, whose variables have numbers instead of names"
        raise _mistaken(path, what, 'Save it from Keras as HDF5: model.save("model.h5").')
    if any("exported_program" in name or "archive_format" in name for name in names):
        raise _mistaken(path, "an archive of torch.export", "Give the checkpoint that it was made from.")
    if _GOLDEN in names:
        raise _mistaken(
            path,
            "golden answers that deploykit.record wrote",
            "Give the checkpoint, and this file with --golden; `deploykit inspect FILE` shows what it holds.",
        )
    if names and all(name.endswith(".npy") for name in names):
        raise _mistaken(path, "a numpy archive", _NOT_WEIGHTS)
    listed = ", ".join(names[:3]) or "none"
    raise _mistaken(
        path, f"a zip archive of other files ({listed})", "Unpack it, and give the checkpoint inside."
    )


def _mistaken(path: Path, what: str, hint: str) -> CheckpointError:
    return CheckpointError(f"{path.name}: wanted a checkpoint, found {what}.", hint=hint)


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "replace").removesuffix("\ufffd")  # the head may end inside a character
    return "\ufffd" not in text and not re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text)
