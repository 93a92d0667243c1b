"""Builds ViTs with rotary or relative positions from the network of the library that trained them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.contract.spec import Activation, AxisRange, InputSpec, ModelSpec, OutputSpec
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.families.base import BuiltModel, Dialect, Hints, Match, OutputGroup
from deploykit_exporters.families.heads.join import Joined, witness_of
from deploykit_exporters.families.shared.class_names import class_names
from deploykit_exporters.families.shared.classifiers import sensible
from deploykit_exporters.families.shared.given_preprocess import usual_preprocess

if TYPE_CHECKING:
    from deploykit_exporters.checkpoint import Checkpoint
    from deploykit_exporters.families.base import Size
    from deploykit_exporters.families.vit.eva.source import EvaSource

__all__ = ["build_eva"]

_MAX_BATCH = 1024
_MIN_PATCHES = 2
_MAX_GROWTH = 4


def eva_dialects() -> Mapping[str, Dialect[EvaSource]]:
    """The dialects of networks with rotary or relative positions, by the names used in ``Match.dialect``."""
    from deploykit_exporters.families.vit.eva import from_dinov3 as vit_dinov3
    from deploykit_exporters.families.vit.eva import from_eva02 as vit_eva02
    from deploykit_exporters.families.vit.eva import from_timm as vit_eva
    from deploykit_exporters.families.vit.eva import from_transformers_dinov3 as vit_transformers_dinov3
    from deploykit_exporters.families.vit.eva.beit import from_transformers_beit as vit_transformers_beit

    return {
        "eva02": vit_eva02,
        "dinov3": vit_dinov3,
        "eva": vit_eva,
        "transformers_dinov3": vit_transformers_dinov3,
        "transformers_beit": vit_transformers_beit,
    }


def is_named_eva(checkpoint: Checkpoint, hints: Hints) -> bool:
    """Whether a checkpoint with the keys of timm's ViT names one of timm's ``Eva`` models."""
    from deploykit_exporters.families.vit.eva.from_timm import is_named

    return is_named(checkpoint, hints)


def build_eva(checkpoint: Checkpoint, match: Match, hints: Hints, joined: Joined) -> BuiltModel:
    """Build the network with the weights of a checkpoint.

    Args:
        joined: The weights with their classifier.

    Raises:
        CheckpointError: the weights do not fit, or the network has unsupported layers.
        OptionError: the requested size is not a multiple of the patch.
    """
    from deploykit_exporters.families.shared.loading import load_strict
    from deploykit_exporters.families.vit.eva.network import EvaNet, ExportableEva, check_blocks, is_resizable

    dialect = eva_dialects()[match.dialect if match.dialect != "timm" else "eva"]
    with sensible(checkpoint, "a ViT", "Export the weights alone, and name their model with --variant."):
        source = dialect.read(checkpoint, joined.tensors, hints)
        size = hints.imgsz or source.image_size
        source.preprocess(size)
    net = source.network()
    check_blocks(net)
    load_strict(net, source.tensors, source=checkpoint.path.name, name=source.name_in_file)
    if joined.head is not None:
        net.head = joined.head
    _fit(net, size, source)
    found = _Found(
        checkpoint=checkpoint,
        match=match,
        hints=hints,
        source=source,
        joined=joined,
        net=net,
        size=size,
    )
    features = not found.classes
    resizable = is_resizable(net)
    reference = EvaNet(net, features=features, with_mean=source.with_mean).eval()
    return BuiltModel(
        module=reference,
        exportable=ExportableEva(reference).eval() if resizable else None,
        fixed=lambda height, width: ExportableEva(reference, (height, width)).eval(),
        spec=_spec(found),
        axes=_axes(net, source.trained, size, resizable=resizable),
        groups=_groups(features=features),
        exporter="torchscript",
        notes=() if resizable else (_FIXED,),
        settings=(*source.settings, *joined.settings),
        witness=witness_of(source.witness, joined, match.origin, size, features=features),
    )


_FIXED = (
    "Height and width are fixed: relative positions, and rotations that are learned, are tables for one "
    "size, which are made when the model is built; --imgsz chooses another size."
)


def _fit(net: Any, size: Size, source: EvaSource) -> None:
    """Resize what the network stores for one size, in its origin's way.

    Raises:
        OptionError: the size is not a multiple of the patch.
        CheckpointError: this release of timm cannot resize it.
    """
    from deploykit_exporters.families.shared.timm_library.witness import resize_model

    patch = net.patch_embed.patch_size
    if any(side % one or side < _MIN_PATCHES * one for side, one in zip(size, patch, strict=True)):
        raise OptionError(
            f"--imgsz {size[0]},{size[1]}: height and width must be multiples of the patch size, "
            f"{patch[0]}x{patch[1]}, two or more."
        )
    if size != source.trained and not getattr(net, "dynamic_img_size", False):
        if not hasattr(net, "set_input_size"):
            high, wide = source.trained
            raise CheckpointError(
                f"This release of timm cannot resize {source.name} from {high}x{wide}.",
                hint="pip install -U timm, or leave --imgsz out.",
            )
        resize_model(net, size)
    if source.resize is not None:
        source.resize(net, size)
    net.requires_grad_(False)


def _axes(net: Any, trained: Size, size: Size, *, resizable: bool) -> dict[str, AxisRange]:
    axes = {"batch": AxisRange(min=1, max=_MAX_BATCH)}
    if resizable:
        for name, one, own, patch in zip(
            ("height", "width"), trained, size, net.patch_embed.patch_size, strict=True
        ):
            axes[name] = AxisRange(min=_MIN_PATCHES * patch, max=_MAX_GROWTH * max(one, own), step=patch)
    return axes


def _groups(*, features: bool) -> tuple[OutputGroup, ...]:
    if features:
        return OutputGroup(output="features"), OutputGroup(output="pooled")
    return (OutputGroup(output="logits", kind="scores", axis=1),)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Everything known about a checkpoint whose network is built."""

    checkpoint: Checkpoint
    match: Match
    hints: Hints
    source: EvaSource
    joined: Joined
    net: Any
    size: Size

    @property
    def classes(self) -> int:
        """Size of the classifier; 0 if features are exported."""
        return 0 if self.hints.features else int(getattr(self.net, "num_classes", 0))


