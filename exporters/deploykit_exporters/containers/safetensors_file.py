"""Files in the safetensors format (https://github.com/huggingface/safetensors)."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.files import utf8_name
from safetensors import SafetensorError, safe_open

__all__ = ["read_safetensors"]

_MAX_HEADER = 100_000_000  # the form's own limit


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a file, and the text that its header carries.

    Raises:
        CheckpointError: the file is truncated, damaged, or claims more than it holds.
    """
    with path.open("rb") as file:
        (header,) = struct.unpack("<Q", file.read(8))
    if header > min(_MAX_HEADER, path.stat().st_size - 8):
        raise CheckpointError(
            f"{path.name} claims a header of {header} bytes, more than it can have.",
            hint="The file is truncated or damaged; copy or download it again.",
        )
    try:
        with utf8_name(path) as opened, safe_open(opened, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path.name} is not a complete safetensors file: {error}.",
            hint="The file is truncated or damaged; copy or download it again.",
        ) from error
