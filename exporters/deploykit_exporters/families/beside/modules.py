"""Weights beside a network that may act on images before it sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.inert import children, class_path, is_module, state_dict_of
from deploykit_exporters.families.beside.vocabulary import subject, words
from deploykit_exporters.families.settings import Setting

if TYPE_CHECKING:
    import torch

__all__ = ["around", "beside_note", "foreign_class", "refuse_before", "statistics"]

_LISTED = 6
_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_LIBRARIES = {
    *(
        "timm",
        "torchvision",
        "transformers",
        "efficientnet_pytorch",
        "mmpretrain",
        "mmcls",
        "open_clip",
        "torch",
    ),
    *("dinov2", "dinov3", "clip"),
}
# Steps that change nothing, or the scale of scores only: softmax is done behind the network.
_NOTHING = {
    "Identity",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "AlphaDropout",
    "Flatten",
    "Softmax",
    "LogSoftmax",
}


def statistics(
    tensors: Mapping[str, torch.Tensor], settings: Iterable[Setting], channels: int
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Means and standard deviations of images that modules beside the network hold: where, and what.

    Args:
        tensors: All weights of the file.
        settings: With the modules that take no part in what was built.
        channels: Of the images.
    """
    for setting in _unknown(settings):
        for key, tensor in _inside(tensors, setting.name):
            name = key.rpartition(".")[2]
            about = subject(name) if {"mean", "std"} & words(name) and "running" not in words(name) else None
            if about in ("mean", "std") and tensor.numel() == channels and tensor.is_floating_point():
                values = [float(f"{one:.6g}") for one in tensor.flatten().tolist()]
                yield key.rpartition(".")[0], {name: values}


def refuse_before(
    tensors: Mapping[str, torch.Tensor], settings: Iterable[Setting], channels: int, file: str
) -> None:
    """Refuse convolutions beside the network that make images of images.

    Raises:
        CheckpointError: there is one; it is named, with the option that leaves it out.
    """
    for setting in _unknown(settings):
        layers = [tensor.shape for _, tensor in _inside(tensors, setting.name) if tensor.ndim == 4]
        if layers and layers[0][1] == layers[-1][0] == channels:
            raise CheckpointError(
                f"{file}: {setting.name} is beside the network and makes images of images: whether it acts "
                "on them before the network does is not in the file.",
                hint="Only the network is exported. If the other takes no part, say so: "
                f"--ignore {quote(setting.name)}",
            )


def around(module: Any, prefix: str) -> Iterator[tuple[str, Any, bool]]:
    """The modules without weights around a network in a pickled tree, and whether they surely take part.

    Args:
        module: The tree, or None.
        prefix: Where the network is: ``model.0.``.

    Yields:
        Path, module, and whether it is a step of a Sequential.
    """
    parent = ""
    for part in prefix.split(".")[:-1]:
        sequence = class_path(module) == _SEQUENTIAL
        for name, child in children(module).items():
            kind = class_path(child).rpartition(".")[2]
            if (
                name != part
                and not state_dict_of(child)
                and kind not in _NOTHING
                and "loss" not in kind.lower()
            ):
                yield f"{parent}{name}", child, sequence
        parent, module = f"{parent}{part}.", children(module).get(part)


def foreign_class(module: Any, prefix: str, origin: str) -> tuple[str, ...]:
    """A sentence on a pickled network whose class is not a library's: its forward may do other things.

    Args:
        module: The tree, or None.
        prefix: Where the network is.
        origin: Whose network it is taken for.
    """
    for part in prefix.split(".")[:-1]:
        module = children(module).get(part)
    path = class_path(module)
    if not is_module(module) or path.partition(".")[0] in _LIBRARIES:
        return ()
    return (f"The pickled network is a {path}: what its code does is taken for what {origin}'s own does.",)


def beside_note(settings: Iterable[Setting]) -> list[str]:
    """A sentence on the modules that nobody knows and that are left out."""
    left = [f"{setting.name} ({setting.value})" for setting in _unknown(settings)]
    more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
    return [f"Beside the network, and not exported: {', '.join(left[:_LISTED])}{more}."] if left else []


def _unknown(settings: Iterable[Setting]) -> Iterator[Setting]:
    return (one for one in settings if one.where == "weights" and one.treatment == "unknown")


def _inside(tensors: Mapping[str, torch.Tensor], path: str) -> Iterator[tuple[str, torch.Tensor]]:
    return ((key, tensor) for key, tensor in tensors.items() if key == path or key.startswith(f"{path}."))
