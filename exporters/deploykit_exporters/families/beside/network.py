"""Settings of the network (heads, activation, eps, pooling), compared with what was built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deploykit_exporters.families.beside.as_built import BuiltNetwork, plain
from deploykit_exporters.families.beside.images import IMAGES, STATISTICS, normalization
from deploykit_exporters.families.beside.verdict import (
    AGREES,
    UNCLEAR,
    Comparison,
    Verdict,
    are_numbers,
    either,
    word_of,
)
from deploykit_exporters.families.beside.vocabulary import ACTIVATION_FLAGS, Topic
from deploykit_exporters.families.shared.setting_values import sides_of

__all__ = ["COSINES", "compare", "says_several", "scores_of"]

_POOLS = {
    "token": ("token", "cls", "clstoken", "classtoken", "class", "first", "cls_token"),
    "avg": (
        *(
            "avg",
            "mean",
            "average",
            "gap",
            "avgpool",
            "averagepool",
            "globalavg",
            "globalaverage",
            "meanpool",
        ),
        *("avgpooling", "averagepooling", "meanpooling", "globalaveragepooling", "adaptiveavgpool2d"),
        *("globalavgpool", "adaptiveavg", "globalpool", "patches"),
    ),
    "max": ("max", "gmp", "maxpool", "globalmax", "maxpooling", "adaptivemaxpool2d"),
    "avgmax": ("avgmax", "adaptiveavgmax"),
    "map": ("map", "attention", "attn", "attentionpool", "attnpool", "attentionpooling"),
}
_LEARNED = (
    "learn",
    "learned",
    "learnable",
    "learnt",
    "absolute",
    "abs",
    "ape",
    "sincos",
    "sincos2d",
    "1d",
    "2d",
)
_NORM_WORDS = {
    "ln": "layernorm",
    "layer": "layernorm",
    "bn": "batchnorm",
    "batch": "batchnorm",
    "gn": "groupnorm",
    "group": "groupnorm",
    "rms": "rmsnorm",
}
_USUAL_ATTENTION = (
    *("sdpa", "eager", "flash", "xformers", "memory", "math", "multihead", "mha", "self", "standard"),
    *("vanilla", "softmax", "full", "default", "global", "dot", "scaled", "attn", "attention", "naive"),
    *("fused", "torch", "none", "normal", "regular", "nnmultihead", "paged"),
)
COSINES = (
    *("cos", "arc", "sphereface", "normface", "normed", "normlinear", "normalized", "amsoftmax"),
    *("adaface", "curricularface", "magface", "subcenter", "proxy", "prototyp", "proto", "ncm", "margin"),
)
"""The starts of names of classifiers that compare directions: features and weights have length 1 there."""
_OFF = {"none", "false", "off", "no", ""}
_AS_GIVEN = "the scores as the classifier gives them"


def compare(
    about: Topic, value: Any, built_as: BuiltNetwork, name: frozenset[str], beside: Mapping[str, Any]
) -> Verdict:
    """Compare a setting with what was built.

    Args:
        about: The topic_of of the setting.
        value: Its value, of any type.
        built_as: BuiltNetwork about what was built.
        name: The words of its name.
        beside: The settings in the same place.
    """
    if value is None or value == "" or (isinstance(value, Mapping) and not value):
        return UNCLEAR
    return _COMPARISONS[about](value, built_as, name, beside)


def _one_of(value: Any, built: Sequence[Any]) -> Verdict:
    own = built[0] if len(built) == 1 else list(built)
    told = list(value) if isinstance(value, list | tuple) else [value]
    if not built or told == list(built) or (len(told) == 1 and len(built) > 1 and told[0] in built):
        return AGREES if built else UNCLEAR
    return Verdict(differs=True, built=own)


def _heads(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    image = built_as.spec.input
    if name == {"h"} and value in (image.height, image.width):
        return AGREES  # a height
    return _one_of(value, built_as.heads) if are_numbers(value) and not _has_fraction(value) else UNCLEAR


def _head_width(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    if not are_numbers(value) or value in built_as.sizes:  # the width of a layer of the classifier
        return UNCLEAR
    return _one_of(value, built_as.head_width)


def _activation(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    word = _flagged(name) if isinstance(value, bool) else plain(word_of(value))
    if not word or not built_as.activations or word in _LEARNED:
        return UNCLEAR
    if value is False:
        used = word in built_as.activations
        return Verdict(differs=True, built=either(built_as.activations)) if used else AGREES
    if word in (*built_as.activations, *built_as.head_activations):  # of a classifier of several layers
        return AGREES
    return Verdict(differs=True, built=either(built_as.activations))


def _scores(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    word = scores_of(value, name)
    own = built_as.spec.output.activation
    known = {"none": "none", "identity": "none", "linear": "none", "logsoftmax": "softmax"}
    if not word or built_as.spec.task != "classify":
        return UNCLEAR
    # Logits are given in any case: their scores are the usual ones unless the file says which.
    return AGREES if known.get(word, word) in (own, "none") else Verdict(differs=True, built=own)


def _flagged(name: frozenset[str]) -> str:
    """The activation that a flag is named after: ``use_quick_gelu``."""
    if {"quick", "gelu"} <= name:
        return "quickgelu"
    return "relu6" if {"relu", "6"} <= name else plain(next(iter(name & ACTIVATION_FLAGS), ""))


def scores_of(value: Any, name: frozenset[str]) -> str:
    """How a setting turns logits into scores: a name, or a flag of that name; otherwise empty."""
    if isinstance(value, bool):
        return next(iter(name & {"softmax", "sigmoid"}), "") if value else ""
    return plain(word_of(value))


def says_several(value: Any) -> bool:
    """Whether a setting says that an image may have several classes: a flag, or a problem type."""
    return value is True or (isinstance(value, str) and plain(value).startswith("multilabel"))


def _multi_label(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    if not says_several(value) or built_as.spec.task != "classify":
        return UNCLEAR
    own = built_as.spec.output.activation
    return AGREES if own == "sigmoid" else Verdict(differs=True, built=f"{own} of all classes")


def _eps(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    asked = {_NORM_WORDS[word] for word in name & _NORM_WORDS.keys()}
    own = [eps for kind, values in built_as.eps.items() if not asked or kind in asked for eps in values]
    return _one_eps(value, own)


def _head_eps(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    return _one_eps(value, built_as.head_eps)


def _one_eps(value: Any, own: Sequence[float]) -> Verdict:
    if not own or not are_numbers(value) or isinstance(value, list | tuple):
        return UNCLEAR
    if any(math.isclose(value, one, rel_tol=1e-4, abs_tol=1e-9) for one in own):
        return AGREES
    return Verdict(differs=True, built=either(own))


def _pool(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    if isinstance(value, bool):
        if name <= {"global", "pool", "gp"}:  # MAE's
            value = "avg" if value else "token"
        elif not value or not name & {"mean", "avg", "average", "max", "attention", "cls"}:
            return UNCLEAR
        else:
            value = next(
                word for word in ("max", "attention", "cls", "avg", "mean", "average") if word in name
            )
    several = [plain(word_of(one)) for one in (value if isinstance(value, list | tuple) else (value,))]
    if not all(several):
        return UNCLEAR
    same = several and set(several) <= {*_POOLS.get(built_as.pool, (built_as.pool,))}
    return AGREES if same else Verdict(differs=True, built=built_as.pool)


def _patch(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    return AGREES if sides_of(value) == built_as.patch else UNCLEAR  # read from the weights


def _stride(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    if built_as.stride is None:
        return UNCLEAR
    if isinstance(value, bool) and name & {"overlap", "overlapping"}:
        if value == (built_as.stride != built_as.patch):
            return AGREES
        return Verdict(differs=True, built=f"patches that {'do not ' if value else ''}overlap")
    if not are_numbers(value) or not _truthy(value):
        return UNCLEAR
    return (
        AGREES if sides_of(value) == built_as.stride else Verdict(differs=True, built=list(built_as.stride))
    )


def _padding(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if not built_as.padding or word not in ("same", "tf", "tensorflow", "symmetric", "torch", "pytorch"):
        return UNCLEAR
    same = word in ("same", "tf", "tensorflow")
    return AGREES if same == (built_as.padding == "same") else Verdict(differs=True, built=built_as.padding)


def _norm(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if word in STATISTICS:
        return normalization(word, built_as)
    if not word or not built_as.norms or word in {"none", "identity"}:
        return UNCLEAR
    known = _NORM_WORDS.get(word, word)
    return AGREES if known.startswith(built_as.norms) else Verdict(differs=True, built=either(built_as.norms))


def _norm_order(value: Any, _: BuiltNetwork, name: frozenset[str], *__: Any) -> Verdict:
    first = value if "first" in name else not value
    return AGREES if first is True else Verdict(differs=True, built="norms before the layers")


def _positions(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if not word or not built_as.learned_positions:
        return UNCLEAR
    return AGREES if word in _LEARNED else Verdict(differs=True, built="learned positions")


def _scale(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    own = [width**-0.5 for width in built_as.head_width]
    if not own or not are_numbers(value) or isinstance(value, list | tuple):
        return UNCLEAR
    same = any(math.isclose(value, one, rel_tol=1e-3) for one in own)
    return AGREES if same else Verdict(differs=True, built=either([round(one, 5) for one in own]))


def _other(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    if name & {"rope", "rotary"} and built_as.rotary:
        return AGREES if value is True else UNCLEAR
    if name & {"invert", "inverted"} and value is not True:
        return UNCLEAR  # the share of images of an augmentation
    words = {"none", "false", "off", "no", "default", "sdpa", "eager"}
    usual = (
        not _truthy(value)
        or (type(value) is int and value == 1)
        or (isinstance(value, str) and value.lower() in words)
    )
    return UNCLEAR if usual else Verdict(differs=True, built="none of it")


def _class_token(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    if not isinstance(value, bool) or built_as.class_token is None:
        return UNCLEAR
    told = value != bool(name & {"no", "without"})
    if name & {"use", "pool", "only"}:  # what the classifier is given
        return AGREES if told == (built_as.pool == "token") else Verdict(differs=True, built=built_as.pool)
    built = "a class token" if built_as.class_token else "no class token"
    return AGREES if told == built_as.class_token else Verdict(differs=True, built=built)


def _patch_tokens(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    if not isinstance(value, bool) or built_as.class_token is None:
        return UNCLEAR
    if not value or built_as.pool != "token":
        return AGREES
    return Verdict(differs=True, built="the class token alone")


def _layer(value: Any, built_as: BuiltNetwork, name: frozenset[str], *_: Any) -> Verdict:
    if not built_as.depth or not are_numbers(value) or _has_fraction(value):
        return UNCLEAR
    last = {1} if name & {"n", "num"} else {built_as.depth - 1, built_as.depth, -1}
    values = value if isinstance(value, list | tuple) else [value]
    same = len(values) == 1 and values[0] in last
    return AGREES if same else Verdict(differs=True, built="the last block alone")


def _window(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    sides, patch = sides_of(value), built_as.patch
    if sides is None or patch is None or not (built_as.learned_positions or built_as.rotary):
        return UNCLEAR
    image = built_as.spec.input
    whole = all(
        side * one >= own for side, one, own in zip(sides, patch, (image.height, image.width), strict=True)
    )
    return AGREES if whole else Verdict(differs=True, built="attention over the whole image")


def _attention(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if not word or not built_as.heads:
        return UNCLEAR
    return AGREES if word.startswith(_USUAL_ATTENTION) else Verdict(differs=True, built="softmax attention")


def _classifier(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if built_as.spec.task != "classify" or not word.startswith(COSINES):
        return UNCLEAR
    return Verdict(differs=True, built="linear layers on the features as they are")


def _features(value: Any, built_as: BuiltNetwork, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if built_as.spec.task != "classify" or not (value is True or word.startswith(("l2", "unit", "cosine"))):
        return UNCLEAR
    return Verdict(differs=True, built="a classifier on the features as they are")


def _calibration(
    value: Any, built_as: BuiltNetwork, name: frozenset[str], beside: Mapping[str, Any]
) -> Verdict:
    if built_as.spec.task != "classify" or (name == {"s"} and not {"m", "margin"} & beside.keys()):
        return UNCLEAR  # s may be anything; beside a margin it is the scale of cosines
    numbers = value if isinstance(value, list | tuple) else [value]
    if not are_numbers(value):
        said = value is True or (isinstance(value, str) and plain(value) not in _OFF)
        return Verdict(differs=True, built=_AS_GIVEN) if said else UNCLEAR
    usual = 0 if name & {"bias", "shift", "offset", "adjust", "adjusted", "adjustment", "adj"} else 1
    if name == {"tau"} and all(0 <= one <= 1 for one in numbers):
        return UNCLEAR  # of a moving average
    same = len(set(numbers)) == 1 and (len(numbers) > 1 or numbers[0] in (usual, 0))
    return AGREES if same else Verdict(differs=True, built=_AS_GIVEN)


_COMPARISONS: dict[Topic, Comparison] = {
    **IMAGES,
    "heads": _heads,
    "head width": _head_width,
    "activation": _activation,
    "scores": _scores,
    "multi-label": _multi_label,
    "eps": _eps,
    "pool": _pool,
    "patch": _patch,
    "stride": _stride,
    "padding": _padding,
    "norm": _norm,
    "norm order": _norm_order,
    "positions": _positions,
    "scale": _scale,
    "class token": _class_token,
    "patch tokens": _patch_tokens,
    "layer": _layer,
    "window": _window,
    "attention": _attention,
    "classifier": _classifier,
    "features": _features,
    "head eps": _head_eps,
    "calibration": _calibration,
    "other": _other,
}


def _has_fraction(value: Any) -> bool:
    return any(isinstance(one, float) for one in (value if isinstance(value, list | tuple) else [value]))


def _truthy(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return any(one not in (0, None, False, "") for one in values)
