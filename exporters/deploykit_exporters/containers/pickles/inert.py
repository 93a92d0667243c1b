"""Inert stand-ins for the objects of a pickle, and ways to inspect them.

A pickle names classes and functions by ``module.name``. Here each such name becomes its own class, which
holds what the pickle gave it (arguments, attributes, items) and can do nothing. The stand-ins of
``torch.nn.Module`` objects keep the tree that ``nn.Module`` keeps (``_modules``, ``_parameters``,
``_buffers``), so a whole pickled network can be read without its source code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, ClassVar, Self

import numpy as np
import torch
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.budget import Holder

__all__ = [
    "InertDict",
    "InertInstance",
    "InertList",
    "InertObject",
    "children",
    "class_path",
    "inert_class",
    "is_module",
    "state_dict_of",
    "to_plain",
    "walk",
]

_RECORD = ("inert_args", "inert_kwargs", "inert_state")
_TREE = ("_parameters", "_buffers", "_modules")
# A shared sub-module is listed at each of its places, so a hostile file of n objects can describe
# 2**n places. Real networks have a few thousand.
_MAX_PLACES = 200_000
_MAX_DEPTH = 200


class InertObject(Holder):
    """Base of every stand-in; see ``inert_class``.

    Attributes:
        inert_path: ``module.qualname`` of the class or function that the pickle named.
        inert_args: Positional arguments of its construction or call.
        inert_kwargs: Keyword arguments of the same.
        inert_state: State given to it that is not a dictionary of attributes, or None.

    The attributes that the pickle set are plain attributes. As on ``nn.Module``, parameters,
    buffers and sub-modules can also be reached by their names.
    """

    __slots__ = ()
    inert_path: ClassVar[str] = ""
    inert_args: tuple[Any, ...]
    inert_kwargs: dict[str, Any]
    inert_state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        stand_in = super().__new__(cls)
        for name, value in zip(_RECORD, (args, kwargs, None), strict=True):
            setattr(stand_in, name, value)
        return stand_in

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Record the arguments of the construction, and do nothing else."""

    def inert_records(self) -> tuple[Any, ...]:
        return (*(getattr(self, name, None) for name in _RECORD), _attributes(self))

    def __repr__(self) -> str:
        return f"<inert {type(self).inert_path}>"

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            attributes = object.__getattribute__(self, "__dict__")
            for group in _TREE:
                members = attributes.get(group)
                if isinstance(members, dict) and name in members:
                    return members[name]
        raise AttributeError(f"{type(self).inert_path} holds no {name!r}.")


class InertInstance(InertObject):
    """A stand-in that only has attributes."""

    __slots__ = ("__dict__", *_RECORD)


class InertDict(InertObject, dict[Any, Any]):
    """A stand-in for an instance of a ``dict`` subclass (a yacs ``CfgNode``, an mmengine
    ``ConfigDict``): a real dictionary, whose entries are attributes too."""

    __slots__ = ("__dict__", *_RECORD)

    def __repr__(self) -> str:
        return f"<inert {type(self).inert_path} {dict.__repr__(self)}>"

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).inert_path} holds no {name!r}.") from None


class InertList(InertObject, list[Any]):
    """A stand-in for an instance of a ``list`` subclass: a real list."""

    __slots__ = ("__dict__", *_RECORD)

    def __repr__(self) -> str:
        return f"<inert {type(self).inert_path} {list.__repr__(self)}>"


def inert_class(path: str, base: type[InertObject] = InertInstance) -> type[InertObject]:
    """A new stand-in class for the global ``path`` (``"module.qualname"``)."""
    return type(path.rpartition(".")[2] or "inert", (base,), {"__slots__": (), "inert_path": path})


def class_path(obj: object) -> str:
    """``"ultralytics.nn.modules.conv.Conv"`` for a stand-in (or its class), and the true path for
    any other object."""
    cls = obj if isinstance(obj, type) else type(obj)
    if issubclass(cls, InertObject):
        return cls.inert_path
    return f"{cls.__module__}.{cls.__qualname__}"


def is_module(obj: object) -> bool:
    """Whether the object has the tree of a ``torch.nn.Module``."""
    attributes = _attributes(obj)
    return all(isinstance(attributes.get(group), dict) for group in _TREE)


def children(obj: object) -> dict[str, Any]:
    """The direct sub-modules by name, in order; empty for anything that is not a module."""
    if not is_module(obj):
        return {}
    return {str(name): child for name, child in _attributes(obj)["_modules"].items() if is_module(child)}


