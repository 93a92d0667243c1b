"""What an EfficientNet's pickled module says: eps, activation, and how each convolution is applied.

For the forms whose layers have other names than ours (torchvision, lukemelas, mmpretrain). None of its code
runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from deploykit_runtimes.errors import CheckpointError
from torch import nn

from deploykit_exporters.containers.pickles.inert import class_path, walk
from deploykit_exporters.families.efficientnet.network import Activation
from deploykit_exporters.families.efficientnet.source import EfficientNetSource
from deploykit_exporters.families.shared.setting_values import pair_of, sides_of

__all__ = ["with_module_settings"]

_ACTIVATIONS: dict[str, Activation | None] = {
    "SiLU": "silu",
    "Swish": "silu",
    "MemoryEfficientSwish": "silu",
    "ReLU6": "relu6",
    "ReLU": "relu",
    "GELU": "gelu",
    "Hardswish": "hard_swish",
    "LeakyReLU": "leaky_relu",
    "Mish": "mish",
    **dict.fromkeys(("ELU", "CELU", "SELU", "PReLU", "Softplus", "QuickGELU", "GELUTanh")),
}
# Layers without weights that every form has; what ends a classifier is looked at apart.
_POOLS_AND_GATES = {"AdaptiveAvgPool2d", "Sigmoid"}
_CLASSIFIERS = ("classifier", "_fc", "head")
_LOOKED_AT = ("torch.nn.modules.pooling.", "torch.nn.modules.activation.")
_Value = TypeVar("_Value")
_CONVOLUTION = ("stride", "dilation", "groups")
_IMAGE_SIZE = 2  # Of EfficientNet-PyTorch's GlobalParams.


def with_module_settings(
    source: EfficientNetSource, module: Any, prefix: str, *, features: bool
) -> EfficientNetSource:
    """The same source with what the pickled module says beyond its weights.

    Args:
        source: What the weights show.
        module: ``Checkpoint.module``.
        prefix: Path of the network inside it.
        features: The pooling of the last feature map does not matter.

    Raises:
        CheckpointError: norms or activations differ from each other, or cannot be built.
    """
    layers = {
        path.removeprefix(prefix): layer
        for path, layer in walk(module)
        if path.startswith(prefix) or not prefix
    }
    _refuse_others(layers, features=features)
    used = {key.rpartition(".")[0] for key in source.names.values()}
    if not used & layers.keys():
        return source
    plan = replace(
        source.plan,
        eps=_only(
            "eps of the norms",
            {float(layers[path].eps) for path in used & layers.keys() if hasattr(layers[path], "eps")},
            source.plan.eps,
        ),
        activation=_activation(layers, source.plan.activation),
    )
    size = _image_size(layers.values())
    if size is not None:
        plan = replace(plan, padded_for=size)
    return replace(source, plan=plan, confirm=partial(_confirm, layers, source.names, source.confirm))


def _refuse_others(layers: Mapping[str, Any], *, features: bool) -> None:
    """Refuse poolings and gates that no EfficientNet has.

    Raises:
        CheckpointError: names the first one.
    """
    for path, layer in layers.items():
        kind = class_path(layer)
        short = kind.rpartition(".")[2]
        known = short in _ACTIVATIONS or short in _POOLS_AND_GATES or (features and "Pool" in short)
        apart = path.endswith("pooler") or path.startswith(_CLASSIFIERS)
        if kind.startswith(_LOOKED_AT) and not known and not apart:
            raise CheckpointError(
                f"The pickled module has {path}, a {short}; deploykit builds EfficientNets with the mean of "
                "the last feature map and sigmoid gates.",
                hint="Export the feature maps with --features, if only their pooling is another.",
            )


def _only(what: str, found: set[_Value], default: _Value) -> _Value:
    if len(found) > 1:
        listed = ", ".join(sorted(map(str, found)))
        raise CheckpointError(f"The pickled module has several {what} ({listed}); deploykit builds one.")
    return next(iter(found), default)


def _activation(layers: Mapping[str, Any], default: Activation) -> Activation:
    kinds = {type(layer).__name__ for path, layer in layers.items() if not path.startswith(_CLASSIFIERS)}
    unknown = [kind for kind in kinds & _ACTIVATIONS.keys() if _ACTIVATIONS[kind] is None]
    if unknown:
        raise CheckpointError(f"The pickled module has the activation {unknown[0]}, which is not built.")
    found = {activation for kind in kinds if (activation := _ACTIVATIONS.get(kind)) is not None}
    return _only("activations", found, default)


def _image_size(layers: Any) -> tuple[int, int] | None:
    """The size that EfficientNet-PyTorch's static padding was made for; None for others, or if it is
    dynamic.
    """
    for layer in layers:
        if class_path(layer) == "efficientnet_pytorch.model.EfficientNet":
            told = layer._global_params.inert_args
            size = told[_IMAGE_SIZE] if len(told) > _IMAGE_SIZE else None
            if size is not None:
                return sides_of(size, channels=False)
    return None


def _confirm(layers: Mapping[str, Any], names: Mapping[str, str], before: Any, net: nn.Module) -> None:
    """Compare each convolution with the pickled one.

    Raises:
        CheckpointError: one is applied differently.
    """
    if before is not None:
        before(net)
    for path, module in net.named_modules():
        told = layers.get(names.get(f"{path}.weight", "").rpartition(".")[0])
        if not isinstance(module, nn.Conv2d) or told is None:
            continue
        for name in _CONVOLUTION:
            there, here = getattr(told, name, None), getattr(module, name)
            if there is not None and pair_of(there) != pair_of(here):
                raise CheckpointError(
                    f"The pickled module has {name} = {pair_of(there)} at {names[f'{path}.weight']}; "
                    f"deploykit builds EfficientNets with {pair_of(here)} there."
                )
