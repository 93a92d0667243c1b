"""EVA-02 under the names of its own repository: timm's own reading of them is the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess
from PIL import Image
from timm.models.eva import checkpoint_filter_fn
from torch import nn
from torchvision import transforms

SMALL: dict[str, Any] = {"embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 5, "img_size": 56}
NAMES = ("eva02_tiny_patch14_224", "eva02_base_patch14_224")
ARGS: dict[str, Any] = {
    "model": "eva02_base_patch14_xattn_fusedLN_NaiveSwiGLU_subln_RoPE",
    "imagenet_default_mean_and_std": False,
    "input_size": 56,
    "crop_pct": 1.0,
    "use_mean_pooling": True,
    "linear_probe": False,
}


def tiny(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(name, **{**SMALL, "dynamic_img_size": True, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def tables(side: int, size: int, reference: int = 16) -> dict[str, torch.Tensor]:
    """Rotations of a grid of patches: neighbouring channels in pairs, rows before columns."""
    angles = torch.zeros(side * side, size)
    for patch in range(side * side):
        for channel in range(size):
            place = (patch // side if channel < size // 2 else patch % side) / side * reference
            band = 10000 ** -(2 * (channel % (size // 2) // 2) / (size // 2))
            angles[patch, channel] = place * band
    return {"rope.freqs_cos": angles.cos(), "rope.freqs_sin": angles.sin()}


def official(model: Any, reference: int = 16) -> dict[str, torch.Tensor]:
    """The weights under the names of EVA-02's own code, which saves the rotations with each block again."""
    separate = any("fc1_g" in key for key in model.state_dict())
    words = {"mlp.fc2": "mlp.w3", "mlp.norm": "mlp.ffn_ln"}
    words |= {"mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2"} if separate else {"mlp.fc1": "mlp.w12"}
    words |= {"q_proj.bias": "q_bias", "v_proj.bias": "v_bias"}
    found = {}
    for key, tensor in model.state_dict().items():
        new = key
        for ours, theirs in words.items():
            new = new.replace(ours, theirs)
        found[new] = tensor
    side = model.patch_embed.grid_size[0]
    rotations = tables(side, model.embed_dim // model.blocks[0].attn.num_heads, reference)
    blocks = range(len(model.blocks))
    return {
        **found,
        **rotations,
        **{f"blocks.{n}.attn.{key}": one for key, one in rotations.items() for n in blocks},
    }


def checkpoint_of(tensors: dict[str, torch.Tensor], **meta: Any) -> Checkpoint:
    return Checkpoint(path=Path("x.pth"), sha256="", container="torch", tensors=tensors, meta=meta)


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("vit", "eva02")
    return family.build(checkpoint, match, asked)


def assert_equal(module: nn.Module, images: torch.Tensor, model: Any, *, features: bool) -> None:
    with torch.inference_mode():
        tokens = model.forward_features(images)
        expected = (tokens, model.forward_head(tokens, pre_logits=True)) if features else (model(images),)
        found = module(images)
    for one, other in zip((found,) if isinstance(found, torch.Tensor) else found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 2e-5 * other.abs().max()


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize(("side", "reference"), [(56, 16), (70, 5), (28, 16), (56, 12)])
@pytest.mark.parametrize("name", NAMES)
def test_every_form_is_what_timm_reads(name: str, side: int, reference: int, features: bool) -> None:
    model = tiny(name, img_size=side, ref_feat_shape=(reference, reference))
    tensors = official(model, reference)
    theirs = tiny(name, img_size=side, ref_feat_shape=(reference, reference))
    theirs.load_state_dict(checkpoint_filter_fn(dict(tensors), theirs), strict=True)
    built = build(checkpoint_of(tensors), features=features)
    assert built.exportable is not None
    assert built.fixed is not None
    assert (built.spec.input.height, built.spec.input.width) == (side, side)
    for size in [(side, side), (84, 42)]:
        images = torch.randn(2, 3, *size)
        for module in (built.module, built.exportable, built.fixed(*size)):
            assert_equal(module, images, theirs, features=features)


@pytest.mark.parametrize("name", NAMES)
def test_a_pre_trained_model_gives_its_features(name: str) -> None:
    model = tiny(name, num_classes=0, global_pool="token")
    more = {
        "mask_token": torch.randn(1, 1, 64),
        "lm_head.weight": torch.randn(9, 64),
        "lm_head.bias": torch.randn(9),
    }
    built = build(checkpoint_of(official(model) | more))
    assert built.spec.task == "features"
    assert_equal(built.module, torch.randn(1, 3, 56, 56), model, features=True)


def test_tables_in_half_precision_tell_the_same() -> None:
    model = tiny(NAMES[1])
    tensors = {key: one.half() if "rope" in key else one for key, one in official(model).items()}
    assert_equal(build(checkpoint_of(tensors)).module, torch.randn(1, 3, 56, 56), model, features=False)


def test_one_file_takes_every_size(tmp_path: Path) -> None:
    model = tiny(NAMES[1])
    torch.save({"module": official(model)}, tmp_path / "w.pt")
    result = export(tmp_path / "w.pt", ExportOptions(output=tmp_path / "m.onnx", dynamic=("all",)))
    assert result.spec.origin == "eva02"
    session = onnxruntime.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    for size in [(56, 56), (84, 42), (70, 112)]:
        images = torch.randn(1, 3, *size)
        with torch.inference_mode():
            expected = model(images)
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("imagenet", [False, True])
@pytest.mark.parametrize("crop", [None, 1.0])
def test_the_training_arguments_tell_the_evaluation(
    photos: dict[str, np.ndarray], imagenet: bool, crop: float | None
) -> None:
    args = ARGS | {"imagenet_default_mean_and_std": imagenet, "crop_pct": crop}
    spec = build(checkpoint_of(official(tiny(NAMES[1])), args=args)).spec
    assert not any("Pre-processing" in line for line in spec.assumed)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    if imagenet:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    process = transforms.Compose(
        [
            transforms.Resize(int(56 / (crop or 224 / 256)), interpolation=3),
            transforms.CenterCrop(56),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    expected = process(Image.fromarray(photos["cat"])).numpy()
    found, _ = preprocess(photos["cat"], spec)
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 1.01 / 255 / min(std)


def test_what_is_not_told_is_assumed_or_given() -> None:
    tensors = {key: one for key, one in official(tiny(NAMES[1], num_heads=1)).items() if "rope" not in key}
    built = build(checkpoint_of(tensors))
    assert any("1 attention heads" in line for line in built.spec.assumed)
    asked = build(checkpoint_of(tensors), config={"num_heads": 2, "eps": 1e-3})
    block = asked.module.net.blocks[0]
    assert (block.attn.num_heads, block.norm1.eps) == (2, 1e-3)
    with pytest.raises(OptionError, match="the weights have 4"):
        build(checkpoint_of(official(tiny(NAMES[1]))), config={"num_heads": 2})


@pytest.mark.parametrize(
    ("told", "named"),
    [({"use_mean_pooling": False}, "use_mean_pooling"), ({"input_size": 224}, "input_size")],
)
def test_arguments_of_another_model_are_refused(told: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        build(checkpoint_of(official(tiny(NAMES[1])), args=ARGS | told))


def test_other_rotations_are_refused() -> None:
    tensors = official(tiny(NAMES[1]))
    for name, changed in [("cos", "freqs_cos"), ("sin", "freqs_sin")]:
        other = {key: one.flip(0) if changed in key else one for key, one in tensors.items()}
        with pytest.raises(CheckpointError, match="rotations"):
            build(checkpoint_of(other))
        lost = {key: one for key, one in tensors.items() if changed not in key}
        if name == "sin":
            with pytest.raises(CheckpointError, match="sine"):
                build(checkpoint_of(lost))


@pytest.mark.parametrize("name", NAMES)
def test_every_lost_weight_is_named(name: str) -> None:
    tensors = official(tiny(name))
    # Each is there with every block; and without the first ones it is another form or unknown.
    unstated = {"patch_embed.proj.weight", "pos_embed", *(key for key in tensors if "rope" in key)}
    for lost in tensors.keys() - unstated:
        with pytest.raises(CheckpointError) as error:
            build(checkpoint_of({key: tensor for key, tensor in tensors.items() if key != lost}))
        assert lost in str(error.value) or lost.rpartition(".")[0] in str(error.value), (
            f"{lost}: {error.value}"
        )


def test_a_tower_of_eva_clip_is_not_taken_for_a_classifier() -> None:
    tensors = official(tiny(NAMES[1]))
    tower = {f"visual.{key}": tensor for key, tensor in tensors.items()}
    tower["visual.blocks.0.attn.inner_attn_ln.weight"] = torch.ones(64)
    checkpoint = checkpoint_of({**tower, "logit_scale": torch.ones(())})
    family, match = recognise(checkpoint, Hints())
    with pytest.raises(CheckpointError, match="does not say which model"):
        family.build(checkpoint, match, Hints())


CHANGES: list[dict[str, Any]] = [
    *(
        {"patch_size": 8},
        {"in_chans": 1},
        {"num_classes": 1},
        {"embed_dim": 96},
        {"depth": 1},
        {"num_heads": 2},
    ),
    *({"mlp_ratio": 2.0}, {"use_abs_pos_emb": False}, {"qkv_bias": False}, {"init_values": 0.1}),
    *({"img_size": 84}, {"global_pool": "token"}),
]


@pytest.mark.parametrize("changed", CHANGES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_argument_of_the_constructor_is_told_by_the_weights(name: str, changed: dict[str, Any]) -> None:
    model = tiny(name, **changed)
    built = build(checkpoint_of(official(model)))
    images = torch.randn(1, model.in_chans, *model.patch_embed.img_size)
    assert (built.spec.input.height, built.spec.input.channels) == (images.shape[2], images.shape[1])
    assert_equal(built.module, images, model, features=False)


def test_weights_of_another_rank_are_refused() -> None:
    tensors = official(tiny(NAMES[1]))
    for key, tensor in tensors.items():
        for other in (tensor[None], tensor.flatten(), tensor.new_ones(())):
            if ".attn.rope." in key or other.shape == tensor.shape:
                continue
            changed = {**tensors, key: other}
            with pytest.raises(CheckpointError):
                build(checkpoint_of(changed))
