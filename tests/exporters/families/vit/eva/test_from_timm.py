"""timm's EVA-02, DINOv3, BEiT and other ViTs with rotary or relative positions, against timm's own models."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from inspect import signature
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.export import export
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.registry import recognise
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.witness import ask_witness
from deploykit_runtimes.errors import CheckpointError, DeploykitError, OptionError
from timm.models.beit import Beit
from timm.models.eva import Eva
from torch import nn

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 64}
RESIZABLE: dict[str, dict[str, Any]] = {
    "eva02_tiny_patch14_224": {"img_size": 56},
    "eva02_base_patch14_224": {"img_size": 56},
    "vit_small_patch16_dinov3": {},
    "vit_small_patch16_dinov3_qkvb": {},
    "vit_small_plus_patch16_dinov3": {},
    "vit_small_patch16_rope_224": {},
    "vit_small_patch16_rope_ape_224": {},
    "vit_medium_patch16_rope_reg1_gap_256": {},
}
FIXED: dict[str, dict[str, Any]] = {
    "vit_small_patch16_rope_mixed_224": {},
    "beit_base_patch16_224": {},
    "beitv2_base_patch16_224": {},
}
ALL = RESIZABLE | FIXED


def tiny(name: str, **settings: Any) -> Any:
    """timm's model with weights that all differ."""
    torch.manual_seed(0)
    model = timm.create_model(name, **{**SMALL, **ALL.get(name, {}), "num_classes": 5, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def described(model: Any, name: str, told: dict[str, Any] | None = None, **more: Any) -> Checkpoint:
    """A checkpoint as timm's training script writes it."""
    settings = {**SMALL, **ALL.get(name, {}), **(told or {})}
    kwargs = {key: value for key, value in settings.items() if key not in ("num_classes", "in_chans")}
    return Checkpoint(
        path=Path("best.pth.tar"),
        sha256="",
        container="torch",
        tensors=model.state_dict(),
        meta={"args": Namespace(model=name, model_kwargs=kwargs)} | more,
    )


def build(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    asked = Hints(**hints)
    family, match = recognise(checkpoint, asked)
    assert (family.name, match.origin) == ("vit", "timm")
    return family.build(checkpoint, match, asked)


def sizes_of(model: Any, built: BuiltModel) -> list[tuple[int, int]]:
    side, patch = model.patch_embed.img_size[0], model.patch_embed.patch_size[0]
    if "height" not in built.axes:
        return [(side, side)]
    return [(side, side), (side + patch, side - patch), (2 * side, side)]


def resized(name: str, model: Any, size: tuple[int, int]) -> Any:
    """timm's own model for another size."""
    other = tiny(name)
    other.load_state_dict(model.state_dict())
    other.set_input_size(img_size=size)
    return other.eval()


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_every_form_gives_what_timm_gives_at_every_size(name: str, features: bool) -> None:
    model = tiny(name)
    built = build(described(model, name), features=features)
    assert built.spec.variant == name
    assert built.spec.assumed == ()
    assert ("height" in built.axes) is (name in RESIZABLE)
    for height, width in sizes_of(model, built):
        images = torch.randn(2, 3, height, width)
        own = resized(name, model, (height, width))
        with torch.inference_mode():
            tokens = own.forward_features(images)
            expected = (tokens, own.forward_head(tokens, pre_logits=True)) if features else (own(images),)
            assert built.fixed is not None
            forms = [built.module, built.fixed(height, width)]
            forms += [] if built.exportable is None else [built.exportable]
            for module in forms:
                found = module(images)
                found = (found,) if isinstance(found, torch.Tensor) else found
                for one, other in zip(found, expected, strict=True):
                    assert_equal(one, other)


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize(
    "name", ["eva02_base_patch14_224", "vit_small_patch16_dinov3", "beitv2_base_patch16_224"]
)
def test_timm_is_the_witness_at_another_size(name: str, features: bool) -> None:
    side = 84 if "patch14" in name else 96
    built = build(described(tiny(name), name), features=features, imgsz=(side, side))
    assert ask_witness(built, built.spec).startswith("timm")


@pytest.mark.parametrize(
    "name", ["eva02_base_patch14_224", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224"]
)
def test_one_file_takes_every_size(tmp_path: Path, name: str) -> None:
    model = tiny(name)
    checkpoint = described(model, name)
    torch.save({"state_dict": checkpoint.tensors, **checkpoint.meta}, tmp_path / "w.pth")
    result = export(
        tmp_path / "w.pth", ExportOptions(output=tmp_path / "m.onnx", dynamic=("all",), features=True)
    )
    assert result.spec.parity is not None
    assert "timm" in result.spec.parity.witness
    session = onnxruntime.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    for size in sizes_of(model, build(checkpoint)):
        images = torch.randn(2, 3, *size)
        own = resized(name, model, size)
        with torch.inference_mode():
            tokens = own.forward_features(images)
            expected = (tokens, own.forward_head(tokens, pre_logits=True))
        for one, other in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
            assert_equal(torch.from_numpy(one), other)


def test_raw_images_in_and_finished_answers_out(tmp_path: Path) -> None:
    name = "beitv2_base_patch16_224"
    checkpoint = described(tiny(name), name)
    torch.save({"state_dict": checkpoint.tensors, **checkpoint.meta}, tmp_path / "w.pth")
    options = ExportOptions(output=tmp_path / "m.onnx", preprocess=True, postprocess=True)
    assert export(tmp_path / "w.pth", options).spec.parity is not None


def test_relative_positions_have_no_dynamic_size(tmp_path: Path) -> None:
    name = "beit_base_patch16_224"
    checkpoint = described(tiny(name), name)
    torch.save({"state_dict": checkpoint.tensors, **checkpoint.meta}, tmp_path / "w.pth")
    with pytest.raises(OptionError, match="its dynamic axes are batch"):
        export(tmp_path / "w.pth", ExportOptions(output=tmp_path / "m.onnx", dynamic=("height",)))
    built = build(checkpoint)
    assert any("--imgsz" in note for note in built.notes)


def test_positions_are_kept_for_the_size_of_the_training() -> None:
    """4 x 9 patches are as many as 6 x 6; the file's size is the one that counts."""
    name, size = "eva02_base_patch14_224", (56, 126)
    model = tiny(name, img_size=size)
    built = build(described(model, name, {"img_size": list(size)}))
    assert (built.spec.input.height, built.spec.input.width) == size
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        assert_equal(built.module(images), model(images))
    told = described(model, name)
    told.meta["args"].model_kwargs.pop("img_size")
    assert "--imgsz" in build(told).spec.assumed[0]
    assert build(told, imgsz=size).spec.assumed == ()
    with torch.inference_mode():
        assert_equal(build(told, imgsz=size).module(images), model(images))


def test_a_classifier_of_ones_own_beside_the_network() -> None:
    name = "vit_small_patch16_dinov3"
    model = tiny(name, num_classes=0)
    head = nn.Linear(48, 4)
    tensors = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"head.{key}": value.detach() for key, value in head.state_dict().items()}
    checkpoint = described(model, name)
    own = Checkpoint(
        path=Path("x.pt"), sha256="", container="torch", tensors=tensors, meta=dict(checkpoint.meta)
    )
    built = build(own)
    assert built.spec.num_classes == 4
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_equal(built.module(images), head(model(images)))
    assert ask_witness(built, built.spec) == "none: the classifier is not timm's own"


def named(model: Any, **meta: Any) -> Checkpoint:
    return Checkpoint(path=Path("w.pth"), sha256="", container="torch", tensors=model.state_dict(), meta=meta)


@pytest.mark.parametrize(
    ("name", "example"),
    [("eva02_base_patch14_224", "eva02_base"), ("vit_small_patch16_dinov3", "dinov3")],
)
def test_without_a_name_the_weights_are_refused_and_an_example_is_given(name: str, example: str) -> None:
    with pytest.raises(CheckpointError) as error:
        build(named(tiny(name)))
    assert "does not say which model it is" in error.value.problem
    assert f"--variant {example}" in str(error.value.hint).replace("vit_small_patch16_", "")


@pytest.mark.parametrize(
    "name", ["eva02_base_patch14_224", "vit_small_patch16_dinov3", "beitv2_base_patch16_224"]
)
def test_every_lost_weight_is_named(name: str) -> None:
    model = tiny(name)
    for lost in model.state_dict():
        checkpoint = described(model, name)
        kept = {key: tensor for key, tensor in checkpoint.tensors.items() if key != lost}
        broken = Checkpoint(
            path=Path("x.pt"), sha256="", container="torch", tensors=kept, meta=dict(checkpoint.meta)
        )
        if lost in ("head.weight", "patch_embed.proj.weight"):
            continue  # the first leaves features, and without the other it is not a ViT
        with pytest.raises(DeploykitError) as error:
            family, match = recognise(broken, Hints())
            family.build(broken, match, Hints())
        assert lost in str(error.value), f"{lost}: {error.value}"


def test_names_of_other_models_are_refused() -> None:
    model = tiny("eva02_base_patch14_224")
    with pytest.raises(CheckpointError, match="vit_small_patch16_224, named by --variant"):
        build(named(model), variant="vit_small_patch16_224")
    with pytest.raises(CheckpointError, match="not those of timm's eva02_large_patch14_224"):
        build(named(model, arch="eva02_large_patch14_224"))
    # The same weights with another layout of the rotations: the name decides, and it is said.
    assert build(described(model, "eva02_base_patch14_224")).spec.variant == "eva02_base_patch14_224"


def test_a_perception_encoder_has_to_be_named() -> None:
    """Its weights are those of a plain ViT with a norm before the blocks and attention pooling."""
    name = "vit_pe_core_tiny_patch16_384"
    model = tiny(name)
    with pytest.raises(CheckpointError, match="this is a Perception Encoder"):
        build(described(model, name))
    with pytest.raises(CheckpointError, match="Perception Encoder's weights"):
        build(named(model), family="vit")
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_equal(build(described(model, name), family="vit").module(images), model(images))


def test_a_setting_of_the_command_that_nothing_reads_is_refused() -> None:
    name = "vit_small_patch16_dinov3"
    checkpoint = described(tiny(name), name)
    with pytest.raises(OptionError, match="image_mean"):
        build(checkpoint, config={"image_mean": [0.1, 0.2, 0.3]})
    assert build(checkpoint, config={"mean": [0.1, 0.2, 0.3]}).spec.preprocess.mean == (0.1, 0.2, 0.3)


def test_a_name_makes_a_rotary_model_of_weights_that_look_plain() -> None:
    name = "vit_small_patch16_rope_ape_224"
    model = tiny(name)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert_equal(build(described(model, name)).module(images), model(images))


VALUES: dict[str, list[Any]] = {
    "img_size": [96, [48, 64]],
    "patch_size": [8, [8, 16]],
    "in_chans": [1, 4],
    "num_classes": [1, 0],
    "global_pool": ["", "token", "avg", "max", "avgmax", "map", "prr"],
    "num_heads": [6, 4],
    "num_kv_heads": [1],
    "mlp_ratio": [2.0, 3.5],
    "attn_type": ["rope", "eva", "other"],
    "norm_layer": ["layernorm", "rmsnorm"],
    "init_values": [0.1, None],
    "num_reg_tokens": [0, 3],
    "rope_type": ["cat", "mixed", "dinov3", "mrope", "base"],
    "rope_grid_offset": [0.5],
    "rope_grid_indexing": ["xy", "ij"],
    "rope_temperature": [50.0],
    "ref_feat_shape": [7, [5, 6]],
    "rope_mrope_section": [[2, 3, 3]],
    "swiglu_align_to": [16],
    "attn_pool_num_heads": [6],
    "attn_pool_mlp_ratio": [2.0],
    "rope_shift_coords": [0.5],
    "rope_jitter_coords": [2.0],
    "rope_rescale_coords": [2.0],
    "use_post_transformer_norm": [True, False],
    "use_fc_norm": [True, False],
    "head_init_scale": [0.5],
    "hedgehogs": [3],
}
SKIPPED = {"self", "device", "dtype", "embed_dim", "depth"}


def others(kind: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"hedgehogs": [3]}
    for parameter in signature(kind.__init__).parameters.values():
        if parameter.name in SKIPPED:
            continue
        default = parameter.default
        usual = (
            [True, False] if isinstance(default, bool) else [0.25] if isinstance(default, float) else ["x"]
        )
        found[parameter.name] = VALUES.get(parameter.name, usual)
    return found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("eva02_base_patch14_224", Eva),
        ("vit_small_patch16_dinov3", Eva),
        ("vit_medium_patch16_rope_reg1_gap_256", Eva),
        ("beitv2_base_patch16_224", Beit),
    ],
)
def test_a_model_with_another_argument_is_equal_or_refused(name: str, kind: Any) -> None:
    told: Counter[str] = Counter()
    different = []
    for key, values in others(kind).items():
        for value in values:
            given = {key: tuple(value) if isinstance(value, list) else value}
            try:
                model = tiny(name, **given)
                side = model.patch_embed.img_size
                model(torch.randn(1, model.patch_embed.proj.in_channels, *side))
            except Exception:  # noqa: BLE001 - timm has no such model
                told["impossible"] += 1
                continue
            found = outcome(described(model, name, {key: value}), model)
            told[found] += 1
            if found == "DIFFERENT":
                different.append(f"{key} = {value!r}")
    assert different == []
    assert told["equal"] > 15, told


def outcome(checkpoint: Checkpoint, model: Any) -> str:
    """``equal``, ``refused`` or ``DIFFERENT``."""
    try:
        built = build(checkpoint)
    except DeploykitError:
        return "refused"
    image = built.spec.input
    images = torch.randn(2, image.channels, image.height, image.width)
    assert built.fixed is not None
    with torch.inference_mode():
        expected = model.forward_features(images) if built.spec.task == "features" else model(images)
        for module in (built.module, built.fixed(image.height, image.width), built.exportable):
            if module is None:
                continue
            found = module(images)
            found = found if isinstance(found, torch.Tensor) else found[0]
            if found.shape != expected.shape or (found - expected).abs().max() > 1e-4 * expected.abs().max():
                return "DIFFERENT"
    return "equal"
