"""Pickled Ultralytics modules -> modules of the installed ultralytics package.

An Ultralytics checkpoint pickles its modules whole: strides, activations, BatchNorm eps, the wiring of the
layers are attributes of the pickled objects, and the stored ``yaml`` is only what they were once built from
(releases read the same yaml differently). So the network is rebuilt from the inert tree, module by module:
the class is looked up by name in the installed packages, attributes are copied if they are plain data,
tensors come from the checkpoint in float32. No constructor, no ``eval`` of a yaml string and no code of the
file runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require
from torch import nn

from deploykit_exporters.containers.pickles.inert import class_path, walk
from deploykit_exporters.families.yolo.ultralytics.forks import fork_class

__all__ = ["ModuleBuilder", "module_class"]

_PACKAGES = ("torch.nn.modules", "torchvision.models", "torchvision.ops", "ultralytics.nn.modules")
_ULTRALYTICS_FILES = ("conv", "block", "head", "transformer", "activation", "utils")
# Renamed since: an identity of the first YOLOv9 releases.
_RENAMED = {"ultralytics.nn.modules.block.Silence": "torch.nn.modules.linear.Identity"}
_PLAIN_DEPTH = 6
_DAMAGED = "The file is damaged: save it again with model.save() of ultralytics."


class ModuleBuilder:
    """Rebuilds trees of inert modules any number of times, sharing the storage of one set of tensors.

    Args:
        tensors: The weights by state-dict name; floating ones are converted to float32 once.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._tensors = {name: _float32(tensor) for name, tensor in tensors.items()}

    def build(self, root: Any, path: str) -> nn.Module:
        """The module ``root`` (an inert tree whose state-dict prefix is ``path``) in eval mode.

        Raises:
            CheckpointError: a class is unknown, a tensor is missing or left over, or the tree contains
                itself.
        """
        taken: set[str] = set()
        built: dict[int, nn.Module] = {}
        # Children first, so that each module finds its own already built.
        for name, inert in reversed(list(walk(root))):
            prefix = f"{path}.{name}" if name else path
            names = self._names(inert, prefix)
            taken.update(names.values())
            if id(inert) not in built:
                built[id(inert)] = self._module(inert, prefix, names, built)
        self._refuse_left_over(taken, path)
        return built[id(root)].eval()

    def _names(self, inert: Any, prefix: str) -> dict[str, str]:
        """Map own tensor names to state-dict names, for the tensors that a state dict of this module has."""
        attributes = vars(inert)
        transient = attributes.get("_non_persistent_buffers_set") or ()
        own = {**attributes["_parameters"], **attributes["_buffers"]}
        return {
            str(name): f"{prefix}.{name}"
            for name, tensor in own.items()
            if tensor is not None and name not in transient
        }

    def _module(
        self, inert: Any, prefix: str, names: Mapping[str, str], built: Mapping[int, nn.Module]
    ) -> nn.Module:
        attributes = vars(inert)
        children = {
            str(name): None if child is None else built.get(id(child))
            for name, child in attributes["_modules"].items()
        }
        cls = fork_class(class_path(inert), frozenset(children)) or module_class(class_path(inert), prefix)
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        state = dict(module.__dict__)
        state.update(_data_attributes(cls, attributes))
        state["_modules"] = children
        state["_parameters"] = {
            name: None
            if value is None
            else nn.Parameter(self._tensor(names[name], value), requires_grad=False)
            for name, value in attributes["_parameters"].items()
        }
        state["_buffers"] = {
            name: self._tensor(names[name], value) if name in names else value
            for name, value in attributes["_buffers"].items()
        }
        # The classes' own __setstate__ adds what files of older releases lack.
        module.__setstate__(state)  # type: ignore[no-untyped-call]
        _restore_fused(module)
        return module

    def _tensor(self, name: str, pickled: torch.Tensor) -> torch.Tensor:
        whole = name.rpartition("_")[0]
        if name not in self._tensors and whole in self._tensors:
            raise CheckpointError(
                f"{whole} of the pickled module is stored in parts ({name}), as pruning and weight_norm "
                "leave it.",
                hint="Make it whole before saving: torch.nn.utils.prune.remove(layer, 'weight').",
            )
        if name not in self._tensors:
            raise CheckpointError(f"The weights lack {name}, which the pickled module has.", hint=_DAMAGED)
        tensor = self._tensors[name]
        if tensor.shape != pickled.shape:
            raise CheckpointError(
                f"{name} has shape {list(tensor.shape)}, the pickled module has {list(pickled.shape)}.",
                hint=_DAMAGED,
            )
        return tensor

    def _refuse_left_over(self, taken: set[str], path: str) -> None:
        left_over = [name for name in self._tensors if name not in taken]
        if left_over:
            raise CheckpointError(
                f"{len(left_over)} weights belong to no module of {path!r}: {', '.join(left_over[:5])}.",
                hint=_DAMAGED,
            )


