"""A pickle machine that cannot run code.

``torch.load(weights_only=True)`` refuses what many honest checkpoints hold (sets, list subclasses, protocol
4, functions), and its allow-list must know the name of every class that is not installed or not trusted.
This machine reads all of them and is stricter: its stack never holds anything callable or anything imported
for the pickle. A global becomes one of

* a ``Rebuilder``: tensors, arrays and plain containers, rebuilt by functions of this package;
* a storage type or element type of torch;
* an inert class, made for that name, whatever the name is (``os.system``, ``builtins.getattr``,
  ``ultralytics.nn.tasks.DetectionModel``), which only records its arguments.

So REDUCE, NEWOBJ, INST and OBJ construct inert objects, BUILD sets attributes of inert objects and
fills arrays, and no other operation changes an object that the pickle did not make. The operations are
decoded by ``pickletools``; their meaning is documented there too.
"""

from __future__ import annotations

import pickletools
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any, BinaryIO

from deploykit_exporters.containers.budget import Budget, check_extent
from deploykit_exporters.containers.pickles.machine import Machine, PersistentLoad
from deploykit_exporters.containers.pickles.opcodes import COSTS, OPERATIONS
from deploykit_exporters.containers.pickles.rebuild import REBUILDERS

__all__ = ["Pickle", "load_inert"]

# What lies between two looks at the budget.
_STEPS_AT_ONCE = 64
_BYTES_AT_ONCE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Pickle:
    """What a pickle describes.

    Attributes:
        value: The object, with inert stand-ins.
        inert: Every global that became inert, as ``module.qualname``, sorted.
    """

    value: Any
    inert: tuple[str, ...]


def load_inert(
    file: BinaryIO,
    persistent_load: PersistentLoad | None = None,
    *,
    rebuilders: Mapping[str, Any] = REBUILDERS,
    budget: Budget | None = None,
) -> Pickle:
    """Read one pickle of ``file``, and leave the position just after it.

    Args:
        file: A seekable binary file whose ``read(n)`` allocates no more than the file's size (an mmap
            or a BytesIO).
        persistent_load: Returns the object for a persistent id (a torch storage).
        rebuilders: The globals that do not become inert.
        budget: What is left for the whole read; None: the budget of a file of this size.

    Raises:
        ExcessError: the pickle asks for more than its budget.
        UnpicklingError: the pickle is malformed; other built-in errors are possible too.
    """
    start = file.tell()
    budget = budget or Budget(_size(file))
    machine = Machine(persistent_load, rebuilders, {}, budget)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's, about odd escapes in a damaged pickle's text
        value = _run(machine, file)
        if machine.learnt:
            # Only now is it known which classes derive from dict or list: read again with such stand-ins.
            file.seek(start)
            machine = Machine(persistent_load, rebuilders, machine.learnt, budget)
            value = _run(machine, file)
    check_extent(value, file.tell() - start)
    return Pickle(value=value, inert=tuple(sorted(machine.classes)))


def _run(machine: Machine, file: BinaryIO) -> Any:
    counted = file.tell()
    count = made = 0
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name == "STOP":
            machine.budget.step(count, made, file.tell() - counted)
            return machine.pop()
        operation = OPERATIONS.get(name)
        if operation is None:
            raise UnpicklingError(f"the pickle uses {name}, which no checkpoint needs")
        count += 1
        made += COSTS[name]
        if argument is not None and type(argument) is not int:
            made += sys.getsizeof(argument)
        if count == _STEPS_AT_ONCE or made > _BYTES_AT_ONCE:
            at = file.tell()
            machine.budget.step(count, made, at - counted)
            counted, count, made = at, 0, 0
        operation(machine, argument)
    raise UnpicklingError("the pickle has no end")


def _size(file: BinaryIO) -> int:
    """The size of the file in bytes; its position does not change."""
    position = file.tell()
    size = file.seek(0, 2) or file.tell()  # an mmap's seek tells nothing
    file.seek(position)
    return size