def walk(obj: object) -> Iterator[tuple[str, Any]]:
    """Every module of the tree with its dotted name, parents first, ``""`` being ``obj`` itself.

    A module that several parents share is listed once for each of its places.

    Raises:
        CheckpointError: the tree contains itself, or has more places than any network.
    """
    # Each entry carries the chain of its ancestors as nested pairs: (module, chain of the parent).
    pending: list[tuple[str, Any, Any]] = [("", obj, None)] if is_module(obj) else []
    places = 0
    while pending:
        name, module, ancestors = pending.pop()
        places += 1
        if places > _MAX_PLACES or _endless(ancestors, module):
            raise CheckpointError(
                "The pickled module tree has no end: a module contains itself or is repeated "
                f"more than {_MAX_PLACES} times.",
                hint="The file is damaged or hostile; save the model's state_dict() instead.",
            )
        yield name, module
        chain = (module, ancestors)
        pending.extend(
            (f"{name}.{child}" if name else child, submodule, chain)
            for child, submodule in reversed(children(module).items())
        )


def state_dict_of(obj: object) -> dict[str, torch.Tensor]:
    """The tensors of a pickled module under the names and in the order of ``state_dict()``:
    of each module the parameters, then the persistent buffers, then its sub-modules."""
    tensors: dict[str, torch.Tensor] = {}
    for prefix, module in walk(obj):
        attributes = _attributes(module)
        transient = attributes.get("_non_persistent_buffers_set")
        transient = transient if isinstance(transient, set | list | tuple) else ()
        own = dict(attributes["_parameters"])
        own.update((name, buffer) for name, buffer in attributes["_buffers"].items() if name not in transient)
        for name, tensor in own.items():
            if isinstance(tensor, torch.Tensor):
                tensors[f"{prefix}.{name}" if prefix else str(name)] = tensor.detach()
    return tensors


def to_plain(obj: object, *, max_items: int = 100_000) -> Any:
    """The object as None, bool, numbers, strings, lists and dictionaries with string keys, for JSON.

    Stand-ins become the dictionary of their attributes, or their path if they have none. Tensors and large
    arrays become a short description. Anything beyond ``max_items`` values or 50 levels, or inside itself,
    becomes ``"..."``.
    """
    return _Plain(max_items).convert(obj, ())


@dataclasses.dataclass
class _Plain:
    budget: int

    def convert(self, obj: Any, inside: tuple[int, ...]) -> Any:
        self.budget -= 1
        if self.budget < 0 or len(inside) > 50 or id(obj) in inside:
            return "..."
        if obj is None or isinstance(obj, bool | int | float | str):
            return obj
        inside = (*inside, id(obj))
        if isinstance(obj, Mapping):
            return {str(key): self.convert(value, inside) for key, value in obj.items()}
        if isinstance(obj, list | tuple | set | frozenset):
            return [self.convert(value, inside) for value in obj]
        return self._stand_in(obj, inside) if isinstance(obj, InertObject) else self._leaf(obj)

    def _stand_in(self, obj: InertObject, inside: tuple[int, ...]) -> Any:
        attributes = _attributes(obj)
        if attributes:
            return self.convert(attributes, inside)
        if len(obj.inert_args) == 1:  # an Enum member, a version, a date: what it was made from
            return self.convert(obj.inert_args[0], inside)
        return class_path(obj)

    def _leaf(self, obj: Any) -> Any:
        if isinstance(obj, np.generic):
            return str(obj) if obj.dtype.kind in "VmM" else self.convert(obj.item(), ())
        if isinstance(obj, np.ndarray):
            return obj.tolist() if obj.size <= 1000 else f"array {obj.dtype} {list(obj.shape)}"
        if isinstance(obj, torch.Tensor):
            return f"tensor {str(obj.dtype).removeprefix('torch.')} {list(obj.shape)}"
        if isinstance(obj, bytes | bytearray):
            return bytes(obj[:1000]).decode("utf-8", "replace")
        return str(obj) if isinstance(obj, PurePath | torch.dtype | complex) else class_path(obj)


def _attributes(obj: object) -> dict[str, Any]:
    try:
        attributes = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return {}
    return attributes if isinstance(attributes, dict) else {}


def _endless(ancestors: Any, module: object) -> bool:
    """Whether the module is among its own ancestors, or is nested deeper than in any network."""
    for _ in range(_MAX_DEPTH):
        if ancestors is None:
            return False
        owner, ancestors = ancestors
        if owner is module:
            return True
    return True