def _spec(found: _Found) -> ModelSpec:
    source, net, count = found.source, found.net, found.classes
    classes, assumed_classes = class_names(found.hints, source.classes, count) if count else ((), ())
    usual: Activation = found.joined.scores or source.scores or ("sigmoid" if count == 1 else "softmax")
    output = OutputSpec(names=("logits",), layout="logits", activation=usual)
    if not count:
        strides = (net.patch_embed.patch_size[0],)
        output = OutputSpec(names=("features", "pooled"), layout="features", strides=strides)
    origin = source.origin or found.match.origin
    how = source.preprocess(found.size)
    assumed = () if source.preprocess_from else (usual_preprocess(how, origin),)
    return ModelSpec(
        task="classify" if count else "features",
        family="vit",
        variant=source.name,
        origin=origin,
        input=InputSpec(height=found.size[0], width=found.size[1], channels=net.patch_embed.proj.in_channels),
        preprocess=how,
        output=output,
        classes=classes,
        num_classes=count,
        source=found.checkpoint.path.name,
        source_sha256=found.checkpoint.sha256,
        recognised=_recognised(source, net),
        assumed=(*source.assumed, *found.joined.assumed, *assumed, *assumed_classes),
    )


def _recognised(source: EvaSource, net: Any) -> tuple[str, ...]:
    patch = net.patch_embed.patch_size
    positions = [
        *(["rotary"] if getattr(net, "rope", None) is not None else []),
        *(["learned"] if getattr(net, "pos_embed", None) is not None else []),
        *(["relative"] if any("relative_position" in name for name, _ in net.named_parameters()) else []),
    ]
    sentence = (
        f"A ViT, {source.title}, {source.name}: {net.embed_dim} channels, {len(net.blocks)} blocks, "
        f"{net.blocks[0].attn.num_heads} heads, {patch[0]}x{patch[1]} patches, {' and '.join(positions)} "
        f"positions, trained at {source.trained[0]}x{source.trained[1]}."
    )
    if source.preprocess_from:
        return sentence, f"Pre-processing is from {source.preprocess_from}."
    return (sentence,)
