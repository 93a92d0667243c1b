"""The layers of a whole Keras model, as listed in its configuration: what they say beyond the weights, and
which of them would compute something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.efficientnet.network import Activation
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.setting_values import pair_of

__all__ = ["KerasLayers", "read_layers"]

_ACTIVATIONS: dict[str, Activation] = {
    **dict.fromkeys(("swish", "silu"), "silu"),
    "relu": "relu",
    "relu6": "relu6",
    "gelu": "gelu",
    "hard_swish": "hard_swish",
    "hard_silu": "hard_swish",
    "mish": "mish",
}
_SCORES = ("softmax", "sigmoid", "linear")
_HARMLESS = {
    "inactive in inference": (
        *("Dropout", "FixedDropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
        *("ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation"),
        *("RandomContrast", "RandomBrightness", "RandomCrop", "RandomHeight", "RandomWidth"),
    ),
    "structure": (
        *("InputLayer", "Functional", "Model", "Sequential", "Reshape", "Flatten", "Multiply", "Add"),
        *("ZeroPadding2D", "GlobalAveragePooling2D"),
    ),
}
_READ = (
    "Conv2D",
    "DepthwiseConv2D",
    "BatchNormalization",
    "Activation",
    "Dense",
    "Normalization",
    "Rescaling",
)
_DEEPEST = 8


@dataclass(frozen=True, kw_only=True)
class KerasLayers:
    """What a model's configuration says.

    Attributes:
        eps: The eps of every BatchNormalization; None if there is none.
        activation: The network's activation; None if unknown.
        scores: Activation of the last layer: ``softmax``, ``sigmoid``, ``linear``; empty if unknown.
        rescaling: (scale, offset) of a lone Rescaling layer without a Normalization; None for none.
        strides: Strides of each convolution, by its name.
        settings: Every class of layers, and what became of it.
    """

    eps: float | None = None
    activation: Activation | None = None
    scores: str = ""
    rescaling: tuple[float, float] | None = None
    strides: Mapping[str, tuple[int, ...]]
    settings: tuple[Setting, ...] = ()


def read_layers(model: Any, ignore: tuple[str, ...]) -> KerasLayers | None:
    """Read ``model_config``; returns None if a file holds only weights.

    Args:
        model: The configuration.
        ignore: Settings that the user says do not matter, as ``Settings`` takes them:
            ``model_config:Lambda``.

    Raises:
        CheckpointError: a layer cannot be built, or is applied differently than it is built.
    """
    if not isinstance(model, Mapping):
        return None
    layers = list(_walk(model, 0))
    counts = Counter(kind for kind, _ in layers)
    settings = Settings("model_config", {kind: f"{count} layers" for kind, count in counts.items()}, ignore)
    for why, group in _HARMLESS.items():
        settings.harmless(why, *group)
    settings.honoured(*_READ)
    ignored = {one.name for one in settings.account(strict=False) if one.treatment == "ignored"}
    layers = [(kind, config) for kind, config in layers if kind not in ignored]
    unknown = settings.open()
    for kind, config in layers:
        if kind in unknown:
            raise CheckpointError(
                f"The Keras model has the layer {config.get('name')!r} of the class {kind}, which deploykit "
                "does not build.",
                hint="Save the weights of the network alone, or the model without that layer; if it does not "
                f"matter, say so: --ignore model_config:{kind}",
            )
    of = {kind: [config for one, config in layers if one == kind] for kind in _READ}
    norms = {float(config.get("epsilon", 1e-3)) for config in of["BatchNormalization"]}
    return KerasLayers(
        eps=_only("values of epsilon", norms),
        activation=_activation(layers),
        scores=_scores(layers),
        rescaling=_rescaling(of["Rescaling"], of["Normalization"]),
        strides={
            str(config.get("name")): pair_of(config.get("strides", 1))
            for config in (*of["Conv2D"], *of["DepthwiseConv2D"])
        },
        settings=settings.account(strict=False),
    )


def _walk(layer: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    config = layer.get("config")
    if not isinstance(config, Mapping) or depth > _DEEPEST:
        raise CheckpointError("The Keras model's configuration is not a tree of layers.")
    yield str(layer.get("class_name")).rpartition(">")[2], config
    inner = config.get("layers")
    for one in inner if isinstance(inner, list) else ():
        if isinstance(one, Mapping):
            yield from _walk(one, depth + 1)


def _only(what: str, found: set[Any]) -> Any:
    if len(found) > 1:
        raise CheckpointError(
            f"The Keras model has several {what}: {', '.join(sorted(map(str, found)))}; deploykit builds one."
        )
    return next(iter(found), None)


def _activation(layers: list[tuple[str, Mapping[str, Any]]]) -> Activation | None:
    """The network's activation; also checks the gates of squeeze-and-excitation."""
    found = set()
    for kind, config in layers:
        name, told = str(config.get("name")), _word(config.get("activation", "linear"))
        gate = name.endswith("se_expand")
        if kind == "Activation" and told not in _SCORES:
            found.add(told)
        elif kind in {"Conv2D", "DepthwiseConv2D"} and gate and told != "sigmoid":
            raise CheckpointError(f"The Keras layer {name} has the activation {told}; wanted sigmoid.")
        elif kind in {"Conv2D", "DepthwiseConv2D"} and not gate and told != "linear":
            found.add(told)
    unknown = sorted(found - _ACTIVATIONS.keys())
    if unknown:
        raise CheckpointError(
            f"The Keras model has the activation {unknown[0]}, which deploykit does not build."
        )
    activation: Activation | None = _only("activations", {_ACTIVATIONS[name] for name in found})
    return activation


