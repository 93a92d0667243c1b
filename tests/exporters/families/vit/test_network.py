"""timm's ViTs with RMSNorm, and with norms inside attention, MLP and embedding: read, proven, exported."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import CheckpointError

SMALL = {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("vit_small_patch16_224", {"norm_layer": "rmsnorm"}),
    ("vit_small_patch16_224", {"norm_layer": "rmsnorm", "qk_norm": True, "pre_norm": True}),
    ("vit_small_patch16_224", {"scale_attn_norm": True}),
    ("vit_small_patch16_224", {"scale_mlp_norm": True}),
    ("vit_small_patch16_224", {"scale_attn_norm": True, "scale_mlp_norm": True, "norm_layer": "rmsnorm"}),
    ("vit_small_patch16_224", {"embed_norm_layer": "layernorm"}),
    ("beit3_base_patch16_224", {}),
    ("test_vit4", {"num_heads": 3}),
    ("vit_medium_patch16_gap_256", {"norm_layer": "rmsnorm"}),
]


def perturbed(name: str, options: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(name, **{**SMALL, "num_classes": 3, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(("name", "options"), MODELS, ids=str)
@pytest.mark.parametrize("dynamic", [(), ("all",)], ids=["fixed", "dynamic"])
def test_a_named_model_is_proven_with_timm_itself(
    tmp_path: Path, name: str, options: dict[str, Any], dynamic: tuple[str, ...]
) -> None:
    model = perturbed(name, options)
    args = Namespace(model=name, model_kwargs={**SMALL, **options})
    torch.save({"state_dict": model.state_dict(), "args": args}, tmp_path / "model.pth")
    found = export(tmp_path / "model.pth", ExportOptions(dynamic=dynamic))
    assert found.spec.parity is not None
    assert found.spec.parity.witness.startswith("timm ")
    assert found.graph.opset <= 20


def test_other_eps_of_an_rmsnorm_is_honoured(tmp_path: Path) -> None:
    model = perturbed("vit_small_patch16_224", {"norm_layer": "rmsnorm"})
    for module in model.modules():
        if type(module).__name__ == "RmsNorm":
            module.eps = 0.1
    args = Namespace(model="vit_small_patch16_224", model_kwargs={**SMALL, "norm_layer": "rmsnorm"})
    torch.save({"state_dict": model.state_dict(), "args": args}, tmp_path / "model.pth")
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.load import load_checkpoint

    built = load_checkpoint(tmp_path / "model.pth", Hints(config={"eps": 0.1})).built
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(built.module(images), model(images), rtol=1e-5, atol=1e-5)


def test_without_a_name_the_refusal_tells_the_way_out(tmp_path: Path) -> None:
    model = perturbed("vit_small_patch16_224", {"norm_layer": "rmsnorm"})
    torch.save(model.state_dict(), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="norms of this ViT have no bias") as error:
        export(tmp_path / "model.pth", ExportOptions())
    assert '"norm_layer": "rmsnorm"' in str(error.value.hint)
    config = {"model": "vit_base_patch16_224", "model_kwargs": {**SMALL, "norm_layer": "rmsnorm"}}
    found = export(tmp_path / "model.pth", ExportOptions(config=config))
    assert found.spec.parity is not None
    assert found.spec.parity.witness.startswith("timm ")


@pytest.mark.parametrize(
    "options", [{"block_fn": "parallel"}, {"norm_layer": "simplenorm"}, {"attn_layer": "diff"}], ids=str
)
def test_other_blocks_and_norms_stay_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    given = dict(options)
    if given.get("block_fn") == "parallel":
        given["block_fn"] = timm.models.vision_transformer.ParallelScalingBlock
    model = perturbed("vit_small_patch16_224", given)
    args = Namespace(model="vit_small_patch16_224", model_kwargs={**SMALL, **given})
    torch.save({"state_dict": model.state_dict(), "args": args}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError):
        export(tmp_path / "model.pth", ExportOptions())
