"""Names of the published EfficientNets, their resolutions, and the key names of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from deploykit_exporters.families.efficientnet.network import EfficientNetPlan

__all__ = ["compound_name", "name_in_file", "native_size", "parse_compound"]

_SIDES = {
    "b0": 224,
    "b1": 240,
    "b2": 260,
    "b3": 300,
    "b4": 380,
    "b5": 456,
    "b6": 528,
    "b7": 600,
    "b8": 672,
    "l2": 800,
    "es": 224,
    "em": 240,
    "el": 300,
    "lite0": 224,
    "lite1": 240,
    "lite2": 260,
    "lite3": 280,
    "lite4": 300,
    "v2_b0": 224,
    "v2_b1": 240,
    "v2_b2": 260,
    "v2_b3": 300,
    "v2_s": 384,
    "v2_m": 480,
    "v2_l": 480,
    "v2_xl": 512,
    "v2_rw_t": 224,
    "v2_rw_s": 288,
    "v2_rw_m": 320,
}
# Blocks per stage, channels of the fifth stage and channels of the head name a variant.
_NAMES: dict[tuple[tuple[int, ...], int, int], str] = {
    ((1, 2, 2, 3, 3, 4, 1), 112, 1280): "b0",
    ((2, 3, 3, 4, 4, 5, 2), 112, 1280): "b1",
    ((2, 3, 3, 4, 4, 5, 2), 120, 1408): "b2",
    ((2, 3, 3, 5, 5, 6, 2), 136, 1536): "b3",
    ((2, 4, 4, 6, 6, 8, 2), 160, 1792): "b4",
    ((3, 5, 5, 7, 7, 9, 3), 176, 2048): "b5",
    ((3, 6, 6, 8, 8, 11, 3), 200, 2304): "b6",
    ((4, 7, 7, 10, 10, 13, 4), 224, 2560): "b7",
    ((4, 8, 8, 11, 11, 15, 4), 248, 2816): "b8",
    ((6, 11, 11, 16, 16, 22, 6), 480, 5504): "l2",
    ((1, 3, 3, 4, 4, 5, 1), 112, 1280): "lite1",
    ((1, 3, 3, 4, 4, 5, 1), 120, 1280): "lite2",
    ((1, 3, 3, 5, 5, 6, 1), 136, 1280): "lite3",
    ((1, 4, 4, 6, 6, 8, 1), 160, 1280): "lite4",
    ((2, 4, 4, 6, 9, 15), 160, 1280): "v2_s",
    ((3, 5, 5, 7, 14, 18, 5), 176, 1280): "v2_m",
    ((4, 7, 7, 10, 19, 25, 7), 224, 1280): "v2_l",
    ((4, 8, 8, 16, 24, 32, 8), 256, 1280): "v2_xl",
    ((1, 2, 2, 3, 5, 8), 112, 1280): "v2_b0",
    ((2, 3, 3, 4, 6, 9), 112, 1280): "v2_b1",
    ((2, 3, 3, 4, 6, 10), 120, 1408): "v2_b2",
    ((2, 3, 3, 5, 7, 12), 136, 1536): "v2_b3",
    ((2, 4, 4, 6, 9, 14), 128, 1024): "v2_rw_t",
    ((2, 4, 4, 6, 9, 15), 160, 1792): "v2_rw_s",
    ((3, 5, 5, 8, 15, 24), 192, 2152): "v2_rw_m",
    ((1, 2, 4, 5, 4, 2), 144, 1280): "es",
    ((2, 3, 5, 6, 5, 3), 144, 1280): "em",
    ((2, 3, 6, 7, 6, 3), 176, 1536): "el",
}
_COMPOUND = re.compile(
    r"efficientnet[-_]?(v2)?[-_]?(b\d|l2|lite\d|e[sml]|rw_[tsm]|xl|s|m|l)(?![a-z0-9])", re.IGNORECASE
)


def compound_name(plan: EfficientNetPlan) -> str:
    """``b0``, ``lite3``, ``v2_s``, ...; empty for an unpublished structure."""
    depths = tuple(len(stage) for stage in plan.stages)
    fifth = plan.stages[4][0].outputs if len(plan.stages) > 4 else 0
    lite = plan.activation == "relu6"
    for row, name in _NAMES.items():
        # The weights of feature maps come without a head.
        if row == (depths, fifth, plan.head or row[2]) and (lite == name.startswith("lite") or name == "b0"):
            return "lite0" if lite and name == "b0" else name
    return ""


def native_size(name: str) -> int:
    """The resolution at which a variant was published; 224 if that is unknown."""
    return _SIDES.get(name, 224)


def parse_compound(name: str) -> str:
    """The compound name inside any origin's name: ``v2_s`` in ``tf_efficientnetv2_s.in21k``, ``b0`` in
    ``EfficientNetB0``; empty if there is none.
    """
    match = _COMPOUND.search(name)
    return f"{'v2_' if match[1] else ''}{match[2]}".lower() if match else ""


def name_in_file(names: Mapping[str, str], key: str) -> str:
    """The file's own name for a translated key.

    Args:
        names: The file's name of every translated key that it holds.
        key: One of those keys, or one that the file lacks. The name of a missing key is found by analogy:
            it differs from its neighbours' names as the same kind of weight does in another layer, or the
            same layer in another block.
    """
    if key in names:
        return names[key]
    block = re.match(r"blocks\.\d+\.\d+\.", key)
    layer = key[: key.rfind(".") + 1]
    return _by_analogy(names, key, layer) or (block and _by_analogy(names, key, block[0])) or key


def _by_analogy(names: Mapping[str, str], key: str, parent: str) -> str:
    local = key.removeprefix(parent)
    neighbours = {ours.removeprefix(parent): own for ours, own in names.items() if ours.startswith(parent)}
    for ours, model in names.items():
        other = ours.removesuffix(local)
        alike = _is_inverted(names, other) == _is_inverted(names, parent)
        if other == ours or not other or not alike:
            continue
        for neighbour, own in neighbours.items():
            twin = names.get(other + neighbour, "")
            shared = _shared(model, twin)
            if twin and own.endswith(twin[shared:]):
                return own.removesuffix(twin[shared:]) + model[shared:]
    return ""


def _shared(one: str, other: str) -> int:
    """The length of the common start of two names."""
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _is_inverted(names: Mapping[str, str], block: str) -> bool:
    return f"{block}conv_pwl.weight" in names
