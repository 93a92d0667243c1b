"""Architectures that are recognised but not supported, in one table, so that a refusal can name them.

They are recognised by names of weights that no other architecture has, or by the ``model_type`` of
transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit_exporters.families.known_networks import known_network

if TYPE_CHECKING:
    import torch

    from deploykit_exporters.checkpoint import Checkpoint

__all__ = ["READS", "UNSUPPORTED", "Unsupported", "unsupported_name"]

READS = (
    "ViT, DeiT, DINOv2, DINOv3, EVA-02 and BEiT, the image towers of CLIP and SigLIP, EfficientNet, "
    "CrossFormer, and the YOLOs of Ultralytics, YOLOv5 and YOLOX"
)


@dataclass(frozen=True)
class Unsupported:
    """An architecture that cannot be read.

    Attributes:
        name: Its name with an article, to follow "this is".
        keys: Sets of names of weights; all names of one set are enough. ``name@2``: with two axes.
        types: ``model_type`` of transformers.
        certain: No family reads anything with these names. If not certain, they only explain why no family
            claimed the weights.
    """

    name: str
    keys: tuple[tuple[str, ...], ...] = ()
    types: tuple[str, ...] = ()
    certain: bool = True


_BIASES = "attn.relative_position_bias_table"

UNSUPPORTED = (
    Unsupported("a CLIP with a ResNet", (("visual.layer1.0.conv1.weight", "visual.attnpool.k_proj.weight"),)),
    Unsupported(
        "a CLIP with a ConvNeXt",
        (("visual.trunk.stages.0.blocks.0.conv_dw.weight", "visual.trunk.stem.0.weight"),),
    ),
    Unsupported("a CLIP with a FastViT (MobileCLIP)", (("visual.trunk.stem.0.conv_kxk.0.conv.weight",),)),
    Unsupported(
        "a CLIP with a ViTamin or another hybrid",
        (
            ("visual.trunk.patch_embed.backbone.stem.conv1.weight",),
            ("visual.trunk.patch_embed.backbone.0.conv.weight",),
        ),
    ),
    Unsupported(
        "a CLIP with an EVA (rotary positions)",
        (("visual.trunk.blocks.0.attn.q_proj.weight",),),
        certain=False,
    ),
    Unsupported(
        "a SigLIP 2 or a ViT in the NaFlex form",
        (
            ("embeds.proj.weight", "embeds.pos_embed"),
            ("embeddings.patch_embedding.weight@2", "embeddings.position_embedding.weight"),
            ("vision_model.embeddings.patch_embedding.weight@2",),
        ),
        ("siglip2", "siglip2_vision_model"),
    ),
    Unsupported(
        "a hybrid of convolutions and ViT",
        (
            ("patch_embed.backbone.conv1.0.weight", "blocks.0.attn.qkv.weight"),
            ("patch_embed.backbone.stem.conv.weight", "blocks.0.attn.qkv.weight"),
            ("patch_embed.backbone.stem.conv1.weight", "blocks.0.attn.qkv.weight"),
            ("patch_embed.backbone.0.conv.weight", "blocks.0.attn.qkv.weight"),
        ),
        ("vit_hybrid",),
    ),
    Unsupported(
        "a Perception Encoder (rotary positions)",
        (("norm_pre.weight", "attn_pool.latent", "cls_token", "blocks.0.attn.qkv.weight"),),
    ),
    Unsupported(
        "a Swin",
        (
            (f"layers.0.blocks.0.{_BIASES}",),
            ("features.1.0.attn.relative_position_bias_table",),
            ("encoder.layers.0.blocks.0.attention.self.relative_position_bias_table",),
            ("encoder.layers.0.blocks.0.attention.relative_position_bias.relative_position_bias_table",),
            ("stages.0.blocks.0.attn.w_msa.relative_position_bias_table",),
        ),
        ("swin",),
    ),
    Unsupported(
        "a Swin V2",
        (
            ("layers.0.blocks.0.attn.cpb_mlp.0.weight",),
            ("features.1.0.attn.cpb_mlp.0.weight",),
            ("encoder.layers.0.blocks.0.attention.self.continuous_position_bias_mlp.0.weight",),
            ("stages.0.blocks.0.attn.w_msa.cpb_mlp.0.weight",),
        ),
        ("swinv2", "swin2sr"),
    ),
    Unsupported(
        "a ConvNeXt",
        (
            ("stages.0.blocks.0.conv_dw.weight", "stem.0.weight"),
            ("downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"),
            ("downsample_layers.0.0.weight", "stages.0.0.depthwise_conv.weight"),
            ("features.1.0.layer_scale", "features.1.0.block.0.weight", "features.0.0.bias"),
            ("encoder.stages.0.layers.0.dwconv.weight",),
        ),
        ("convnext", "convnextv2", "dinov3_convnext"),
    ),
    Unsupported(
        "a ResNet or one of its relatives",
        (
            ("layer1.0.conv1.weight", "layer1.0.bn1.weight"),
            ("embedder.embedder.convolution.weight", "encoder.stages.0.layers.0.layer.0.convolution.weight"),
        ),
        ("resnet", "bit"),
    ),
    Unsupported(
        "a MobileNet",
        (
            ("features.1.conv.0.0.weight", "features.18.0.weight"),
            ("features.0.0.weight", "features.1.block.0.0.weight", "classifier.3.weight"),
            ("conv_stem.first_conv.convolution.weight", "layer.0.expand_1x1.convolution.weight"),
            ("conv_stem.convolution.weight", "layer.0.convolution.weight"),
        ),
        ("mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2"),
    ),
    Unsupported(
        "a MaxViT or CoAtNet",
        (
            ("stem.conv1.weight", "stages.0.blocks.0.attn_block.norm1.weight"),
            ("stem.conv1.weight", "stages.0.blocks.0.conv.pre_norm.weight"),
            ("stem.conv1.weight", "stages.0.blocks.0.shortcut.expand.weight"),
            ("blocks.0.layers.0.layers.MBconv.layers.conv_a.0.weight",),
        ),
    ),
    Unsupported(
        "a PVT or SegFormer",
        (
            ("patch_embed1.proj.weight", "block1.0.attn.kv.weight"),
            ("patch_embed.proj.weight", "stages.0.blocks.0.attn.kv.weight"),
            ("encoder.patch_embeddings.0.proj.weight",),
            ("encoder.patch_embeddings.0.projection.weight",),
            ("encoder.layers.0.patch_embedding.proj.weight", "encoder.layers.0.blocks.0.layer_norm_1.weight"),
        ),
        ("pvt", "pvt_v2", "segformer"),
    ),
    Unsupported(
        "a SAM",
        (
            ("image_encoder.pos_embed", "mask_decoder.iou_token.weight"),
            ("vision_encoder.pos_embed", "mask_decoder.iou_token.weight"),
            ("blocks.0.attn.rel_pos_h", "patch_embed.proj.weight"),
        ),
        ("sam", "sam2", "sam2_video", "sam3", "sam_hq", "edgetam", "vitdet", "vitmatte"),
    ),
    Unsupported(
        "a YOLOS",
        (
            ("vit.embeddings.detection_tokens",),
            ("embeddings.detection_tokens",),
            ("det_token", "mid_pos_embed"),
        ),
        ("yolos",),
    ),
    Unsupported(
        "a DETR or one of its relatives",
        (
            ("query_embed.weight", "class_embed.weight"),
            ("query_position_embeddings.weight",),
            ("transformer.decoder.layers.0.self_attn.in_proj_weight", "class_embed.weight"),
        ),
        (
            *(
                "detr",
                "conditional_detr",
                "deformable_detr",
                "dab-detr",
                "deta",
                "table-transformer",
                "rf_detr",
            ),
            *("rt_detr", "rt_detr_v2", "d_fine", "deimv2", "lw_detr", "grounding-dino", "mm-grounding-dino"),
        ),
    ),
    Unsupported(
        "a BEiT (relative positions)",
        ((f"blocks.0.{_BIASES}",), ("rel_pos_bias.relative_position_bias_table",)),
        ("beit", "data2vec-vision"),
        certain=False,
    ),
    Unsupported(
        "a ViT with relative positions",
        (
            ("blocks.0.attn.rel_pos.mlp.fc1.weight",),
            ("blocks.0.attn.rel_pos.relative_position_bias_table",),
            ("shared_rel_pos.mlp.fc1.weight",),
            ("shared_rel_pos.relative_position_bias_table",),
        ),
    ),
    Unsupported(
        "an EVA or DINOv3 (rotary positions)",
        (
            ("blocks.0.attn.q_bias", "blocks.0.mlp.fc1.weight"),
            ("blocks.0.mlp.fc1_g.weight", "blocks.0.attn.q_proj.weight"),
            ("rope_embed.periods", "storage_tokens"),
        ),
        ("dinov3_vit",),
        certain=False,
    ),
    Unsupported("a CaiT", (("blocks_token_only.0.attn.q.weight", "blocks.0.attn.proj_l.weight"),)),
    Unsupported(
        "a Hiera",
        (
            ("blocks.0.attn.qkv.weight", "pos_embed_spatial"),
            ("blocks.0.attn.qkv.weight", "blocks.1.proj.weight"),
            ("blocks.0.attn.qkv.weight", "blocks.2.proj.weight"),
            ("encoder.stages.0.layers.0.attn.qkv.weight", "embeddings.patch_embeddings.projection.weight"),
        ),
        ("hiera",),
    ),
    Unsupported(
        "an AIMv2",
        (("blocks.0.mlp.fc1_g.weight", "patch_embed.norm.weight"),),
        ("aimv2", "aimv2_vision_model"),
    ),
    Unsupported("an MLP-Mixer", (("blocks.0.mlp_tokens.fc1.weight", "blocks.0.mlp_channels.fc1.weight"),)),
    Unsupported("an XCiT", (("blocks.0.local_mp.conv1.weight",),)),
    Unsupported("a Twins", (("patch_embeds.0.proj.weight", "blocks.0.0.attn.qkv.weight"),)),
    Unsupported(
        "a LeViT",
        (("stem.conv1.linear.weight",), ("patch_embeddings.embedding_layer_1.convolution.weight",)),
        ("levit",),
    ),
    Unsupported(
        "a RegNet",
        (("s1.b1.conv1.conv.weight",), ("trunk_output.block1.block1-0.proj.0.weight",)),
        ("regnet",),
    ),
    Unsupported("a DenseNet", (("features.denseblock1.denselayer1.conv1.weight",),)),
    Unsupported("a VGG", (("features.0.weight", "features.3.weight", "classifier.6.weight"),)),
    Unsupported("an Inception", (("Conv2d_1a_3x3.conv.weight",),)),
    Unsupported(
        "a FastViT or MobileOne", (("stem.0.conv_kxk.0.conv.weight",), ("stem.conv_kxk.0.conv.weight",))
    ),
    Unsupported("a RepVGG or another network of timm's ByobNet", (("stem.conv_kxk.conv.weight",),)),
    Unsupported("a Faster R-CNN or Mask R-CNN", (("roi_heads.box_predictor.cls_score.weight",),)),
    Unsupported(
        "another detector of torchvision",
        (("head.classification_head.cls_logits.weight",), ("head.classification_head.module_list.0.weight",)),
    ),
    Unsupported("a segmentation network of torchvision", (("backbone.conv1.weight", "classifier.4.weight"),)),
    Unsupported(
        "a CLIP with another image tower, or a model that is built on one",
        types=(
            *(
                "altclip",
                "chinese_clip",
                "clipseg",
                "clipseg_vision_model",
                "x_clip",
                "groupvit",
                "flava",
                "align",
            ),
            *("owlvit", "owlv2", "blip", "blip-2", "git", "mlcd", "mlcd_vision_model", "llava", "llava_next"),
            *("paligemma", "idefics", "idefics2", "idefics3", "kosmos-2", "instructblip", "bridgetower"),
            *("vision-text-dual-encoder", "vision-encoder-decoder", "visual_bert", "vilt"),
        ),
    ),
    Unsupported(
        "a network for depth, segmentation, poses or video on a ViT",
        types=(
            *(
                "dpt",
                "depth_anything",
                "prompt_depth_anything",
                "zoedepth",
                "depth_pro",
                "glpn",
                "eomt",
                "upernet",
            ),
            *(
                "maskformer",
                "mask2former",
                "oneformer",
                "vitpose",
                "videomae",
                "timesformer",
                "vivit",
                "vjepa2",
            ),
        ),
    ),
    Unsupported("an I-JEPA", types=("ijepa",)),
    Unsupported(
        "an image network of transformers that is not a ViT",
        types=(
            "cvt",
            "poolformer",
            "efficientformer",
            "focalnet",
            "dinat",
            "nat",
            "van",
            "swiftformer",
            "hgnet_v2",
        ),
    ),
    Unsupported(
        "a language model",
        (
            ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"),
            ("embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight"),
        ),
        ("bert", "gpt2", "llama", "mistral", "qwen2", "t5", "roberta", "distilbert"),
    ),
)


_READ_TYPES = (
    *("vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "beit", "data2vec-vision"),
    *("clip", "clip_vision_model", "siglip", "siglip_vision_model", "efficientnet"),
)
"""Those of which a dialect reads the weights, where they are there."""


def unsupported_name(checkpoint: Checkpoint, *, claimed: Mapping[str, torch.Tensor] | None = None) -> str:
    """The name of a checkpoint's architecture if it is known but not supported; otherwise empty.

    Args:
        claimed: The weights claimed by a family, in which case only certain entries count; None: no family
            claims any.
    """
    config = checkpoint.meta.get("config")
    kind = config.get("model_type") if isinstance(config, Mapping) else None
    known = [entry for entry in UNSUPPORTED if entry.certain or claimed is None]
    views = [claimed] if claimed is not None else [view.tensors for view in checkpoint.views()]
    typed = next((entry.name for entry in known if kind in entry.types), "")
    if typed:
        return f"{typed} (model_type {kind})"
    for view in views:
        for entry in known:
            if any(all(_has(view, key) for key in keys) for keys in entry.keys):
                return f"{entry.name} (model_type {kind})" if kind else entry.name
    if claimed is None and kind:
        lacks = ", and the weights of its image network are not there" if kind in _READ_TYPES else ""
        return f"a {kind} of transformers{lacks}"
    return next(filter(None, map(known_network, views)), "") if claimed is None else ""


def _has(view: Mapping[str, torch.Tensor], key: str) -> bool:
    name, _, axes = key.partition("@")
    return name in view and (not axes or view[name].ndim == int(axes))
