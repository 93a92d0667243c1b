"""The model that timm builds from the name and the arguments in a file.

The weights only show shapes. The rest (heads, activation, eps, pooling) is read from the model that timm
itself builds, and deploykit's model is compared with it layer by layer and attribute by attribute, so that
an argument unknown to deploykit cannot go unnoticed. A pickled module takes the place of that model, since
its stand-in has the same attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.optional import require
from deploykit_runtimes.text.printable import one_line

from deploykit_exporters.containers.pickles.inert import InertObject, class_path, walk

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ACTIVATIONS",
    "activation_of",
    "build_template",
    "differences",
    "first_of",
    "modules_of",
    "other_weights",
    "parameters_of",
    "pickled_model",
    "refuse_differences",
]

ACTIVATIONS = (
    *("gelu", "quick_gelu", "gelu_tanh", "silu", "relu", "relu6", "leaky_relu", "elu", "celu", "selu"),
    *("mish", "sigmoid", "tanh", "hard_sigmoid", "hard_swish", "hard_mish"),
)
"""timm's names of the activations without weights."""

_LARGEST = {"depth": 200, "depth_multiplier": 10, "channel_multiplier": 10}
_MOST = 1 << 20
_WRONG = (
    *(TypeError, ValueError, RuntimeError, AssertionError),
    *(LookupError, ArithmeticError, AttributeError),
)
# Layers that do nothing in evaluation.
_NOTHING = {"Dropout", "DropPath", "PatchDropout", "Identity"}
# Attributes that no answer depends on, or that follow from the shapes of the weights.
_HARMLESS = {
    *("training", "inplace", "fused_attn", "grad_checkpointing", "fix_init", "weight_init", "num_classes"),
    *("img_size", "grid_size", "num_patches", "dynamic_img_size", "strict_img_size", "flatten", "output_fmt"),
    *("head_dim", "attn_dim", "init_values", "p", "drop_prob", "distilled_training", "weight_init_mode"),
    "approximate",  # Two kinds of layers, see _kind.
}


def build_template(name: str, arguments: Mapping[str, Any], *, where: str) -> Any:
    """timm's model of a name, without weights, on the meta device.

    Args:
        name: Name of an architecture that timm has.
        arguments: Arguments of its constructor, as plain values.
        where: Where the arguments are from, for errors.

    Raises:
        CheckpointError: timm has no such model with these arguments.
    """
    from deploykit_exporters.families.shared.unfilled import unfilled

    timm = require("timm", extra="export", purpose="know an architecture by its name")
    for key, value in arguments.items():
        numbers = [one for one in (value if isinstance(value, tuple) else (value,)) if _is_number(one)]
        if any(not abs(one) <= _LARGEST.get(key, _MOST) for one in numbers):
            raise CheckpointError(f"{where} says {key} = {value}, which no {name} has.")
    try:
        with unfilled():
            return timm.create_model(name, pretrained=False, **arguments)
    except _WRONG as error:
        told = ", ".join(f"{key} = {value!r}" for key, value in arguments.items())
        wrong = next((key for key in arguments if f"'{key}'" in str(error)), "NAME")
        raise CheckpointError(
            f"timm builds no {name} with {told} ({type(error).__name__}: {one_line(error)}).",
            hint=f"These are from {where}. Leave out what does not belong to the model: --ignore {wrong}",
        ) from error


def parameters_of(kind: type, *more: str) -> tuple[str, ...]:
    """The parameters of a constructor, including those passed on by functions that call it."""
    return (*signature(kind.__init__).parameters, *more)  # type: ignore[misc]


def first_of(parts: Sequence[str]) -> str:
    """The first of some parts of a sentence, and the number of further ones."""
    return f"{parts[0]}{f' and {len(parts) - 1} more' if len(parts) > 1 else ''}"


def refuse_differences(found: Sequence[str], which: str, hint: str) -> None:
    """Refuse to build a model that differs from timm's.

    Args:
        found: The differences, in parts of sentences.
        which: timm's model, and what names it.
        hint: What the user can do.

    Raises:
        CheckpointError: there are differences.
    """
    if found:
        raise CheckpointError(
            f"deploykit would build another model than timm's {which}: {first_of(found)}.", hint=hint
        )


