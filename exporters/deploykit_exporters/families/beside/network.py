"""Settings of the network (heads, activation, eps, pooling), held against what was built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deploykit_exporters.dialects.values import sides_of
from deploykit_exporters.families.beside.facts import Facts, plain
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
from deploykit_exporters.families.beside.vocabulary import Subject

__all__ = ["compare", "says_several"]

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
    "bn": "batchnorm",
    "gn": "groupnorm",
    "rms": "rmsnorm",
    "layer": "layernorm",
}
_NORM_WORDS |= {"batch": "batchnorm", "group": "groupnorm"}


def compare(
    about: Subject, value: Any, facts: Facts, name: frozenset[str], beside: Mapping[str, Any]
) -> Verdict:
    """Hold a setting against what was built.

    Args:
        about: What it speaks of.
        value: Its value, of any type.
        facts: What was built.
        name: The words of its name.
        beside: The settings at the same place.
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


def _heads(value: Any, facts: Facts, *_: Any) -> Verdict:
    return _one_of(value, facts.heads) if are_numbers(value) and not _has_fraction(value) else UNCLEAR


def _head_width(value: Any, facts: Facts, *_: Any) -> Verdict:
    if not are_numbers(value) or value in facts.sizes:  # the width of a layer of the classifier
        return UNCLEAR
    return _one_of(value, facts.head_width)


def _activation(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value)) if word_of(value) else ""
    if not word or not facts.activations or word in _LEARNED:
        return UNCLEAR
    if word in (*facts.activations, *facts.head_activations):  # of a classifier of several layers
        return AGREES
    return Verdict(differs=True, built=either(facts.activations))


def _scores(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value)) if word_of(value) else ""
    own = facts.spec.output.activation
    known = {"none": "none", "identity": "none", "linear": "none", "logsoftmax": "softmax"}
    if not word or facts.spec.task != "classify":
        return UNCLEAR
    # Logits are given in any case: their scores are the usual ones unless the file says which.
    return AGREES if known.get(word, word) in (own, "none") else Verdict(differs=True, built=own)


def says_several(value: Any) -> bool:
    """Whether a setting says that an image may be of several classes: a flag, or a kind of problem."""
    return value is True or (isinstance(value, str) and plain(value).startswith("multilabel"))


def _multi_label(value: Any, facts: Facts, *_: Any) -> Verdict:
    if not says_several(value) or facts.spec.task != "classify":
        return UNCLEAR
    own = facts.spec.output.activation
    return AGREES if own == "sigmoid" else Verdict(differs=True, built=f"{own} of all classes")


def _eps(value: Any, facts: Facts, name: frozenset[str], *_: Any) -> Verdict:
    kinds = {"batch": "batchnorm", "bn": "batchnorm", "ln": "layernorm", "layer": "layernorm"}
    kinds |= {"rms": "rmsnorm", "gn": "groupnorm", "group": "groupnorm"}
    asked = {kinds[word] for word in name & kinds.keys()}
    own = [eps for kind, values in facts.eps.items() if not asked or kind in asked for eps in values]
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
    word = plain(word_of(value)) if word_of(value) else ""
    if not word:
        return UNCLEAR
    return (
        AGREES if word in _POOLS.get(facts.pool, (facts.pool,)) else Verdict(differs=True, built=facts.pool)
    )


def _patch(value: Any, facts: Facts, *_: Any) -> Verdict:
    return AGREES if sides_of(value) == facts.patch else UNCLEAR  # the weights tell it


def _stride(value: Any, facts: Facts, *_: Any) -> Verdict:
    if facts.stride is None or not are_numbers(value) or not _truthy(value):
        return UNCLEAR
    return AGREES if sides_of(value) == facts.stride else Verdict(differs=True, built=list(facts.stride))


def _padding(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value))
    if not facts.padding or word not in ("same", "tf", "tensorflow", "symmetric", "torch", "pytorch"):
        return UNCLEAR
    same = word in ("same", "tf", "tensorflow")
    return AGREES if same == (facts.padding == "same") else Verdict(differs=True, built=facts.padding)


def _norm(value: Any, facts: Facts, *_: Any) -> Verdict:
    word = plain(word_of(value)) if word_of(value) else ""
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
    word = plain(word_of(value)) if word_of(value) else ""
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
    words = {"none", "false", "off", "no", "default", "sdpa", "eager"}
    usual = (
        not _truthy(value)
        or (type(value) is int and value == 1)
        or (isinstance(value, str) and value.lower() in words)
    )
    return UNCLEAR if usual else Verdict(differs=True, built="none of it")


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
    "other": _other,
}


def _has_fraction(value: Any) -> bool:
    return any(isinstance(one, float) for one in (value if isinstance(value, list | tuple) else [value]))


def _truthy(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return any(one not in (0, None, False, "") for one in values)
