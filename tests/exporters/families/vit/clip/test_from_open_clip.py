"""CLIPs of OpenAI and open_clip: image towers of every form, whole models, and what is told beside them."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.families.vit import family as vit
from deploykit_exporters.families.vit.clip import from_open_clip as vit_open_clip
from deploykit_exporters.families.vit.source import read_architecture
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.pixels.preprocess import preprocess
from timm.layers import Mlp
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from transformers import CLIPConfig, CLIPModel

TEXT = {"context_length": 7, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
MODEL: dict[str, Any] = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
HEADS = {"num_heads": 2}


def disturbed(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def checkpoint_of(tensors: dict[str, torch.Tensor], file: str = "weights.pt", **meta: Any) -> Checkpoint:
    return Checkpoint(path=Path(file), sha256="", container="torch", tensors=tensors, meta=meta)


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("vit", "open_clip")
    return family.build(checkpoint, match, asked)


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def assert_embeds(built: BuiltModel, images: torch.Tensor, expected: torch.Tensor) -> None:
    """Every form of the built model gives the embedding."""
    assert built.spec.task == "features"
    assert built.exportable is not None
    assert built.fixed is not None
    with torch.inference_mode():
        for module in (built.module, built.exportable, built.fixed(images.shape[2], images.shape[3])):
            assert_equal(module(images)[1], expected)


# OpenAI's model, by way of transformers' conversion of it.


def openai(**settings: Any) -> tuple[CLIPModel, dict[str, torch.Tensor]]:
    """A CLIP of transformers, and its weights under OpenAI's names."""
    torch.manual_seed(0)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        **settings,
    }
    text = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 50,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=24))
    disturbed(model)
    tensors = {}
    state = model.state_dict()
    for key, tensor in state.items():
        for old, new in (
            ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
            ("vision_model.embeddings.patch_embedding", "visual.conv1"),
            ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
            ("vision_model.pre_layrnorm", "visual.ln_pre"),
            ("vision_model.post_layernorm", "visual.ln_post"),
            ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
            ("text_model.encoder.layers.", "transformer.resblocks."),
            ("text_model.embeddings.token_embedding", "token_embedding"),
            ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
            ("text_model.final_layer_norm", "ln_final"),
            ("layer_norm", "ln_"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"),
        ):
            key = key.replace(old, new)  # noqa: PLW2901
        if "q_proj" in key:
            whole = [tensor, *(state[name] for name in _beside(state, tensor))]
            tensors[key.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(whole)
        elif "k_proj" not in key and "v_proj" not in key:
            tensors[key] = tensor
    tensors["visual.proj"] = tensors.pop("visual_projection.weight").T
    tensors["text_projection"] = tensors.pop("text_projection.weight").T
    return model, tensors


def _beside(state: dict[str, torch.Tensor], query: torch.Tensor) -> list[str]:
    name = next(key for key, tensor in state.items() if tensor is query)
    return [name.replace("q_proj", f"{letter}_proj") for letter in "kv"]


def half(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The precision of OpenAI's files: layers in half, norms and embeddings not."""
    full = ("ln_", "embedding", "logit_scale")
    return {
        key: tensor if any(part in key for part in full) else tensor.half() for key, tensor in tensors.items()
    }


def test_openais_files_have_quickgelu_and_give_the_projected_embedding() -> None:
    model, tensors = openai()
    scalars = {name: torch.tensor(7) for name in ("input_resolution", "context_length", "vocab_size")}
    built = build(checkpoint_of({**tensors, **scalars}), config=HEADS)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=images).pooler_output
    assert_embeds(built, images, expected)
    assert "The activation is QuickGELU, because the file has the form of OpenAI's" in built.spec.assumed[0]
    assert built.spec.recognised[0].endswith("norm before the blocks, embeddings of 24 values.")
    assert built.spec.preprocess.mean == (0.48145466, 0.4578275, 0.40821073)
    assert (built.spec.preprocess.resize_to, built.spec.preprocess.crop) == ((64,), (64, 64))


def test_the_mixed_precision_of_openais_weights_tells_quickgelu() -> None:
    _, tensors = openai()
    built = build(checkpoint_of(half(tensors)), config=HEADS)
    assert "QuickGELU, because the file has the form of OpenAI's" in built.spec.assumed[0]


def test_every_tensor_of_the_text_tower_is_accounted_for() -> None:
    _, tensors = openai()
    settings = build(checkpoint_of(tensors), config=HEADS).settings
    assert {(setting.name, setting.treatment) for setting in settings} == {
        ("transformer.*", "harmless"),
        ("token_embedding.*", "harmless"),
        ("positional_embedding", "harmless"),
        ("ln_final.*", "harmless"),
        ("text_projection", "harmless"),
        ("logit_scale", "harmless"),
    }
    assert next(setting.value for setting in settings if setting.name == "transformer.*") == "12 tensors"


def test_a_tensor_that_nobody_knows_is_refused() -> None:
    _, tensors = openai()
    with pytest.raises(CheckpointError, match=r"left over: visual\.surprise"):
        build(checkpoint_of({**tensors, "visual.surprise": torch.ones(3)}), config=HEADS)


def test_a_tower_alone_is_read_too() -> None:
    model, tensors = openai()
    tower = {key.removeprefix("visual."): value for key, value in tensors.items() if "visual." in key}
    built = build(checkpoint_of(tower), config={**HEADS, "activation": "quick_gelu"})
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_embeds(built, images, model.get_image_features(pixel_values=images).pooler_output)


ACTIVATIONS = [
    ({}, "weights.pt", {}, "gelu", True),
    ({"variant": "ViT-B-32-quickgelu"}, "weights.pt", {}, "quick_gelu", False),
    ({"variant": "ViT-B-32"}, "weights.pt", {}, "gelu", False),
    ({}, "ViT-B-32-quickgelu.pt", {}, "quick_gelu", False),
    ({}, "epoch_3.pt", {"name": "2026_01-model_ViT-B-32-quickgelu-lr_1"}, "quick_gelu", False),
    ({}, "epoch_3.pt", {"name": "2026_01-model_ViT-B-32-lr_1"}, "gelu", True),
    ({"config": {**HEADS, "activation": "quick_gelu"}}, "weights.pt", {}, "quick_gelu", False),
]


@pytest.mark.parametrize(("hints", "name", "meta", "expected", "assumed"), ACTIVATIONS)
def test_the_activation_is_told_or_said_to_be_assumed(
    hints: dict[str, Any], name: str, meta: dict[str, Any], expected: str, assumed: bool
) -> None:
    model, tensors = openai(hidden_act=expected)
    built = build(checkpoint_of(tensors, name, **meta), **{"config": HEADS, **hints})
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_embeds(built, images, model.get_image_features(pixel_values=images).pooler_output)
    assert any("activation" in sentence for sentence in built.spec.assumed) == assumed


def test_an_exported_tower_gives_the_embedding_at_every_size(tmp_path: Path) -> None:
    model, tensors = openai()
    torch.save(tensors, tmp_path / "clip.pt")
    config = {**HEADS, "activation": "quick_gelu"}
    result = export(tmp_path / "clip.pt", ExportOptions(dynamic=("all",), config=config))
    images = torch.randn(2, 3, 64, 64)
    with open_ort(result.path) as runner, torch.inference_mode():
        found = runner.infer({"images": images.numpy()})["pooled"]
        assert runner.infer({"images": torch.randn(1, 3, 96, 32).numpy()})["pooled"].shape == (1, 24)
        expected = model.get_image_features(pixel_values=images).pooler_output.numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


# Towers of timm.

TRUNKS: list[tuple[dict[str, Any], dict[str, nn.Module]]] = [
    ({"class_token": False, "global_pool": "map", "num_classes": 0}, {}),
    (
        {"class_token": False, "global_pool": "avg", "num_classes": 0},
        {"drop": nn.Dropout(0.0), "proj": nn.Linear(48, 24, bias=False)},
    ),
    ({"num_classes": 0}, {"mlp": Mlp(48, 48, 24, bias=(True, False))}),
    ({"num_classes": 20}, {}),
    ({"pre_norm": True, "num_classes": 0}, {"drop": nn.Dropout(0.0), "proj": nn.Linear(48, 24)}),
]


class Tower(nn.Module):
    """open_clip's adapter around a network of timm, as its checkpoints name it."""

    def __init__(self, trunk: nn.Module, head: dict[str, nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(OrderedDict(head))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.head(self.trunk(images))
        return embedding


@pytest.mark.parametrize(("settings", "head"), TRUNKS)
def test_a_tower_of_timm_gives_what_its_head_makes_of_it(
    settings: dict[str, Any], head: dict[str, nn.Module]
) -> None:
    torch.manual_seed(0)
    tiny = {"img_size": 64, "patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3}
    if settings.get("pre_norm"):
        settings = {**settings, "norm_layer": lambda width, **kwargs: nn.LayerNorm(width, eps=1e-5, **kwargs)}
    tower = disturbed(Tower(VisionTransformer(**tiny, dynamic_img_size=True, **settings), head))
    tensors = {f"visual.{key}": tensor for key, tensor in tower.state_dict().items()}
    tensors |= {
        "text.ln_final.weight": torch.ones(3),
        "logit_scale": torch.ones(()),
        "logit_bias": torch.ones(1),
    }
    built = build(checkpoint_of(tensors), config={"num_heads": 3})
    for height, width in ((64, 64), (96, 32)):
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            assert_embeds(built, images, tower(images))
    siglip = settings.get("global_pool") == "map"
    assert built.spec.preprocess.resize == ("stretch" if siglip else "short")
    assert (built.spec.preprocess.mean == (0.5, 0.5, 0.5)) == siglip


def test_a_tower_of_timm_that_is_not_a_plain_vit_is_refused_by_name() -> None:
    tower = VisionTransformer(
        img_size=32, patch_size=16, embed_dim=48, depth=1, num_heads=3, num_classes=0, global_pool="map"
    )
    tensors = {f"visual.trunk.{key}": tensor for key, tensor in tower.state_dict().items()}
    config = {"embed_dim": 48, "vision_cfg": {"timm_model_name": "vit_pe_core_tiny_patch16_384"}}
    with pytest.raises(CheckpointError, match="timm's vit_pe_core_tiny_patch16_384, of the class Eva"):
        build(checkpoint_of(tensors), config=config)


def test_a_configured_tower_of_timm_is_what_open_clip_builds() -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    vision = {
        "image_size": 224,
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "mlp",
    }
    config = {
        "embed_dim": 24,
        "vision_cfg": vision,
        "text_cfg": TEXT,
        "custom_text": True,
        "init_logit_bias": -10,
    }
    torch.manual_seed(0)
    kwargs = {key: value for key, value in config.items() if key != "custom_text"}
    model = disturbed(open_clip.CustomTextCLIP(**kwargs))
    built = build(checkpoint_of(model.state_dict(), open_clip={"model_cfg": config}))
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert_embeds(built, images, model.encode_image(images))
    assert ask_witness(built, built.spec).startswith("open_clip 3")
    assert built.spec.variant == "vit_tiny_patch16_224"


def test_without_a_configuration_there_is_no_witness() -> None:
    _, tensors = openai()
    built = build(checkpoint_of(tensors), config=HEADS)
    assert ask_witness(built, built.spec).startswith("none: ")


# open_clip itself.

FORMS: dict[str, dict[str, Any]] = {
    "gelu": {},
    "quick gelu": {"quick_gelu": True},
    "text apart": {"custom_text": True},
    "layer scale": {"vision": {"ls_init_value": 0.1, "mlp_ratio": 3.1}},
    "clipa": {"vision": {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}},
    "norm after pooling": {"vision": {"final_ln_after_pool": True, "norm_kwargs": {"eps": 1e-2}}},
    "average": {"vision": {"pool_type": "avg"}},
    "qk norm": {"vision": {"qk_norm": True}},
    "attention pooling": {"vision": {"attentional_pool": True, "attn_pooler_heads": 4}},
    "attention pooling of the same width": {
        "embed_dim": 32,
        "vision": {"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 5},
    },
}


def openclip(form: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A model of open_clip, and its configuration."""
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    rest = {key: value for key, value in form.items() if key != "vision"}
    config = {**MODEL, **rest, "vision_cfg": {**VISION, **form.get("vision", {})}}
    torch.manual_seed(0)
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    model = kind(**{key: value for key, value in config.items() if key != "custom_text"})
    return disturbed(model), config


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_every_form_of_open_clip_gives_its_embedding(form: dict[str, Any]) -> None:
    model, config = openclip(form)
    checkpoint = checkpoint_of(model.state_dict(), open_clip={"model_cfg": config})
    built = build(checkpoint)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert_embeds(built, images, model.encode_image(images))
    assert ask_witness(built, built.spec).startswith("open_clip 3")
    assert {setting.treatment for setting in built.settings} <= {"honoured", "harmless"}


@pytest.mark.parametrize("image_size", [96, (32, 80)])
def test_other_sizes_are_resized_as_open_clip_loads_them(image_size: Any) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    model, config = openclip({})
    larger, _ = openclip({"vision": {"image_size": image_size}})
    state = model.state_dict()
    open_clip.model.resize_pos_embed(state, larger)
    larger.load_state_dict(state)
    built = build(checkpoint_of(model.state_dict(), open_clip={"model_cfg": config}))
    images = torch.randn(1, 3, *larger.visual.image_size)
    with torch.inference_mode():
        assert_embeds(built, images, larger.encode_image(images))
    other = build(
        checkpoint_of(model.state_dict(), open_clip={"model_cfg": config}),
        imgsz=tuple(larger.visual.image_size),
    )
    assert ask_witness(other, other.spec).startswith("open_clip 3")
    # open_clip takes weights that were trained at another size than its configuration says.
    resized = {**config, "vision_cfg": {**VISION, "image_size": image_size}}
    told = build(checkpoint_of(model.state_dict(), open_clip={"model_cfg": resized}))
    assert (told.spec.input.height, told.spec.input.width) == tuple(larger.visual.image_size)
    with torch.inference_mode():
        assert_embeds(told, images, larger.encode_image(images))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_images_are_prepared_as_open_clip_prepares_them(
    tmp_path: Path, photos: dict[str, np.ndarray], mode: str
) -> None:
    pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image
    from safetensors.torch import save_file

    model, config = openclip({})
    images = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "resize_mode": mode, "fill_color": 7}
    images |= {"interpolation": "bilinear", "size": 64, "mode": "RGB"}
    save_file(
        {key: tensor.contiguous() for key, tensor in model.state_dict().items()},
        tmp_path / "open_clip_model.safetensors",
    )
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": images})
    )
    built = build(read_checkpoint(tmp_path))
    spec = built.spec
    process = image_transform_v2(PreprocessCfg(**images), is_train=False)
    for name in ("cat", "flower_portrait"):
        found, _ = preprocess(photos[name], spec)
        expected = process(Image.fromarray(photos[name])).numpy()
        assert np.abs(found - expected).max() <= 1e-5
    assert "open_clip_config.json: preprocess_cfg" in spec.recognised[1]
    assert ask_witness(built, spec).endswith("100.00% of the pixels equal on a photo")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"vision_cfg": {**VISION, "width": 48}}, "width = 48"),
    ({"vision_cfg": {**VISION, "layers": 3}}, "layers = 3"),
    ({"vision_cfg": {**VISION, "mlp_ratio": 3.0}}, "mlp_ratio = 3"),
    ({"vision_cfg": {**VISION, "scale_attn": True}}, "scale_attn = True"),
    ({"vision_cfg": {**VISION, "no_ln_pre": True}}, "no_ln_pre = True"),
    ({"vision_cfg": {**VISION, "act_kwargs": {"approximate": "tanh"}}}, "act_kwargs"),
    ({"vision_cfg": {**VISION, "hedgehogs": 3}}, "hedgehogs = 3"),
    ({"hedgehogs": 3}, "hedgehogs = 3"),
    ({"embed_dim": 25}, "embed_dim = 25"),
]


@pytest.mark.parametrize(("change", "named"), WRONG, ids=[named for _, named in WRONG])
def test_a_configuration_that_does_not_agree_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    _, tensors = openai(intermediate_size=128)
    with pytest.raises(CheckpointError, match=named):
        build(checkpoint_of(tensors, open_clip={"model_cfg": {**MODEL, **change}}))


PUBLISHED = {
    "ViT-B-32": "ViT-B-32",
    "ViT-B-16-plus-240": "ViT-B-16-plus-240",
    "ViT-bigG-14-quickgelu": "ViT-bigG-14-quickgelu",
    "ViT-e-14": "ViT-e-14",
    "ViT-H-14-CLIPA-336": "ViT-H-14-CLIPA-336",
    "coca_ViT-L-14": "coca_ViT-L-14",
    "MobileCLIP2-L-14": "vit_large_patch14_clip_224",
    "ViT-SO400M-14-SigLIP-384": "vit_so400m_patch14_siglip_384",
    "ViT-gopt-16-SigLIP2-384": "vit_giantopt_patch16_siglip_384",
}


@pytest.mark.parametrize(("name", "expected"), PUBLISHED.items())
def test_published_models_have_their_names_heads_and_sizes(name: str, expected: str) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        tower = open_clip.model._build_vision_tower(config["embed_dim"], dict(config["vision_cfg"]))
    tensors = {f"visual.{key}": tensor for key, tensor in tower.state_dict().items()}
    block = tower.trunk.blocks[0] if hasattr(tower, "trunk") else tower.transformer.resblocks[0]
    for meta in ({"open_clip": {"model_cfg": config}}, {}):
        checkpoint = checkpoint_of(tensors, **meta)
        source = vit_open_clip.read(checkpoint, tensors, Hints())
        arch, _ = read_architecture(source, {})
        assert arch.num_heads == block.attn.num_heads
        if meta:
            assert source.name(arch, arch.image_size) == expected
            size = config["vision_cfg"]["image_size"]
            assert vit._own_size(arch, source) == (size, size)


@pytest.mark.parametrize(
    ("name", "expected"), [("ViT-B-32", "quick_gelu"), ("ViT-H-14", "gelu"), ("ViT-L-14-CLIPA", "gelu")]
)
def test_a_bare_state_dict_of_a_size_that_openai_published_is_taken_for_its(name: str, expected: str) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        tower = open_clip.model._build_vision_tower(config["embed_dim"], dict(config["vision_cfg"]))
    tensors = {f"visual.{key}": tensor for key, tensor in tower.state_dict().items()}
    source = vit_open_clip.read(checkpoint_of(tensors), tensors, Hints())
    assert source.activation == expected
    assert "override with --config" in source.assumed[0]
