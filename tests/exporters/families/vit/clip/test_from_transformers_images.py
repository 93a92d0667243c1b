"""Images of transformers' towers: prepared by the processor of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.pixels.preprocess import preprocess
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    SiglipImageProcessor,
    ViTImageProcessor,
)
from transformers_towers import FEATURES, answers, assert_answers, build, tiny

PROCESSORS: list[tuple[Any, dict[str, Any]]] = [
    (CLIPImageProcessor, {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}),
    (CLIPImageProcessor, {"size": {"shortest_edge": 80}, "crop_size": 64, "resample": 2}),
    (BitImageProcessor, {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
    (SiglipImageProcessor, {"size": {"height": 64, "width": 64}}),
    (SiglipImageProcessor, {"size": {"height": 64, "width": 64}, "do_normalize": False}),
    (ViTImageProcessor, {"size": {"height": 64, "width": 64}, "image_mean": [0.1, 0.2, 0.3]}),
]


@pytest.mark.parametrize(("processor", "settings"), PROCESSORS)
@pytest.mark.parametrize("name", ["dinov2", "clip vision", "siglip vision"])
def test_images_are_prepared_by_the_processor_of_the_file(
    tmp_path: Path, photos: dict[str, np.ndarray], name: str, processor: Any, settings: dict[str, Any]
) -> None:
    kind, config, own = FEATURES[name]
    tiny(kind, config, **own).save_pretrained(tmp_path)
    processor(**settings).save_pretrained(tmp_path)
    built = build(read_checkpoint(tmp_path))
    expected = processor(**settings)(photos["cat"], return_tensors="np")["pixel_values"][0]
    found, _ = preprocess(photos["cat"], built.spec)
    # torchvision's antialiased resize and Pillow's round differently by at most one level.
    step = 1.01 / 255 / min(built.spec.preprocess.std)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= step
    assert built.spec.assumed == ()
    assert "of the pixels equal" in ask_witness(built, built.spec)


def test_the_form_of_openais_folder_with_plain_numbers_keeps_the_aspect_ratio(tmp_path: Path) -> None:
    tiny(CLIPModel, CLIPConfig, projection_dim=24).save_pretrained(tmp_path)
    described = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 64, "crop_size": 64, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(described))
    how = build(read_checkpoint(tmp_path)).spec.preprocess
    assert (how.resize, how.resize_to, how.crop, how.interpolation) == ("short", (64,), (64, 64), "bicubic")


def test_the_processor_of_transformers_5_lies_in_that_of_the_whole_model(tmp_path: Path) -> None:
    tiny(CLIPModel, CLIPConfig, projection_dim=24).save_pretrained(tmp_path)
    tokens = CLIPTokenizer(vocab={"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}, merges=[])
    images = CLIPImageProcessor(size={"shortest_edge": 80}, crop_size=64, image_mean=[0.1, 0.2, 0.3])
    CLIPProcessor(images, tokens).save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    built = build(read_checkpoint(tmp_path))
    how = built.spec.preprocess
    assert (how.resize_to, how.crop, how.mean) == ((80,), (64, 64), (0.1, 0.2, 0.3))
    assert built.spec.recognised[-1] == "Pre-processing is from processor_config.json."
    assert "of the pixels equal" in ask_witness(built, built.spec)


@pytest.mark.parametrize("name", ["clip vision", "siglip vision"])
def test_a_folder_of_older_releases(tmp_path: Path, name: str) -> None:
    """Towers had the prefix of the whole model, buffers were saved, and so was every setting there is."""
    kind, config, settings = FEATURES[name]
    model = tiny(kind, config, **settings)
    model.save_pretrained(tmp_path)
    tensors = {f"vision_model.{key}": tensor for key, tensor in model.state_dict().items()}
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17).unsqueeze(0)
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **OLDER}))
    built = build(read_checkpoint(tmp_path))
    assert_answers(built, model)
    assert ask_witness(built, built.spec).startswith("transformers 5")


OLDER: dict[str, Any] = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "bad_words_ids": None,
    "num_beams": 1,
    "prefix": None,
    "chunk_size_feed_forward": 0,
    "do_sample": False,
    "early_stopping": False,
    "is_decoder": False,
    "length_penalty": 1.0,
    "max_length": 20,
    "no_repeat_ngram_size": 0,
    "output_attentions": False,
    "pruned_heads": {},
    "repetition_penalty": 1.0,
    "return_dict": True,
    "temperature": 1.0,
    "top_k": 50,
    "torch_dtype": "float32",
    "torchscript": False,
    "tie_word_embeddings": True,
    "use_bfloat16": False,
    "dropout": 0.0,
    "initializer_factor": 1.0,
    "transformers_version": "4.16.0",
    "problem_type": None,
}


def test_dinov2_has_the_images_of_its_processor_and_not_of_its_positions(tmp_path: Path) -> None:
    tiny(Dinov2Model, Dinov2Config, image_size=126, patch_size=14).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 80}, crop_size={"height": 70, "width": 70}).save_pretrained(
        tmp_path
    )
    spec = build(read_checkpoint(tmp_path)).spec
    assert (spec.input.height, spec.input.width) == (70, 70)
    assert (spec.preprocess.resize_to, spec.preprocess.crop) == ((80,), (70, 70))


@pytest.mark.parametrize("name", ["siglip vision", "clip projection", "dinov2"])
def test_images_that_are_not_a_whole_number_of_patches_keep_their_size(tmp_path: Path, name: str) -> None:
    """As google/siglip-so400m-patch14-384: 27 patches of 14 are 378 of its 384 pixels."""
    kind, config, settings = FEATURES[name]
    model = tiny(kind, config, **settings, image_size=70)
    model.save_pretrained(tmp_path / "folder")
    built = build(read_checkpoint(tmp_path / "folder"))
    assert (built.spec.input.height, built.spec.input.width) == (70, 70)
    assert built.axes["height"].step == 1
    result = export(tmp_path / "folder", ExportOptions(dynamic=("all",), output=tmp_path / "m.onnx"))
    assert result.spec.parity is not None
    assert result.spec.parity.witness.startswith("transformers 5")
    for side in (70, 64, 90):
        images = torch.randn(1, 3, side, side)
        with torch.inference_mode(), open_ort(result.path) as runner:
            expected = answers(model, images)
            found = runner.infer({"images": images.numpy()})
            for one, other in zip(found.values(), expected, strict=True):
                assert np.abs(one - other.numpy()).max() <= 2e-5 * np.abs(other.numpy()).max()