def module_class(path: str, place: str = "") -> type[nn.Module]:
    """The class that replaces a pickled one, found without importing anything that the file names.

    Args:
        path: ``package.Class`` of the pickled module.
        place: Where in the network it is, for the message.

    Raises:
        CheckpointError: neither torch, torchvision nor the installed ultralytics has such a class.
    """
    package, _, name = _RENAMED.get(path, path).rpartition(".")
    homes = [package]
    if package.startswith("torchvision."):
        require("torchvision", extra="yolo", purpose=f"rebuild a {name}")
    if package.startswith("ultralytics"):  # classes moved between files, 8.0 had one file for all
        homes += [f"ultralytics.nn.modules.{file}" for file in _ULTRALYTICS_FILES]
    for home in homes:
        found = getattr(sys.modules.get(home), name, None) if home.startswith(_PACKAGES) else None
        if (
            isinstance(found, type)
            and issubclass(found, nn.Module)
            and found.__module__.startswith(_PACKAGES)
        ):
            return found
    where = f" at {place}" if place else ""
    raise CheckpointError(
        f"The network holds a {path}{where}, and the installed ultralytics {_version()} has no such module.",
        hint="It was trained with a modified or a newer ultralytics: try `pip install -U ultralytics`.",
    )


def _version() -> str:
    return str(getattr(sys.modules.get("ultralytics"), "__version__", "package"))


def _data_attributes(cls: type[nn.Module], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that are plain data. Objects (losses, training arguments, bound methods) are left out,
    as is everything that would hide a method or property of the class, or the hooks of ``nn.Module``.
    """
    data = {}
    for name, value in attributes.items():
        known = getattr(cls, name, None)
        if name.startswith("_") or name == "training" or callable(known) or isinstance(known, property):
            continue
        if _is_plain(value):
            data[str(name)] = _to_float32(value)
    kept_private = {"_end2end", "_reversed_padding_repeated_twice", "_qkv_same_embed_dim"}
    data.update({k: attributes[k] for k in kept_private & attributes.keys() if _is_plain(attributes[k])})
    transient = attributes.get("_non_persistent_buffers_set") or ()
    data["_non_persistent_buffers_set"] = {str(name) for name in transient}
    data["training"] = False
    return data


def _is_plain(value: Any, depth: int = 0) -> bool:
    if depth > _PLAIN_DEPTH:
        return False
    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return True
    if type(value) in (list, tuple, set, frozenset, torch.Size):
        return all(_is_plain(item, depth + 1) for item in value)
    return type(value) is dict and all(
        isinstance(key, str | int) and _is_plain(item, depth + 1) for key, item in value.items()
    )


def _to_float32(value: Any) -> Any:
    return _float32(value) if isinstance(value, torch.Tensor) else value


def _float32(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    return tensor.float() if tensor.is_floating_point() else tensor


def _restore_fused(module: nn.Module) -> None:
    """Restore fused modules: files saved after ``model.fuse()`` hold a bound method where a module has lost
    its BatchNorm or parallel branch, which the missing part also shows.
    """
    fused = getattr(module, "forward_fuse", None)
    if fused is not None and not {"bn", "conv1"} & module._modules.keys():
        module.forward = fused
