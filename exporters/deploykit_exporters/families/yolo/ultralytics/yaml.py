"""Networks that Ultralytics' own constructor builds from a yaml, of a checkpoint or from the user.

The constructor looks module names up among everything that its file holds and evaluates activations as
Python, so a yaml is checked first: only layers of ultralytics, torch and torchvision may be named, and
activations are classes of ``torch.nn`` with plain arguments. No code of a checkpoint runs.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, cast

import torch
from deploykit_runtimes.contract.spec import Task
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.text.printable import one_line
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["check_yaml", "construct", "misfits", "shapes_of"]

_CLASSES: dict[Task, str] = {
    "detect": "DetectionModel",
    "segment": "SegmentationModel",
    "pose": "PoseModel",
    "obb": "OBBModel",
    "classify": "ClassificationModel",
}
_MOST_LAYERS, _MOST_REPEATS = 1000, 200
_MISFIT = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def check_yaml(yaml: Mapping[str, Any]) -> None:
    """Refuse a yaml that names anything but layers.

    Raises:
        CheckpointError: it is not the description of a network, or names something that is not a layer.
    """
    rows = [row for part in ("backbone", "head") for row in _rows(yaml, part)]
    if len(rows) > _MOST_LAYERS:
        raise CheckpointError(f"The yaml has {len(rows)} layers, wanted at most {_MOST_LAYERS}.")
    for row in rows:
        if not (isinstance(row, list | tuple) and len(row) == 4 and isinstance(row[3], list | tuple)):
            raise CheckpointError(
                f"The yaml has the layer {row!r}, wanted [from, repeats, module, arguments]."
            )
        _, repeats, name, _ = row
        if not isinstance(repeats, int) or not 0 < repeats <= _MOST_REPEATS:
            raise CheckpointError(
                f"The yaml repeats a {name} {repeats!r} times, wanted 1 to {_MOST_REPEATS}."
            )
        _check_layer(str(name))
    activation = yaml.get("activation")
    if activation is not None and not _is_activation(activation):
        raise CheckpointError(
            f"The yaml has the activation {activation!r}, wanted a class of torch.nn with plain arguments.",
            hint='For instance "nn.SiLU()" or "nn.LeakyReLU(0.1)".',
        )


def _rows(yaml: Mapping[str, Any], part: str) -> list[Any]:
    rows = yaml.get(part)
    if not isinstance(rows, list | tuple) or not rows:
        raise CheckpointError(
            f"The yaml of an Ultralytics network wants a list of layers under `{part}`, found "
            f"{type(rows).__name__}.",
            hint="Give the yaml of the model, not the one of the data set: --config yolo11n.yaml",
        )
    return list(rows)


def _check_layer(name: str) -> None:
    from ultralytics.nn import tasks

    home: Any = tasks
    if name.startswith("nn."):
        home = nn
    elif name.startswith("torchvision.ops."):
        from torchvision import ops

        home = ops
    found = getattr(home, name.removeprefix("nn.").removeprefix("torchvision.ops."), None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise CheckpointError(
            f"The yaml has a layer {name}, which the installed ultralytics does not have.",
            hint="It is of a modified or a newer ultralytics: try `pip install -U ultralytics`.",
        )


def _is_activation(text: object) -> bool:
    """``nn.Name(literals)``, as Ultralytics documents it."""
    try:
        call = ast.parse(str(text).strip(), mode="eval").body
        if not isinstance(call, ast.Call):
            return False
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(value)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    owner, _, name = ast.unparse(call.func).rpartition(".")
    found = getattr(nn, name, None)
    return owner in ("nn", "torch.nn") and isinstance(found, type) and issubclass(found, nn.Module)


def shapes_of(yaml: Mapping[str, Any], channels: int) -> dict[str, list[int]]:
    """The state dict that a checked yaml would give, without allocating it.

    Raises:
        CheckpointError: the layers do not fit each other.
    """
    from ultralytics.nn import tasks

    try:
        with _quiet(), _Weightless():
            layers, _ = tasks.parse_model(_own(yaml), ch=channels, verbose=False)
    except _MISFIT as error:
        raise CheckpointError(f"The layers of the yaml do not fit each other: {one_line(error)}") from error
    return {f"model.{name}": list(tensor.shape) for name, tensor in layers.state_dict().items()}


def misfits(shapes: Mapping[str, list[int]], tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the weights that only one side has, or whose shapes differ; counters are ignored."""
    found = {name: list(tensor.shape) for name, tensor in tensors.items()}
    return [
        name
        for name in dict.fromkeys((*shapes, *found))
        if shapes.get(name) != found.get(name) and not name.endswith("num_batches_tracked")
    ]


def construct(yaml: Mapping[str, Any], task: Task, channels: int) -> nn.Module:
    """Ultralytics' model for a checked yaml, with random weights.

    Raises:
        CheckpointError: the installed ultralytics cannot build it.
    """
    from ultralytics.nn import tasks

    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            return cast("nn.Module", getattr(tasks, _CLASSES[task])(_own(yaml), ch=channels, verbose=False))
    except _MISFIT as error:
        raise CheckpointError(
            f"The installed ultralytics cannot build the yaml: {one_line(error)}"
        ) from error


class _Weightless(TorchFunctionMode):
    """Weights without memory. ``torch.device("meta")`` would do this for ``arange`` too, for which torch
    loads two seconds' worth of Python.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.empty, torch.ones, torch.zeros) and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _own(yaml: Mapping[str, Any]) -> dict[str, Any]:
    """A copy for the constructor, which modifies it; no initial weights are downloaded."""
    copied = deepcopy(dict(yaml))
    for part in ("backbone", "head"):
        copied[part] = [[*row[:3], list(row[3])] for row in copied[part]]
        for row in copied[part]:
            if row[2] == "TorchVision":  # channels, name, weights, ...
                row[3][2:3] = [None]
    return copied


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the tables that ultralytics prints."""
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
