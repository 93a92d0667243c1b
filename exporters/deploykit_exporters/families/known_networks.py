"""Networks of timm and torchvision that deploykit does not read, known by names of their tensors.

``known_networks.json`` is written by ``tests/fixtures/make_known_networks.py``.
"""

from __future__ import annotations

import json
from collections.abc import Container
from functools import cache
from pathlib import Path
from typing import TypedDict, cast

__all__ = ["KnownNetwork", "known_network", "known_networks"]


class KnownNetwork(TypedDict):
    """What tells the networks of one class from all others of the libraries.

    Attributes:
        of: The libraries that have it.
        example: The name of a model, as the first of these libraries builds it.
        keys: Sets of names of tensors; a network that has all names of one set is of this class.
    """

    of: list[str]
    example: str
    keys: list[list[str]]


@cache
def known_networks() -> dict[str, KnownNetwork]:
    """All of them, by the name of their class."""
    text = Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    return cast("dict[str, KnownNetwork]", json.loads(text))


def known_network(tensors: Container[str]) -> str:
    """The class of a network, as it stands after "this is"; empty if it is not known.

    Args:
        tensors: The names of its tensors, as the library has them.
    """
    for name, network in known_networks().items():
        if any(all(key in tensors for key in keys) for keys in network["keys"]):
            owners = " or ".join(f"{library}'s" for library in network["of"])
            return f"{owners} {name}, such as {network['example']}"
    return ""