def _scores(layers: list[tuple[str, Mapping[str, Any]]]) -> str:
    """The activation of the last layer, which turns logits into scores."""
    after = [
        (kind, _word(config.get("activation", "linear")))
        for kind, config in layers
        if kind == "Dense" or (kind == "Activation" and _word(config.get("activation", "linear")) in _SCORES)
    ]
    dense = [told for kind, told in after if kind == "Dense"]
    if dense and dense[-1] not in _SCORES:
        raise CheckpointError(
            f"The last Dense layer of the Keras model has the activation {dense[-1]}; deploykit knows "
            f"{', '.join(_SCORES)}."
        )
    return after[-1][1] if after else ""


def _rescaling(
    rescalings: list[Mapping[str, Any]], normalisations: list[Mapping[str, Any]]
) -> tuple[float, float] | None:
    """A lone Rescaling layer; those of ``keras.applications`` come with a Normalization.

    Raises:
        CheckpointError: the layers are not of these kinds.
    """
    numbers = [
        (float(config["scale"]), float(config.get("offset", 0.0)))
        for config in rescalings
        if isinstance(config.get("scale"), int | float) and isinstance(config.get("offset", 0.0), int | float)
    ]
    if not rescalings:
        return None
    first_is_unit = bool(numbers) and abs(numbers[0][0] * 255 - 1) < 1e-6 and numbers[0][1] == 0
    if normalisations and first_is_unit and len(numbers) == 1:
        return None
    if not normalisations and len(numbers) == len(rescalings) == 1:
        return numbers[0]
    raise CheckpointError(
        f"The Keras model has {len(rescalings)} Rescaling and {len(normalisations)} Normalization layers; "
        "deploykit reads those of keras.applications, or one Rescaling.",
        hint="Give the pre-processing with --config, and say: --ignore model_config:Rescaling",
    )


def _word(activation: Any) -> str:
    """``swish`` for ``"swish"``, ``keras.activations.swish`` or a configuration."""
    if isinstance(activation, Mapping):
        activation = activation.get("class_name", activation.get("config"))
    return str(activation).rpartition(".")[2]
