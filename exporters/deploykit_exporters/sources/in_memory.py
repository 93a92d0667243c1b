"""A module or its weights in memory, read the way of the file that would hold them.

What is in memory is written as ``torch.save`` writes it, into a folder for unfinished work, and that file is
read as any other. So a module and its file become the same model, with the same proof and witness. The module
is looked at and left as it is.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.text.printable import one_line, printable

if TYPE_CHECKING:
    from torch import nn

    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["InMemory", "Source", "is_in_memory", "module_copy", "read_in_memory", "source_name"]

InMemory = Mapping[Any, Any]
"""A state dict, or a dict that holds one or a module; modules are known by what they do."""

Source = str | Path | InMemory | Any

_PARALLEL = ("DataParallel", "DistributedDataParallel")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_NO_HOOKS = (
    *_HOOKS,
    *("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"),
    *("_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)


def is_in_memory(source: object) -> TypeGuard[InMemory]:
    """Whether it is a module, or a mapping that may hold weights, rather than the name of a file."""
    return isinstance(source, Mapping) or _is_module(source)


def source_name(source: object) -> str:
    """What messages and the record call it: the path or name, or ``VisionTransformer in memory``."""
    if not is_in_memory(source):
        return str(source)
    return printable(
        f"{type(_unwrapped(source)).__name__ if _is_module(source) else 'weights'} in memory", 120
    )


def read_in_memory(source: InMemory, *, weights: str | None = None) -> Checkpoint:
    """Read a module or weights as the checkpoint that ``torch.save`` would make of them.

    Args:
        source: A module of torch, a state dict, or a dict as training codes save it. Wrappers of
            ``torch.compile``, ``DataParallel`` and Ultralytics' ``YOLO`` are looked through.
        weights: See ``read_checkpoint``.

    Raises:
        CheckpointError: it holds no weights, weights that were never loaded, or what cannot be written down.
    """
    from deploykit_runtimes.machine.scratch import scratch_folder

    from deploykit_exporters.containers.read import read_checkpoint

    name = source_name(source)
    found = _Found()
    with scratch_folder() as folder:
        file = folder / name
        _write(_network(source, name), file, name, found)
        checkpoint = read_checkpoint(file, weights=weights)
    # On disk no more; what was read of it is mapped, and stays until the last tensor is gone.
    return replace(checkpoint, path=Path(name), notes=(*found.notes(), *checkpoint.notes))


def module_copy(source: object) -> nn.Module | None:
    """A copy of a module in memory on the CPU, in float32 and eval mode, without hooks.

    None where there is no module, or it cannot be copied.
    """
    import copy

    from torch import nn

    network = _network(source, source_name(source)) if _is_module(source) else None
    if not isinstance(network, nn.Module):
        return None
    try:
        module = copy.deepcopy(network)
    except (RuntimeError, TypeError, AttributeError, ValueError, RecursionError):  # a lock, a stream, ...
        return None
    for each in module.modules():
        for name in _HOOKS:
            getattr(each, name).clear()
    return module.cpu().float().eval()


@dataclass
class _Found:
    """What of a module is not in its tree of layers and weights."""

    hooks: int = 0
    replaced: int = 0

    def notes(self) -> Iterator[str]:
        yield "Read from memory, not from a file."
        if self.hooks:
            yield f"Forward hooks on {self.hooks} of its layers are not part of the model, and were left out."
        if self.replaced:
            yield f"On {self.replaced} of its layers forward() was replaced, and the original is exported."


def _is_module(source: object) -> bool:
    """Without importing torch, which takes seconds: whoever holds a module has imported it."""
    return callable(getattr(source, "state_dict", None)) and not isinstance(source, type)


def _unwrapped(source: Any) -> Any:
    """The module inside ``torch.compile`` and of several GPUs."""
    while True:
        names = ("_orig_mod", "module") if type(source).__name__ in _PARALLEL else ("_orig_mod",)
        inner = next((found for name in names if _is_module(found := getattr(source, name, None))), None)
        if inner is None:
            return source
        source = inner


def _network(source: Any, name: str) -> Any:
    """The network inside wrappers that only say how it is run."""
    source = _unwrapped(source)
    if not any(base.__module__ == "ultralytics.engine.model" for base in type(source).__mro__):
        return source
    if not _is_module(source.model):
        raise CheckpointError(
            f"{name} was opened from {source.model}, which is not a network of torch.",
            hint="Give the .pt file, or YOLO(...) of one.",
        )
    return _unwrapped(source.model)


def _write(source: Any, file: Path, name: str, found: _Found) -> None:
    import torch
    from torch import nn

    if isinstance(source, nn.Module):
        _check_loaded(source, name)
    pickling = SimpleNamespace(__name__=pickle.__name__, Pickler=_pickler(found), dumps=pickle.dumps)
    try:
        torch.save(source, file, pickle_module=pickling)
    except (
        pickle.PicklingError,
        TypeError,
        AttributeError,
        RuntimeError,
        ValueError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"{name} cannot be written down as torch.save does it: {one_line(error)}",
            hint="Give its weights: deploykit.export(model.state_dict(), ...).",
        ) from error


def _check_loaded(module: nn.Module, name: str) -> None:
    from torch.nn.parameter import is_lazy

    tensors = [*module.named_parameters(), *module.named_buffers()]
    if not tensors:
        raise CheckpointError(f"{name} has no weights at all.", hint="Give the model that was trained.")
    for key, tensor in tensors:
        if tensor.is_meta or is_lazy(tensor):
            raise CheckpointError(
                f"{name} has no weights yet: {key} is {'on the meta device' if tensor.is_meta else 'lazy'}.",
                hint="Load its weights first.",
            )


def _pickler(found: _Found) -> type[Any]:
    """A pickler for a reader that runs nothing: it need not be able to import what it names."""
    import copyreg

    import torch
    from torch import nn

    base: Any = pickle._Pickler  # the one in Python, of which what is written for a name can be chosen

    class Pickler(base):  # type: ignore[misc]
        dispatch: ClassVar[dict[type, Any]] = dict(base.dispatch)

        def reducer_override(self, value: Any) -> Any:
            kind = type(value)
            if kind in self.dispatch or kind in copyreg.dispatch_table or isinstance(value, type):
                return NotImplemented
            if isinstance(value, torch.Tensor):
                return NotImplemented
            try:
                reduced = value.__reduce_ex__(self.proto)
            except (TypeError, AttributeError, RuntimeError, pickle.PicklingError):  # a lock, a stream, ...
                return _Unwritten, (f"{kind.__module__}.{kind.__qualname__}",)
            return _without_hooks(reduced, found) if isinstance(value, nn.Module) else reduced

        def save_global(self, value: Any, name: str | None = None) -> None:
            """By its name; also what another process could not import, such as a class inside a function."""
            try:
                super().save_global(value, name)
            except (pickle.PicklingError, AttributeError):
                self.save(getattr(value, "__module__", None) or "__main__")
                self.save(name or value.__qualname__)
                self.write(pickle.STACK_GLOBAL)
                self.memoize(value)

        dispatch[FunctionType] = save_global

    return Pickler


class _Unwritten:
    """Stands for something that has no form in a file; its argument says what it was."""


def _without_hooks(reduced: Any, found: _Found) -> Any:
    """What is written of one module, without functions that were hung onto it."""
    if not isinstance(reduced, tuple) or len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced
    state = {**reduced[2]}
    found.hooks += any(state.get(name) for name in _HOOKS)
    state.update((name, OrderedDict()) for name in _NO_HOOKS if name in state)
    if callable(state.get("forward")):
        del state["forward"]
        found.replaced += 1
    return (*reduced[:2], state, *reduced[3:])
