"""What a model file may ask for: one table, which C++ has too and SECURITY.md explains.

A file that asks for more is refused before an engine sees it: ONNX Runtime takes more than a minute for some
of 10 MB, and the kernel ends the process for others of 1 KB.
"""

from __future__ import annotations

from deploykit_runtimes.errors import ModelError

__all__ = [
    "AXES",
    "CHANNELS",
    "ENTRIES",
    "FEED",
    "IMAGE",
    "INTEGER",
    "LITERAL",
    "MADE",
    "METADATA",
    "NAMES",
    "NESTING",
    "NODES",
    "PARTS",
    "PORTS",
    "SIDE",
    "STORED",
    "TENSOR",
    "TEXT",
    "VALUE",
    "ModelLimitError",
    "check_limit",
    "count_text",
]

METADATA = 16 << 20
"""Bytes of all metadata, keys and values."""
ENTRIES = 4096
"""Keys of the metadata."""
NAMES = 1_000_000
"""Names in one list of the metadata."""
VALUE = 65_536
"""Bytes of one value of the contract that is not a list of names."""
LITERAL = 1 << 20
"""Bytes of one value that is a Python literal, in files of Ultralytics."""
INTEGER = (1 << 31) - 1
"""Largest integer of the metadata, with either sign."""
TEXT = 64 << 20
"""Bytes of a model without its metadata, weights and attributes: names, comments."""
NODES = 32_768
"""Nodes, those of branches too, and those of functions once for each call."""
PARTS = 1 << 20
"""Fields of a file, as protocol buffers count them: names, sizes, attributes, each whole weight."""
STORED = 32_768
"""Weights and constants."""
PORTS = 256
"""Inputs of the graph, and outputs."""
AXES = 64
"""Axes of a tensor."""
NESTING = 32
"""Graphs in attributes and functions, one within another."""
MADE = 1 << 26
"""Values that a graph makes out of constants, beyond those that it stores."""
TENSOR = 1 << 31
"""Values of one tensor."""
SIDE = 16_384
"""Height or width of an image, in pixels, wherever the contract names one."""
CHANNELS = 65_536
"""Channels of a pixel, images of a fixed batch, keypoints, coefficients of a mask."""
IMAGE = 1 << 26
"""Values of one image in the shape that the contract gives it."""
FEED = 1 << 28
"""Values of a batch whose size the contract fixes, and pixels of an image resized before its crop."""


class ModelLimitError(ModelError):
    """A model file asks for more than the table allows; the engine is never asked."""


def check_limit(what: str, found: float, limit: int, where: str = "") -> None:
    """Refuse more than ``limit`` of something.

    Args:
        what: Nodes, for instance.
        found: How many there are, or how many were counted before the reader gave up.
        limit: How many there may be.
        where: What asks for them, and for how many.

    Raises:
        ModelLimitError: it is for the reader of the file to say which file.
    """
    if found > limit:
        raise ModelLimitError(f"more than {limit} {what}{where and ': '}{where}")


def count_text(count: float) -> str:
    """``17179869184``; ``2e+25`` where the digits say nothing."""
    return str(int(count)) if count < 1e15 else f"{count:.0e}"
