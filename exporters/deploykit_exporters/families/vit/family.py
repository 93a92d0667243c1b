"""Vision transformers from timm, torchvision, mmpretrain, transformers, DINOv2, OpenAI's CLIP and
open_clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import OptionError

from deploykit_exporters.families.base import BuiltModel, Dialect, Hints, Match, OutputGroup
from deploykit_exporters.families.beside import settle_beside
from deploykit_exporters.families.heads.join import Joined, join_head, without_classifiers, witness_of
from deploykit_exporters.families.shared.class_names import class_names
from deploykit_exporters.families.shared.classifiers import (
    check_config,
    first_match,
    matched_tensors,
    sensible,
)
from deploykit_exporters.families.shared.given_preprocess import with_given
from deploykit_exporters.families.shared.imagenet import TIMM_SETTINGS
from deploykit_exporters.families.vit.eva.build import eva_dialects, is_named_eva

if TYPE_CHECKING:
    from torch import nn

    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Size
    from deploykit_exporters.families.settings import Setting
    from deploykit_exporters.families.vit.network import ViTArchitecture
    from deploykit_exporters.families.vit.source import VitSource

__all__ = ["FAMILY", "ViTFamily"]

# The official EVA-02 before DINOv2, both before timm, those of transformers before its ViT: they share names.
_DIALECTS = (
    *("eva02", "dinov3", "dinov2", "eva", "timm", "torchvision", "mmpretrain"),
    *("transformers_dinov3", "transformers_dinov2", "transformers_beit", "transformers_clip"),
    *("transformers", "open_clip"),
)
_MAX_BATCH = 1024
# torch's antialiased interpolation on the CPU forgets the vertical pass where the result is one column wide.
_MIN_PATCHES = 2
# Attention grows with the fourth power of the side: four times the trained side is 256 times the work.
_MAX_GROWTH = 4
# What the origins call their classifiers, and the patch embedding, whose rows are the width.
_OWN_HEADS = {
    **dict.fromkeys(("timm", "eva", "eva02", "dinov2", "dinov3"), "head"),
    "torchvision": "heads.head",
    **dict.fromkeys(
        ("transformers", *(f"transformers_{one}" for one in ("beit", "dinov2", "dinov3"))), "classifier"
    ),
}
# Those that the other origins have under names of classifiers.
_OWN_LAYERS = {
    "open_clip": ("head.proj", "head.mlp", "proj"),
    "transformers_clip": ("classifier.", "head.probe", "head.attention.", "head.layernorm.", "head.mlp."),
    "mmpretrain": ("head.",),
}
_EMBEDDINGS = (
    *("patch_embed.proj.weight", "conv_proj.weight", "embeddings.patch_embeddings.weight"),
    *(
        f"{one}embeddings.patch_embeddings.projection.weight"
        for one in ("", "vit.", "deit.", "beit.", "data2vec_vision.", "dinov2.", "dinov2_with_registers.")
    ),
)
_POOLS = {
    "token": "class token",
    "avg": "average pooling",
    "max": "largest value of the patches",
    "avgmax": "mean of average and largest value",
    "map": "attention pooling",
}
# What --config calls the settings of a file's training code, for the origins that read it there.
_OPTIONS = {
    **{name: name for name in ("activation", "eps", "mean", "std", "interpolation", "scores")},
    "heads": "num_heads",
    "multi-label": "scores",
    "pool": "global_pool",
    "crop": "crop_pct",
}

# Settings that decide the architecture, whatever the origin.
_SETTINGS = ("num_heads", "img_size", "global_pool", "eps", "activation", "scores")
# The origins that read nothing else from --config, but for the arguments of timm's training script.
_CONFIGURED: dict[str, Callable[[Hints], tuple[str, ...]]] = {
    "timm": lambda hints: tuple(map(str, hints.config or ())) if "model" in (hints.config or {}) else (),
    "torchvision": lambda _: (),
}


def _dialects() -> Mapping[str, Dialect[VitSource]]:
    from deploykit_exporters.families.vit import from_mmpretrain as vit_mmpretrain
    from deploykit_exporters.families.vit import from_timm as vit_timm
    from deploykit_exporters.families.vit import from_torchvision as vit_torchvision
    from deploykit_exporters.families.vit import from_transformers as vit_transformers
    from deploykit_exporters.families.vit.clip import from_open_clip as vit_open_clip
    from deploykit_exporters.families.vit.clip import from_transformers_clip as vit_transformers_clip
    from deploykit_exporters.families.vit.dinov2 import from_dinov2 as vit_dinov2
    from deploykit_exporters.families.vit.dinov2 import from_transformers_dinov2 as vit_transformers_dinov2

    return {
        "dinov2": vit_dinov2,
        "timm": vit_timm,
        "torchvision": vit_torchvision,
        "mmpretrain": vit_mmpretrain,
        "transformers_dinov2": vit_transformers_dinov2,
        "transformers_clip": vit_transformers_clip,
        "transformers": vit_transformers,
        "open_clip": vit_open_clip,
    }


def _all_dialects() -> Mapping[str, Dialect[object]]:
    """All dialects, in the order in which they are tried."""
    known: dict[str, Dialect[object]] = {**_dialects(), **eva_dialects()}
    return {name: known[name] for name in _DIALECTS}


class ViTFamily:
    """Recognises and builds every plain ViT with learned position embeddings."""

    name = "vit"

    def match(self, checkpoint: Checkpoint) -> Match | None:
        return first_match(checkpoint, self.name, _all_dialects())

    def build(self, checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
        if _is_eva(checkpoint, match, hints):
            from deploykit_exporters.families.vit.eva.build import build_eva

            built = build_eva(checkpoint, match, hints, _join(checkpoint, match, hints))
            told = {} if built.spec.origin in ("timm", "transformers") else _OPTIONS
            return settle_beside(built, checkpoint, hints, told, prefix=match.prefix)
        built = self._build(checkpoint, match, hints)
        options = _OPTIONS if match.dialect in ("timm", "torchvision", "dinov2") else {}
        return settle_beside(built, checkpoint, hints, options, prefix=match.prefix)

    def _build(self, checkpoint: Checkpoint, match: Match, hints: Hints) -> BuiltModel:
        from deploykit_exporters.families.vit.exportable import ExportableViT
        from deploykit_exporters.families.vit.network import ViT

        found = _find(checkpoint, match, hints)
        reference = ViT(
            _network(found, checkpoint.path.name),
            found.source.resampling,
            features=found.features,
            pooler=_pooler(found.source, found.features),
            head_layers=found.arch.head_layers,
        ).eval()
        return BuiltModel(
            module=reference,
            exportable=ExportableViT(reference).eval(),
            fixed=lambda height, width: ExportableViT(reference, (height, width)).eval(),
            spec=_spec(found),
            axes=_axes(found.arch, found.size),
            groups=_groups(features=found.features),
            exporter="torchscript",
            notes=_notes(found),
            settings=_settings(found),
            witness=witness_of(
                found.source.witness, found.joined, match.origin, found.size, features=found.features
            ),
        )


def _is_eva(checkpoint: Checkpoint, match: Match, hints: Hints) -> bool:
    """Whether the positions are rotary or relative, according to the weights or the model's name."""
    if match.dialect in eva_dialects():
        return True
    return match.dialect == "timm" and is_named_eva(checkpoint, hints)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Everything known about a checkpoint before the network is built."""

    checkpoint: Checkpoint
    match: Match
    hints: Hints
    source: VitSource
    arch: ViTArchitecture
    size: Size
    preprocess: Preprocess
    features: bool
    assumed: tuple[str, ...]
    joined: Joined


def _find(checkpoint: Checkpoint, match: Match, hints: Hints) -> _Found:
    from deploykit_exporters.families.vit.source import read_architecture
    from deploykit_exporters.families.vit.unstated import unstated_sentence

    if match.dialect in _CONFIGURED:
        check_config(hints, (*_SETTINGS, *TIMM_SETTINGS, *_CONFIGURED[match.dialect](hints)))
    joined = _join(checkpoint, match, hints)
    with sensible(checkpoint, "a ViT"):
        source = _dialects()[match.dialect or match.origin].read(checkpoint, joined.tensors, hints)
        arch, assumed = read_architecture(source, hints.config or {}, hints.imgsz)
        size = _size(arch, hints, source)
        preprocess = source.preprocess(size)
    return _Found(
        checkpoint=checkpoint,
        match=match,
        hints=hints,
        source=source,
        arch=arch,
        size=size,
        preprocess=preprocess,
        features=hints.features or arch.num_classes == 0,
        assumed=(*assumed, *unstated_sentence(source.unstated, arch, hints.config or {}), *joined.assumed),
        joined=joined,
    )


def _settings(found: _Found) -> tuple[Setting, ...]:
    """The dialect's settings, and the modules outside the network that it does not list itself."""
    own = found.source.settings
    beside = (
        setting
        for setting in found.joined.settings
        if not any(fnmatchcase(f"{setting.name}.", known.name) for known in own if known.where == "weights")
    )
    return (*own, *beside)


