"""Settings of the network (heads, activation, eps, pooling), compared with what was built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deploykit_exporters.families.beside.as_built import Facts, plain
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
from deploykit_exporters.families.beside.vocabulary import ACTIVATION_FLAGS, Subject
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
    about: Subject, value: Any, facts: Facts, name: frozenset[str], beside: Mapping[str, Any]
) -> Verdict:
    """Compare a setting with what was built.

    Args:
        about: The subject of the setting.
        value: Its value, of any type.
        facts: Facts about what was built.
        name: The words of its name.
        beside: The settings in the same place.
    """
    if value is None or value == "" or (isinstance(value, Mapping) and not value):
        return UNCLEAR
    return _COMPARISONS[about](value, facts, name, beside)


def _one_of(value: Any, built: Sequence[Any]) -> Verdict:
    own = built[0] if len(built) == 1 else list(built)
    told = list(value) if isinstance(value, list | tuple) else [value]
    if not built or told == list(built) or (len(told) == 1 and len(built) > 1 and told[0] in built):
        return AGREES if built else UNCLEAR
    return Verdict(differs=True, built=own)


def _heads(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    image = facts.spec.input
    if name == {"h"} and value in (image.height, image.width):
        return AGREES  # a height
    return _one_of(value, facts.heads) if are_numbers(value) and not _has_fraction(value) else UNCLEAR


def _head_width(value: Any, facts: Facts, *_: Any) -> Verdict:
    if not are_numbers(value) or value in facts.sizes:  # the width of a layer of the classifier
        return UNCLEAR
    return _one_of(value, facts.head_width)


def _activation(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    word = _flagged(name) if isinstance(value, bool) else plain(word_of(value))
    if not word or not facts.activations or word in _LEARNED:
        return UNCLEAR
    if value is False:
        used = word in facts.activations
        return Verdict(differs=True, built=either(facts.activations)) if used else AGREES
    if word in (*facts.activations, *facts.head_activations):  # of a classifier of several layers
        return AGREES
    return Verdict(differs=True, built=either(facts.activations))


def _scores(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    word = scores_of(value, name)
    own = facts.spec.output.activation
    known = {"none": "none", "identity": "none", "linear": "none", "logsoftmax": "softmax"}
    if not word or facts.spec.task != "classify":
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


def _multi_label(value: Any, facts: Facts, *_: Any) -> Verdict:
    if not says_several(value) or facts.spec.task != "classify":
        return UNCLEAR
    own = facts.spec.output.activation
    return AGREES if own == "sigmoid" else Verdict(differs=True, built=f"{own} of all classes")


def _eps(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    asked = {_NORM_WORDS[word] for word in name & _NORM_WORDS.keys()}
    own = [eps for kind, values in facts.eps.items() if not asked or kind in asked for eps in values]
    return _one_eps(value, own)


def _head_eps(value: Any, facts: Facts, *_: Any) -> Verdict:
    return _one_eps(value, facts.head_eps)


def _one_eps(value: Any, own: Sequence[float]) -> Verdict:
    if not own or not are_numbers(value) or isinstance(value, list | tuple):
        return UNCLEAR
    if any(math.isclose(value, one, rel_tol=1e-4, abs_tol=1e-9) for one in own):
        return AGREES
    return Verdict(differs=True, built=either(own))


def _pool(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
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
    same = several and set(several) <= {*_POOLS.get(facts.pool, (facts.pool,))}
    return AGREES if same else Verdict(differs=True, built=facts.pool)


def _patch(value: Any, facts: Facts, *_: Any) -> Verdict:
    return AGREES if sides_of(value) == facts.patch else UNCLEAR  # read from the weights


def _stride(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    if facts.stride is None:
        return UNCLEAR
    if isinstance(value, bool) and name & {"overlap", "overlapping"}:
        if value == (facts.stride != facts.patch):
            return AGREES
        return Verdict(differs=True, built=f"patches that {'do not ' if value else ''}overlap")
    if not are_numbers(value) or not _truthy(value):
        return UNCLEAR
    return AGREES if sides_of(value) == facts.stride else Verdict(differs=True, built=list(facts.stride))


def _padding(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if not facts.padding or word not in ("same", "tf", "tensorflow", "symmetric", "torch", "pytorch"):
        return UNCLEAR
    same = word in ("same", "tf", "tensorflow")
    return AGREES if same == (facts.padding == "same") else Verdict(differs=True, built=facts.padding)


def _norm(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if word in STATISTICS:
        return normalization(word, facts)
    if not word or not facts.norms or word in {"none", "identity"}:
        return UNCLEAR
    known = _NORM_WORDS.get(word, word)
    return AGREES if known.startswith(facts.norms) else Verdict(differs=True, built=either(facts.norms))


def _norm_order(value: Any, _: Facts, name: frozenset[str], *__: Any) -> Verdict:
    first = value if "first" in name else not value
    return AGREES if first is True else Verdict(differs=True, built="norms before the layers")


def _positions(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if not word or not facts.learned_positions:
        return UNCLEAR
    return AGREES if word in _LEARNED else Verdict(differs=True, built="learned positions")


def _scale(value: Any, facts: Facts, *_: Any) -> Verdict:
    own = [width**-0.5 for width in facts.head_width]
    if not own or not are_numbers(value) or isinstance(value, list | tuple):
        return UNCLEAR
    same = any(math.isclose(value, one, rel_tol=1e-3) for one in own)
    return AGREES if same else Verdict(differs=True, built=either([round(one, 5) for one in own]))


def _other(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    if name & {"rope", "rotary"} and facts.rotary:
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


def _class_token(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    if not isinstance(value, bool) or facts.class_token is None:
        return UNCLEAR
    told = value != bool(name & {"no", "without"})
    if name & {"use", "pool", "only"}:  # what the classifier is given
        return AGREES if told == (facts.pool == "token") else Verdict(differs=True, built=facts.pool)
    built = "a class token" if facts.class_token else "no class token"
    return AGREES if told == facts.class_token else Verdict(differs=True, built=built)


def _patch_tokens(value: Any, facts: Facts, *_: Any) -> Verdict:
    if not isinstance(value, bool) or facts.class_token is None:
        return UNCLEAR
    if not value or facts.pool != "token":
        return AGREES
    return Verdict(differs=True, built="the class token alone")


def _layer(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    if not facts.depth or not are_numbers(value) or _has_fraction(value):
        return UNCLEAR
    last = {1} if name & {"n", "num"} else {facts.depth - 1, facts.depth, -1}
    values = value if isinstance(value, list | tuple) else [value]
    same = len(values) == 1 and values[0] in last
    return AGREES if same else Verdict(differs=True, built="the last block alone")


def _window(value: Any, facts: Facts, *_: Any) -> Verdict:
    sides, patch = sides_of(value), facts.patch
    if sides is None or patch is None or not (facts.learned_positions or facts.rotary):
        return UNCLEAR
    image = facts.spec.input
    whole = all(
        side * one >= own for side, one, own in zip(sides, patch, (image.height, image.width), strict=True)
    )
    return AGREES if whole else Verdict(differs=True, built="attention over the whole image")


def _attention(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if not word or not facts.heads:
        return UNCLEAR
    return AGREES if word.startswith(_USUAL_ATTENTION) else Verdict(differs=True, built="softmax attention")


def _classifier(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if facts.spec.task != "classify" or not word.startswith(COSINES):
        return UNCLEAR
    return Verdict(differs=True, built="linear layers on the features as they are")


def _features(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if facts.spec.task != "classify" or not (value is True or word.startswith(("l2", "unit", "cosine"))):
        return UNCLEAR
    return Verdict(differs=True, built="a classifier on the features as they are")


def _calibration(value: Any, facts: Facts, name: frozenset[str], beside: Mapping[str, Any]) -> Verdict:
    if facts.spec.task != "classify" or (name == {"s"} and not {"m", "margin"} & beside.keys()):
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


_COMPARISONS: dict[Subject, Comparison] = {
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
