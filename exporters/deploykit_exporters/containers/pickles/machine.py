"""The machine that a pickle runs on: its stack, its memory, and the stand-in for each name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from deploykit_exporters.containers.budget import Budget
from deploykit_exporters.containers.pickles.inert import (
    InertDict,
    InertInstance,
    InertList,
    InertObject,
    class_path,
    inert_class,
)
from deploykit_exporters.containers.pickles.rebuild import (
    ArrayType,
    NotPlainError,
    Rebuilder,
    set_array_state,
)

__all__ = ["MARK", "Machine", "PersistentLoad"]

MARK = object()
"""What MARK puts on the stack."""
PersistentLoad = Callable[[Any], Any]

_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_MAX_GLOBALS = 10_000
_MAX_PATH = 1_000
# Bytes of memory.
_ENTRY = 100
_STAND_IN = 250
_CLASS = 2000
_TENSOR = 1000
_METHODS = {dict: frozenset(dir(dict)), list: frozenset(dir(list)), object: frozenset[str]()}
_CONSTRUCTORS = ("copyreg.__newobj__", "copyreg.__newobj_ex__", "copyreg._reconstructor")


class Machine:
    """The stack machine of one pickle.

    Attributes:
        classes: The inert class of each global met.
        learnt: Globals that turned out to be containers, with their stand-ins.
    """

    def __init__(
        self,
        persistent_load: PersistentLoad | None,
        rebuilders: Mapping[str, Any],
        shapes: Mapping[str, type[InertObject]],
        budget: Budget,
    ) -> None:
        self.persistent_load = persistent_load
        self.rebuilders = rebuilders
        self.shapes = shapes
        self.classes: dict[str, type[InertObject]] = {}
        self.learnt: dict[str, type[InertObject]] = {}
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = budget

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise UnpicklingError("the pickle pops more than it pushed")
        return value

    def pop_mark(self) -> list[Any]:
        """Remove and return everything above the last mark, and remove the mark."""
        stack = self.stack
        for index in range(len(stack) - 1, -1, -1):
            if stack[index] is MARK:
                items = stack[index + 1 :]
                del stack[index:]
                return items
        raise UnpicklingError("the pickle has no mark where one is needed")

    def target(self) -> Any:
        """The object that an operation is about to change."""
        if not self.stack or self.stack[-1] is MARK:
            raise UnpicklingError("the pickle changes an object before it exists")
        return self.stack[-1]

    def find(self, module: str, name: str) -> Any:
        path = f"{_PYTHON_2.get(module, module)}.{name}"
        return self.rebuilders[path] if path in self.rebuilders else self.stand_in(path)

    def stand_in(self, path: str) -> type[InertObject]:
        if path not in self.classes:
            if len(self.classes) == _MAX_GLOBALS or len(path) > _MAX_PATH:
                raise UnpicklingError("the pickle names more globals than a checkpoint has")
            self.budget.spend(_CLASS)
            self.classes[path] = inert_class(path, self.shapes.get(path, InertInstance))
        return self.classes[path]

    def count_keys(self, keys: Collection[Any]) -> None:
        """Account for keys of a dictionary, or elements of a set, before they are added."""
        self.budget.spend(_ENTRY * len(keys))
        for key in keys:
            if type(key) is not str:
                self.budget.key(key)

    def call(self, function: Any, args: Any, kwargs: Any = None) -> Any:
        """The stand-in for ``function(*args, **kwargs)``."""
        if not isinstance(args, tuple) or not isinstance(kwargs, dict | None):
            raise UnpicklingError("the pickle gives arguments that are not a tuple")
        named = kwargs or {}
        if not all(isinstance(name, str) for name in named):
            raise UnpicklingError("the pickle gives arguments that have no names")
        self.budget.spend(_STAND_IN + sys.getsizeof(args) + sys.getsizeof(named))
        if isinstance(function, Rebuilder):
            return self.rebuild(function, args, named)
        path = _path(function)
        if path in _CONSTRUCTORS:
            return self.construct(path, *args)
        if path == "builtins.getattr" and len(args) > 1 and isinstance(args[1], str):
            return self.stand_in(f"{_path(args[0])}.{args[1]}")
        if not _is_inert_class(function):
            return self.stand_in(f"{path}.__call__")(*args, **named)
        stand_in = function(*args, **named)
        if isinstance(stand_in, InertDict | InertList) and len(args) == 1:
            self.extend(stand_in, args[0])
        return stand_in

    def rebuild(self, function: Rebuilder, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        for arg in args:  # a copy may be made of each
            self.budget.spend(sys.getsizeof(arg))
        try:
            value = function.run(self.budget, args, named)
        except NotPlainError:
            return self.stand_in(function.inert_path)(*args, **named)
        self.budget.spend(_TENSOR if isinstance(value, torch.Tensor) else sys.getsizeof(value))
        return value

    def construct(self, how: str, cls: Any, *rest: Any) -> Any:
        """The stand-in for a call of one of ``copyreg``'s constructors."""
        if how == "copyreg.__newobj_ex__":
            return self.call(cls, *rest)
        if how == "copyreg.__newobj__":
            return self.call(cls, rest)
        stand_in = self.call(cls, ())
        if len(rest) == 2 and isinstance(rest[1], dict | list) and rest[1]:
            self.extend(stand_in, rest[1])
        return stand_in

    def extend(self, target: Any, items: Any) -> None:
        """Add entries (given as a dict) or elements (a list, tuple or set) to a container."""
        self.budget.spend(sys.getsizeof(items))
        if isinstance(items, dict) or isinstance(target, set):
            self.count_keys(items)
        if isinstance(target, dict | set) and isinstance(target, dict) == isinstance(items, dict):
            target.update(items)
        elif isinstance(target, list) and isinstance(items, list | tuple | set | frozenset):
            target.extend(items)
        elif isinstance(target, InertObject):
            shape = InertDict if isinstance(items, dict) else InertList
            self.learnt.setdefault(class_path(target), shape)
        else:
            raise UnpicklingError(f"the pickle adds items to a {class_path(target)}")

    def build(self, state: Any) -> None:
        """Give the object on top of the stack its state."""
        target = self.target()
        if isinstance(target, InertObject):
            self.set_attributes(target, state)
        elif isinstance(target, ArrayType):
            if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
                target.order = state[1]
        elif isinstance(target, np.ndarray):
            self.budget.spend(sum(map(sys.getsizeof, state if isinstance(state, tuple) else ())))
            try:
                set_array_state(target, state)
            except NotPlainError:
                self.stack[-1] = self.stand_in("numpy.ndarray")(state)
        elif not isinstance(target, dict | torch.Tensor):  # attributes of these two say nothing
            raise UnpicklingError(f"the pickle sets the state of a {class_path(target)}")

    def set_attributes(self, target: InertObject, state: Any) -> None:
        """Set attributes, except any named like a method of a dictionary or list, which would replace the
        method.
        """
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        if not all(part is None or isinstance(part, dict) for part in parts):
            target.inert_state = state
            return
        methods = _METHODS[dict if isinstance(target, dict) else list if isinstance(target, list) else object]
        for part in parts:
            self.budget.spend(sys.getsizeof(part))  # the same state may be given to any number of objects
            vars(target).update(
                {
                    name: value
                    for name, value in dict.items(part or {})
                    if isinstance(name, str) and name not in methods
                }
            )


def _is_inert_class(obj: object) -> bool:
    return isinstance(obj, type) and issubclass(obj, InertObject)


def _path(obj: object) -> str:
    return obj.inert_path if isinstance(obj, Rebuilder) else class_path(obj)