def _join(checkpoint: Checkpoint, match: Match, hints: Hints) -> Joined:
    """The weights with their classifier, for origins whose own classifier is a single layer."""
    tensors = matched_tensors(checkpoint, match)
    own = _OWN_HEADS.get(match.dialect or match.origin)
    if own is None:
        return without_classifiers(
            checkpoint, match, hints, own=_OWN_LAYERS.get(match.dialect or match.origin, ())
        )
    embedding = next((key for key in _EMBEDDINGS if key in tensors), "")
    width = next(iter(tensors[embedding].shape), 0) if embedding else 0
    if embedding.startswith("dinov2"):  # Its classifier takes the class token and the mean of the patches.
        width *= 2
    return join_head(checkpoint, match, own, width, hints)


def _network(found: _Found, name: str) -> nn.Module:
    from deploykit_exporters.families.shared.loading import load_strict
    from deploykit_exporters.families.vit.network import build_network

    source = found.source
    net = build_network(found.arch)
    if source.confirm is not None:
        source.confirm(net)
    load_strict(net, source.tensors, source=name, name=source.name_in_file)
    if found.joined.head is not None:
        net.head = found.joined.head
    return net


def _pooler(source: VitSource, features: bool) -> nn.Module | None:
    from deploykit_exporters.families.shared.loading import load_strict
    from deploykit_exporters.families.vit.pooling import build_projection

    if not (features and source.pooler):
        return None
    pooler = build_projection(source.pooler)
    load_strict(pooler, source.pooler, source="the pooler")
    return pooler


