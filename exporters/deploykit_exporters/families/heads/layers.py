"""The layers of a classifier with several layers, read from keys and shapes, or from the pickled module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.containers.pickles.inert import children, class_path, state_dict_of
from deploykit_exporters.families.shared.pickled import at

if TYPE_CHECKING:
    import torch
    from deploykit_runtimes.contract.spec import Activation
    from torch import nn

__all__ = ["ACTIVATIONS", "NORM_PARTS", "Layers", "build_layers", "read_layers", "scores_behind"]

ACTIVATIONS = ("gelu", "relu", "silu", "tanh", "none")
_EPS = 1e-5
_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_NOTHING = ("Identity", "Dropout", "AlphaDropout", "Flatten")
# What ends a classifier and makes scores of its logits, which is done after the network.
_SCORES: dict[str, Activation] = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_CLASSES = {"GELU": "gelu", "ReLU": "relu", "SiLU": "silu", "Tanh": "tanh"}
NORM_PARTS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}

Layer = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Linear layers and norms, in order.

    Attributes:
        path: The module that holds them, as the file names it.
        layers: Position in the module -> weights by ``weight``, ``bias``, ...; a layer that is the module
            itself has the position -1. Layers of nested modules are numbered consecutively, with a gap
            where one module ends, since its last layers may have no weights.
        names: Position -> name in the module, if it differs: ``1.0``.
    """

    path: str
    layers: Mapping[int, Layer]
    names: Mapping[int, str] = field(default_factory=dict)

    def name(self, position: int) -> str:
        """The file's name for a layer."""
        return f"{self.path}.{self.names.get(position, position)}"

    @property
    def inputs(self) -> int:
        return _rows(self.layers[min(self.layers)], 1)

    @property
    def outputs(self) -> int:
        last = max(index for index, layer in self.layers.items() if _is_linear(layer))
        return _rows(self.layers[last], 0)


def read_layers(path: str, tensors: Mapping[str, torch.Tensor]) -> Layers | None:
    """The layers of a module that applies them in turn, or None if keys and shapes do not show that.

    Args:
        path: The module.
        tensors: Its weights, named within it: ``weight``, ``1.weight``, ``layers.0.weight``.
    """
    parts = {tuple(name.split(".")): tensor for name, tensor in tensors.items()}
    while len(heads := {name[0] for name in parts}) == 1 and all(len(name) > 1 for name in parts):
        if (head := next(iter(heads))).isdigit():
            break
        path = f"{path}.{head}"
        parts = {name[1:]: tensor for name, tensor in parts.items()}
    layers: dict[tuple[int, ...], dict[str, torch.Tensor]] = {}
    for (*where, part), tensor in parts.items():
        if not all(name.isdigit() for name in where):
            return None
        layers.setdefault(tuple(map(int, where)), {})[part] = tensor
    places = sorted(layers)
    if any(after[: len(before)] == before for before, after in pairwise(places)):
        return None  # A module with weights of its own that holds another.
    positions = dict(zip(_counted(places), places, strict=True))
    ordered = {position: layers[place] for position, place in positions.items()}
    nested = {position: ".".join(map(str, at)) for position, at in positions.items() if len(at) > 1}
    return Layers(path=path, layers=ordered, names=nested) if _fit(ordered) else None


def _counted(places: Sequence[tuple[int, ...]]) -> list[int]:
    """Positions of layers, in order: as they are within one module, consecutive across several."""
    if all(len(place) == 1 for place in places):
        return [place[0] for place in places]
    if places == [()]:
        return [-1]
    found = [int(any(places[0]))]
    for before, after in pairwise(places):
        adjoining = before[:-1] == after[:-1] and after[-1] == before[-1] + 1
        found.append(found[-1] + (1 if adjoining else 2))
    return found


def _fit(layers: Mapping[int, Layer]) -> bool:
    """Whether each layer takes the output of the previous one, and the last is linear."""
    width = 0
    for layer in layers.values():
        weight = layer.get("weight")
        if weight is None or not set(layer) <= NORM_PARTS or weight.ndim not in (1, 2):
            return False
        if weight.ndim == 2 and not set(layer) <= {"weight", "bias"}:
            return False
        if width not in (0, _rows(layer, 1)):
            return False
        width = _rows(layer, 0)
    return bool(layers) and _is_linear(layers[max(layers)])


def _is_linear(layer: Layer) -> bool:
    return layer["weight"].ndim == 2


def _rows(layer: Layer, axis: int) -> int:
    weight = layer["weight"]
    return int(weight.shape[axis if weight.ndim == 2 else 0])


def build_layers(
    found: Layers, module: Any, activation: str | None
) -> tuple[nn.Sequential, tuple[str, ...], bool]:
    """The module, what had to be assumed, and whether ``activation`` was used.

    Args:
        found: The layers.
        module: The pickled model as an inert tree, or None.
        activation: The activation between the linear layers as given by the user, or None.

    Raises:
        CheckpointError: what is between the layers is unknown or not supported.
        OptionError: ``activation`` is not one of ``ACTIVATIONS``.
    """
    from torch import nn

    if activation is not None and activation not in ACTIVATIONS:
        raise OptionError(f"--head-activation {activation} is not one of {', '.join(ACTIVATIONS)}.")
    node = at(module, found.path)
    if class_path(node) == _SEQUENTIAL:
        return _as_pickled(found, node), (), False
    between, assumed, used = _between(found, activation)
    steps: list[nn.Module] = []
    for index, layer in found.layers.items():
        steps += [_activation(name) for name in between.get(index, ())]
        steps.append(_layer(layer, _EPS))
    norms = [index for index, layer in found.layers.items() if not _is_linear(layer)]
    if norms:
        named = ", ".join(map(found.name, norms))
        assumed = (*assumed, f"The eps of {named} is {_EPS:g}, torch's default: the weights do not show it.")
    return nn.Sequential(*steps).eval(), assumed, used


