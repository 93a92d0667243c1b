"""Weights outside the network that may process images before it sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.pickles.inert import children, class_path, state_dict_of
from deploykit_exporters.families.beside.as_built import BuiltNetwork
from deploykit_exporters.families.beside.vocabulary import OF_TRAINING, harmless, topic_of, words
from deploykit_exporters.families.settings import Setting
from deploykit_exporters.families.shared.pickled import at, is_own

if TYPE_CHECKING:
    import torch

__all__ = ["around", "beside_note", "custom_class_note", "refuse_acting", "refuse_before", "statistics"]

_LISTED = 6
_SEQUENTIAL = "torch.nn.modules.container.Sequential"
# Steps that change nothing, or the scale of scores only: softmax is done after the network.
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
    """Means and standard deviations of images in modules outside the network: where, and the values.

    Args:
        tensors: All weights of the file.
        settings: The settings, with the modules that are not part of what was built.
        channels: Channels of the images.
    """
    for setting in _unknown(settings):
        for key, tensor in _inside(tensors, setting.name):
            name = key.rpartition(".")[2]
            about = topic_of(name) if {"mean", "std"} & words(name) and "running" not in words(name) else None
            if about in ("mean", "std") and tensor.numel() == channels and tensor.is_floating_point():
                values = [float(f"{one:.6g}") for one in tensor.flatten().tolist()]
                yield key.rpartition(".")[0], {name: values}


def refuse_before(
    tensors: Mapping[str, torch.Tensor], settings: Iterable[Setting], channels: int, file: str
) -> None:
    """Refuse convolutions outside the network that turn images into images.

    Raises:
        CheckpointError: there is one; the message names it and the option that ignores it.
    """
    for setting in _unknown(settings):
        layers = [tensor.shape for _, tensor in _inside(tensors, setting.name) if tensor.ndim == 4]
        if layers and layers[0][1] == layers[-1][0] == channels:
            raise CheckpointError(
                f"{file}: {setting.name} is beside the network and turns images into images: the file does "
                f"not say whether it acts on the input of the network.",
                hint="Only the network is exported. If the other module takes no part, say so: "
                f"--ignore {quote(setting.name)}",
            )


def refuse_acting(
    tensors: Mapping[str, torch.Tensor], settings: Iterable[Setting], facts: BuiltNetwork, file: str
) -> None:
    """Refuse tensors outside the network that may act on its scores or tokens: one number, one for each
    class, or vectors as wide as the tokens.

    Raises:
        CheckpointError: there is one; the message names it and the option that ignores it.
    """
    classes = facts.spec.num_classes if facts.spec.task == "classify" else 0
    for setting in _unknown(settings):
        for key, tensor in _inside(tensors, setting.name):
            if not tensor.is_floating_point() or harmless(key) in OF_TRAINING or _is_statistic(key):
                continue
            what = ""
            if classes and tensor.numel() in (1, classes):
                what = "its scores, as a temperature, a scale, a bias or weights of the classes do"
            elif (
                facts.width
                and tensor.ndim > 1
                and tensor.shape[-1] == facts.width
                and key.rpartition(".")[2] != "weight"
            ):
                what = "its tokens or features, as prompts or prototypes do"
            if what:
                raise CheckpointError(
                    f"{file}: {key} is beside the network and may act on {what}: the file does not say "
                    f"what the training code does with it.",
                    hint="Only the network is exported. If the other module takes no part in the answers, "
                    "say so: "
                    f"--ignore {quote(setting.name)}",
                )


def _is_statistic(key: str) -> bool:
    return topic_of(key.rpartition(".")[2]) in ("mean", "std")


def around(module: Any, prefix: str) -> Iterator[tuple[str, Any, bool]]:
    """The modules without weights around a network in a pickled tree, and whether they certainly take part.

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


def custom_class_note(module: Any, prefix: str, origin: str) -> tuple[str, ...]:
    """A sentence about a pickled network whose class is not from a library: its forward may differ.

    Args:
        module: The tree, or None.
        prefix: Where the network is.
        origin: The origin whose network it is assumed to be.
    """
    network = at(module, prefix)
    if not is_own(network):
        return ()
    path = class_path(network)
    return (f"The pickled network is a {path}: its code is assumed to do what {origin}'s own does.",)


def beside_note(settings: Iterable[Setting]) -> list[str]:
    """A sentence about unknown modules that are left out."""
    left = [f"{setting.name} ({setting.value})" for setting in _unknown(settings)]
    more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
    return [f"Beside the network, and not exported: {', '.join(left[:_LISTED])}{more}."] if left else []


def _unknown(settings: Iterable[Setting]) -> Iterator[Setting]:
    return (one for one in settings if one.where == "weights" and one.treatment == "unknown")


def _inside(tensors: Mapping[str, torch.Tensor], path: str) -> Iterator[tuple[str, torch.Tensor]]:
    return ((key, tensor) for key, tensor in tensors.items() if key == path or key.startswith(f"{path}."))