def pickled_model(module: Any) -> Any:
    """timm's model in a pickled module, as a stand-in; None if there is none, or if there are several.

    Args:
        module: ``Checkpoint.module``.
    """
    found = [
        inner
        for path, inner in walk(module)
        if class_path(inner).startswith("timm.models.") and "blocks" in inner.__dict__["_modules"]
    ]
    return found[0] if len(found) == 1 else None


def modules_of(model: Any) -> dict[str, Any]:
    """Every layer of a model or of its stand-in, by dotted name."""
    return dict(walk(model) if isinstance(model, InertObject) else model.named_modules())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def activation_of(layer: Any) -> str:
    """timm's name of an activation.

    Raises:
        CheckpointError: it has none.
    """
    find = require("timm.layers", extra="export").get_act_layer
    kind = _kind(layer)
    for name in ACTIVATIONS:
        if kind == _kind(find(name)()):
            return name
    raise CheckpointError(
        f"The model has the activation {type(layer).__name__}, which deploykit does not read."
    )


def other_weights(
    template: nn.Module, tensors: Mapping[str, Any], *, except_for: tuple[str, ...]
) -> list[str]:
    """How the weights of a file differ from those of the named model.

    Args:
        tensors: The weights under timm's names.
        except_for: Starts of keys that are not compared.

    Returns:
        Sentences' parts, the most telling first: ``blocks.0.attn.qkv.weight is [576, 192], not [1152, 384]``.
    """
    wanted = {key: list(tensor.shape) for key, tensor in template.state_dict().items()}
    found = {key: list(tensor.shape) for key, tensor in tensors.items()}
    compared = {key for key in (*wanted, *found) if not key.startswith(except_for)}
    differ = [
        f"{key} is {found[key]}, not {wanted[key]}"
        for key in wanted
        if key in compared and key in found and found[key] != wanted[key]
    ]
    missing = [f"{key} is missing" for key in wanted if key in compared and key not in found]
    more = [f"{key} is there" for key in found if key in compared and key not in wanted]
    return [*differ, *missing, *more]


def differences(template: Any, net: nn.Module, *, shapes: bool = True) -> list[str]:
    """How a network differs from timm's model, except in its classifier and its sizes.

    Args:
        template: timm's model, or the stand-in of a pickled one, for which only common attributes are
            compared, since another release of timm may have written it.
        net: The network, also made of timm's layers.
        shapes: The weights are those of the template, so that shapes are compared too.

    Returns:
        Parts of sentences: ``blocks.0.norm1.eps is 1e-05 there, 1e-06 here``.
    """
    theirs, ours = modules_of(template), modules_of(net)
    pickled = isinstance(template, InertObject)
    found = []
    for name in theirs.keys() | ours.keys() if shapes and not pickled else theirs.keys() & ours.keys():
        if name == "head" or name.startswith("head."):
            continue
        their, our = (_kind(modules[name]) if name in modules else "" for modules in (theirs, ours))
        nothing = {their, our} & {"", "Identity"}
        if their != our and (shapes or not nothing) and name and not {their, our} <= {"", "Identity"}:
            found.append(f"{name} is {their or 'nothing'} there, {our or 'nothing'} here")
        elif their and our and not nothing:
            found.extend(_attributes(name, theirs[name], ours[name], shapes=shapes))
    return sorted(found)


def _attributes(name: str, template: Any, net: Any, *, shapes: bool) -> list[str]:
    theirs, ours = _simple(template), _simple(net)
    both = theirs.keys() & ours.keys()
    if not shapes:
        names = both & {"eps"}
    else:
        names = both if isinstance(template, InertObject) else theirs.keys() | ours.keys()
    return [
        f"{f'{name}.' if name else ''}{key} is {theirs.get(key)} there, {ours.get(key)} here"
        for key in names
        if theirs.get(key) != ours.get(key)
    ]


def _simple(module: Any) -> dict[str, Any]:
    """The attributes that are numbers, words or tuples of them."""
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and key not in _HARMLESS
        and all(one is None or isinstance(one, bool | int | float | str) for one in _items(value))
    }


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)


def _kind(layer: Any) -> str:
    """The name of a layer's class, with one name for all layers that compute the same."""
    name = type(layer).__name__
    if name in _NOTHING:
        return "Identity"
    if name == "GELU" and getattr(layer, "approximate", "none") == "tanh":
        return "GELUTanh"
    return name