def scores_behind(node: Any, path: str) -> Activation | None:
    """The activation at the end of a pickled classifier that turns logits into scores; None: there is none.

    Args:
        node: The classifier, or None if no module was pickled.
        path: Where it is, for errors.

    Raises:
        CheckpointError: something else follows its last linear layer.
    """
    if class_path(node) != _SEQUENTIAL:
        return None
    scores: Activation | None = None
    for name, child in reversed(list(_in_turn(node))):
        kind = class_path(child)
        short = kind.rpartition(".")[2]
        if short in _SCORES and scores is None and getattr(child, "dim", None) in (None, 1, -1):
            scores = _SCORES[short]
        elif short not in _NOTHING:
            if not state_dict_of(child):
                raise _unsupported(path, name, kind)
            break
    return scores


def _as_pickled(found: Layers, module: Any) -> nn.Sequential:
    """The layers as in the pickled module."""
    from torch import nn

    steps: list[nn.Module] = []
    places = {found.names.get(position, str(position)): layer for position, layer in found.layers.items()}
    left = len(places)
    for name, node in _in_turn(module):
        if not left:  # looked at by ``scores_behind``
            break
        kind = class_path(node)
        short = kind.rpartition(".")[2]
        layer = places.get(name)
        left -= layer is not None
        if not kind.startswith("torch.nn.modules.") or (
            layer is not None and short not in {"Linear", "LayerNorm", "BatchNorm1d"}
        ):
            raise _unsupported(found.path, name, kind)
        if layer is not None:
            steps.append(_layer(layer, float(getattr(node, "eps", _EPS))))
        elif short in _CLASSES:
            tanh = short == "GELU" and getattr(node, "approximate", "none") == "tanh"
            steps.append(nn.GELU(approximate="tanh") if tanh else _activation(_CLASSES[short]))
        elif short not in _NOTHING:
            raise _unsupported(found.path, name, kind)
    return nn.Sequential(*steps).eval()


def _in_turn(module: Any) -> Iterator[tuple[str, Any]]:
    """The layers of a pickled Sequential, and of nested ones, in the order of application."""
    for name, child in children(module).items():
        if class_path(child) == _SEQUENTIAL:
            yield from ((f"{name}.{inner}", node) for inner, node in _in_turn(child))
        else:
            yield name, child


def _unsupported(path: str, name: str, kind: str) -> CheckpointError:
    return CheckpointError(
        f"{path}.{name} is a {kind}; a classifier can have linear layers, LayerNorm, BatchNorm1d, "
        f"dropout, {', '.join(_CLASSES)}, and {', '.join(_SCORES)} at its end.",
        hint="Export what comes before it with --features.",
    )


def _between(
    found: Layers, activation: str | None
) -> tuple[dict[int, tuple[str, ...]], tuple[str, ...], bool]:
    """The activations before each position, what was assumed, and whether the user's was used."""
    indices = list(found.layers)
    starts = indices[0] > 0
    gaps = [index for before, index in pairwise(indices) if index > before + 1]
    if not gaps:
        if not starts:
            return {}, (), False
        if activation is not None:
            return {indices[0]: (activation,)}, (), True
        return (
            {},
            (
                f"What is before {found.name(indices[0])} has no weights and is assumed to be dropout; "
                "if it is an activation, say so with --head-activation.",
            ),
            False,
        )
    linear = [index for index, layer in found.layers.items() if _is_linear(layer)]
    where = " and ".join(map(found.name, gaps))
    if any(
        sum(low < gap <= high for gap in gaps) > 1 for low, high in zip([-1, *linear], linear, strict=False)
    ):
        raise CheckpointError(
            f"Layers without weights are before {where}, more than one of them between two linear layers; "
            "the file does not say which of them is the activation.",
            hint="Export the features with --features, or save the whole module (torch.save).",
        )
    if activation is None:
        raise CheckpointError(
            f"{found.path} has several layers, and what stands before {where} has no weights: the file "
            f"does not say which activation it is.",
            hint=f"Say which one: --head-activation {'|'.join(ACTIVATIONS)}.",
        )
    told = f"{activation} stands before {where}, as --head-activation says"
    first = f"; what is before {found.name(indices[0])} is taken for dropout" if starts else ""
    return dict.fromkeys(gaps, (activation,)), (f"{told}{first}.",), True


def _activation(name: str) -> nn.Module:
    from torch import nn

    makers: dict[str, type[nn.Module]] = {
        "gelu": nn.GELU,
        "relu": nn.ReLU,
        "silu": nn.SiLU,
        "tanh": nn.Tanh,
        "none": nn.Identity,
    }
    return makers[name]()


def _layer(layer: Layer, eps: float) -> nn.Module:
    import torch
    from torch import nn

    from deploykit_exporters.families.shared.unfilled import unfilled

    weight = layer["weight"]
    made: nn.Module
    with unfilled():
        if weight.ndim == 2:
            made = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in layer)
        elif "running_mean" in layer:
            made = nn.BatchNorm1d(weight.shape[0], eps=eps)
        else:
            made = nn.LayerNorm(weight.shape[0], eps=eps, bias="bias" in layer)
    made = made.to_empty(device="cpu")
    state = {"num_batches_tracked": torch.tensor(0), **layer} if "running_mean" in layer else dict(layer)
    made.load_state_dict(state, strict=True)
    return made.eval().requires_grad_(False)
