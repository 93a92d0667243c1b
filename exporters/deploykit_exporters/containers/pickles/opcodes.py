"""The effect of each pickle operation on the machine of ``machine.py``.

The operations are documented in ``pickletools``. The extension registry (EXT1, EXT2, EXT4), which is a
second way to name globals, and out-of-band buffers are not implemented.
"""

from __future__ import annotations

from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

from deploykit_exporters.containers.budget import check_integer
from deploykit_exporters.containers.pickles.machine import MARK, Machine

__all__ = ["COSTS", "OPERATIONS"]


def _entries(machine: Machine, items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise UnpicklingError("the pickle has a key without a value")
    machine.count_keys(items[::2])
    return dict(zip(items[::2], items[1::2], strict=True))


def _set_items(machine: Machine, items: list[Any]) -> None:
    machine.extend(machine.target(), _entries(machine, items))


def _append_items(machine: Machine, items: list[Any]) -> None:
    machine.extend(machine.target(), items)


def _push(value: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value())


def _push_argument(machine: Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _push_integer(machine: Machine, argument: int) -> None:
    machine.stack.append(check_integer(argument))


def _push_text(machine: Machine, argument: str) -> None:
    """Push a text, unless it has lone surrogates, which pickles can hold but no program can write."""
    if not argument.isascii():
        argument = argument.encode("utf-8", "replace").decode("utf-8")
    machine.stack.append(argument)


def _collect(build: Callable[[Machine, list[Any]], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(build(machine, machine.pop_mark()))


def _frozen(machine: Machine, items: list[Any]) -> frozenset[Any]:
    machine.count_keys(items)
    return frozenset(items)


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    def operation(machine: Machine, _: Any) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return operation


def _set_item(machine: Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _pop(machine: Machine, _: Any) -> None:
    machine.stack.pop()  # a mark may be popped


def _duplicate(machine: Machine, _: Any) -> None:
    machine.stack.append(machine.target())


def _get(machine: Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _put(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.target()


def _memoize(machine: Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.target()


def _global(machine: Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.find(module, name))


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not (isinstance(name, str) and isinstance(module, str)):
        raise UnpicklingError("the pickle names a global by something that is not text")
    machine.stack.append(machine.find(module, name))


def _instance(machine: Machine, argument: str) -> None:
    args = tuple(machine.pop_mark())
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.call(machine.find(module, name), args))


def _object(machine: Machine, _: Any) -> None:
    cls, *args = machine.pop_mark()
    machine.stack.append(machine.call(cls, tuple(args)))


def _reduce(machine: Machine, _: Any) -> None:
    args, function = machine.pop(), machine.pop()
    machine.stack.append(machine.call(function, args))


def _reduce_named(machine: Machine, _: Any) -> None:
    kwargs, args, cls = machine.pop(), machine.pop(), machine.pop()
    machine.stack.append(machine.call(cls, args, kwargs))


def _build(machine: Machine, _: Any) -> None:
    machine.build(machine.pop())


def _persistent(machine: Machine, pid: Any) -> None:
    if machine.persistent_load is None:
        raise UnpicklingError("the pickle refers to data outside itself")
    machine.stack.append(machine.persistent_load(pid))


def _nothing(_machine: Machine, _: Any) -> None:
    """Do nothing: PROTO and FRAME only describe the encoding."""


_ARGUMENTS = "BININT BININT1 BININT2 FLOAT BINFLOAT BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
_INTEGERS = "INT LONG LONG1 LONG4"
_TEXTS = "STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8"
OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(_ARGUMENTS.split(), _push_argument),
    **dict.fromkeys(_INTEGERS.split(), _push_integer),
    **dict.fromkeys(_TEXTS.split(), _push_text),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "PROTO": _nothing,
    "FRAME": _nothing,
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_LIST": _push(list),
    "EMPTY_TUPLE": _push(tuple),
    "EMPTY_DICT": _push(dict),
    "EMPTY_SET": _push(set),
    "MARK": _push(lambda: MARK),
    "LIST": _collect(lambda _, items: items),
    "TUPLE": _collect(lambda _, items: tuple(items)),
    "DICT": _collect(_entries),
    "FROZENSET": _collect(_frozen),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": lambda machine, _: _append_items(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _append_items(machine, machine.pop_mark()),
    "ADDITEMS": lambda machine, _: _append_items(machine, machine.pop_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_mark()),
    "POP": _pop,
    "POP_MARK": lambda machine, _: machine.pop_mark().clear(),
    "DUP": _duplicate,
    "MEMOIZE": _memoize,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "INST": _instance,
    "OBJ": _object,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _reduce_named,
    "BUILD": _build,
    "PERSID": _persistent,
    "BINPERSID": lambda machine, _: _persistent(machine, machine.pop()),
}

_SLOT = 16
"""Bytes that any object takes on the stack, and later in a container."""

_INTEGER = 32

COSTS = dict.fromkeys(OPERATIONS, _SLOT) | {
    **dict.fromkeys(("BININT", "BININT2", *_INTEGERS.split()), _SLOT + _INTEGER),
    "EMPTY_LIST": 72,
    "EMPTY_DICT": 80,
    "EMPTY_SET": 232,
    "DICT": 80,
    "FROZENSET": 232,
    "LIST": 72,
    "TUPLE": 56,
    "TUPLE1": 64,
    "TUPLE2": 72,
    "TUPLE3": 80,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), 100),
}
"""Bytes that an operation makes beside its argument; those of calls and of entries are counted apart."""