def _size(arch: ViTArchitecture, hints: Hints, source: VitSource) -> Size:
    """(height, width) of the graph's own input."""
    own = _own_size(arch, source)
    size = hints.imgsz or own
    # A SigLIP at 384 with patches of 14 sees 378 pixels a side; its images have those left over, too.
    if not arch.fits(size) and (size != own or min(size) < max(arch.patch)):
        raise OptionError(
            f"--imgsz {size[0]},{size[1]}: height and width must be multiples of the patch size, "
            f"{arch.patch[0]}x{arch.patch[1]}.",
        )
    return size


def _own_size(arch: ViTArchitecture, source: VitSource) -> Size:
    """(height, width) of the origin's images."""
    return source.input_size or _trained_size(arch, source)


def _trained_size(arch: ViTArchitecture, source: VitSource) -> Size:
    """The (height, width) that the positions are for: as stated, if that matches their grid."""
    told = source.image_size
    if told is not None and (told[0] // arch.patch[0], told[1] // arch.patch[1]) == arch.grid:
        return told
    return arch.image_size


def _axes(arch: ViTArchitecture, size: Size) -> dict[str, AxisRange]:
    sides = {}
    for name, trained, own, patch in zip(("height", "width"), arch.image_size, size, arch.patch, strict=True):
        step = patch if arch.fits(size) else 1
        sides[name] = AxisRange(min=_MIN_PATCHES * patch, max=_MAX_GROWTH * max(trained, own), step=step)
    return {"batch": AxisRange(min=1, max=_MAX_BATCH), **sides}


def _groups(*, features: bool) -> tuple[OutputGroup, ...]:
    if features:
        return OutputGroup(output="features"), OutputGroup(output="pooled")
    return (OutputGroup(output="logits", kind="scores", axis=1),)


def _spec(found: _Found) -> ModelSpec:
    arch, source, hints = found.arch, found.source, found.hints
    classes, assumed_classes = (
        ((), ()) if found.features else class_names(hints, source.classes, arch.num_classes)
    )
    preprocess, assumed_preprocess = with_given(
        found.preprocess, found.size, hints, told=source.preprocess_from, origin=found.match.origin
    )
    return ModelSpec(
        task="features" if found.features else "classify",
        family="vit",
        variant=hints.variant
        or source.variant
        or source.name(arch, _trained_size(arch, source))
        or _custom_name(arch),
        origin=found.match.origin,
        input=InputSpec(height=found.size[0], width=found.size[1], channels=arch.channels),
        preprocess=preprocess,
        output=_output(found),
        classes=classes,
        num_classes=0 if found.features else arch.num_classes,
        source=found.checkpoint.path.name,
        source_sha256=found.checkpoint.sha256,
        recognised=_recognised(found),
        assumed=(*found.assumed, *assumed_preprocess, *assumed_classes),
    )


def _output(found: _Found) -> OutputSpec:
    arch, usual = found.arch, found.joined.scores or found.source.scores
    if found.features:
        return OutputSpec(names=("features", "pooled"), layout="features", strides=(arch.patch[0],))
    activation = usual or ("sigmoid" if arch.num_classes == 1 else "softmax")
    return OutputSpec(names=("logits",), layout="logits", activation=activation)


def _custom_name(arch: ViTArchitecture) -> str:
    height, width = arch.image_size
    size = f"{height}" if height == width else f"{height}x{width}"
    return f"vit_d{arch.embed_dim}_l{arch.depth}_h{arch.num_heads}_patch{arch.patch[0]}_{size}"


def _recognised(found: _Found) -> tuple[str, ...]:
    arch = found.arch
    details = [
        f"{arch.embed_dim} channels",
        f"{arch.depth} blocks",
        f"{arch.num_heads} heads",
        f"{arch.patch[0]}x{arch.patch[1]} patches",
        f"trained at {arch.image_size[0]}x{arch.image_size[1]}",
        _POOLS[arch.pool],
        *(["distillation token"] if arch.distilled else []),
        *([f"{arch.registers} register tokens"] if arch.registers else []),
        *(["layer scale"] if arch.layer_scale else []),
        *(["norm before the blocks"] if arch.pre_norm else []),
        *_embedding(found),
    ]
    sentences = [f"A ViT in {found.match.origin}'s form: {', '.join(details)}."]
    if found.source.preprocess_from:
        sentences.append(f"Pre-processing is from {found.source.preprocess_from}.")
    return tuple(sentences)


def _embedding(found: _Found) -> list[str]:
    """The width of a projected embedding."""
    last = [tensor.shape[0] for key, tensor in found.source.pooler.items() if key.endswith("weight")][-1:]
    return [f"embeddings of {width} values" for width in last if found.features]


def _notes(found: _Found) -> tuple[str, ...]:
    notes = list(found.source.notes)
    trained, size = found.arch.image_size, found.size
    if size != trained:
        notes.append(
            f"Position embeddings are resampled from {trained[0]}x{trained[1]} to {size[0]}x{size[1]} as "
            f"{found.match.origin} does ({found.source.resampling})."
        )
    if found.source.pooler and not found.features:
        notes.append("The pooler beside the classifier takes no part in the logits and is left out.")
    return tuple(notes)


FAMILY = ViTFamily()
