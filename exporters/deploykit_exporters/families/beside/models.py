"""Names of models among the settings of a file, compared with what was built."""

from __future__ import annotations

import re
from shlex import quote

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.beside.as_built import BuiltNetwork, plain
from deploykit_exporters.families.beside.entries import Entry
from deploykit_exporters.families.beside.verdict import word_of
from deploykit_exporters.families.beside.vocabulary import is_elsewhere, names_architecture, names_model

__all__ = ["named_model"]

# How names of architectures begin, without the marks between their words.
_READ = {
    "vit": r"vit|visiontransformer|deit|dinov|clip|siglip|openclip|openai|laion|eva|beit|mae|flexivit",
    "efficientnet": r"efficientnet|effnet|tfefficientnet|timmefficientnet|enet",
    "crossformer": r"crossformer",
    "yolo": r"yolo",
}
_EXOTIC = re.compile(r"eva(0?2|giant|large|base|small|tiny|$)|beit")
_OTHERS = re.compile(
    r"swin|resnet|resnext|wideresnet|seresnet|skresnet|resnest|res2net|convnext|densenet|vgg|mobilenet|mnasnet"
    r"|mobilevit|regnet|inception|xception|maxvit|coatnet|cait|pvt|segformer|poolformer|mixer|nfnet|levit"
    r"|efficientformer|hiera|sam2?(vit|$)|xcit|twins|volo|crossvit|convit|nest|tinyvit|fastvit|ghostnet|hrnet"
    r"|dla\d|darknet|cspresnet|squeezenet|shufflenet|alexnet|googlenet|unet|deeplab|fpn|detr|rtdetr|fasterrcnn"
    r"|maskrcnn|retinanet|bert|gpt|llama|rexnet|repvgg|tresnet|focalnet|davit|edgenext|metaformer|caformer"
    r"|convformer|mambavision|vmamba|vim(tiny|small|base)"
)


def named_model(entry: Entry, built: BuiltModel, built_as: BuiltNetwork, hints: Hints) -> list[str]:
    """What is reported about the name of a model, if a setting has one that was not read.

    Raises:
        CheckpointError: it names another architecture than was built, or one with properties that no shape
            shows.
    """
    _refuse_other(entry, built, built_as, hints)
    value, variant = entry.value, built.spec.variant
    if (
        built.spec.origin != "timm"
        or hints.variant
        or entry.where == "args"
        or not any(names_model(name, value) for name in (entry.name, entry.within))
    ):
        return []
    if value.partition(".")[0] == variant.partition(".")[0]:
        return []
    if built.spec.family == "efficientnet":  # padding and eps are those of a name, and no shape tells them
        if entry.is_ignored(hints):
            return []
        raise CheckpointError(
            f"The file names {value!r} ({entry.path}); deploykit would build {variant}.",
            hint=f"--variant {quote(value)} follows it; if that does not describe this network, say so: "
            f"--ignore {quote(entry.path)}",
        )
    return [
        f"The file names {value!r} ({entry.path}), whose settings may differ from what the weights show: "
        f"--variant {quote(value)} follows it."
    ]


def _refuse_other(entry: Entry, built: BuiltModel, built_as: BuiltNetwork, hints: Hints) -> None:
    """Refuse the name of an architecture that was not built."""
    word = plain(word_of(entry.value)).removeprefix("tf")
    if not word or is_elsewhere(entry.where) or not any(map(names_architecture, (entry.name, entry.within))):
        return
    family, exotic = built.spec.family, built_as.rotary or not built_as.learned_positions
    own = re.match(_READ[family], word) if family in _READ else None
    others = (one for name, one in _READ.items() if name != family)
    if own and not (family == "vit" and not exotic and _EXOTIC.match(word)):
        return
    if own is None and not _OTHERS.match(word) and not any(re.match(one, word) for one in others):
        return
    if not entry.is_ignored(hints):
        raise CheckpointError(
            f"The file names {word_of(entry.value)!r:.60} ({entry.path}); the weights are those of "
            f"{built.spec.variant}, of the family {family}.",
            hint=f"If that does not describe this network, say so: --ignore {quote(entry.path)}",
        )
