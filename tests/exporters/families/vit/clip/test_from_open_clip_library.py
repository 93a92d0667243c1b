"""Every form of open_clip's own library gives its embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.vit import family as vit
from deploykit_exporters.families.vit.clip import from_open_clip as vit_open_clip
from deploykit_exporters.families.vit.source import read_architecture
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.pixels.preprocess import preprocess
from open_clip_towers import MODEL, VISION, assert_embeds, build, checkpoint_of, disturbed, openai

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
