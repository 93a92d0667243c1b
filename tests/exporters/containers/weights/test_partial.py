"""Files that hold a part of a model's weights, as the libraries name what they add to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError
from torch import nn
from torch.ao.quantization import quantize_dynamic

ADAPTERS = {
    "LoRA": ("q.base_layer.weight", "q.lora_A.default.weight"),
    "IA3": ("q.base_layer.weight", "q.ia3_l.default"),
    "IA3 alone": ("q.ia3_l",),
    "VeRA": ("q.base_layer.weight", "q.vera_lambda_b.default"),
    "OFT": ("q.base_layer.weight", "q.oft_R.default.weight"),
    "LoHa": ("q.hada_w1_a.default",),
    "LoKr": ("q.lokr_w1.default",),
    "a classifier of its own": ("head.original_module.weight", "head.modules_to_save.default.weight"),
}


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_adapters_are_refused_by_what_peft_calls_them(kind: str, prefix: str, tmp_path: Path) -> None:
    saved = {"k.weight": torch.ones(2), **{f"{prefix}{name}": torch.ones(2) for name in ADAPTERS[kind]}}
    torch.save(saved, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="an adapter that is not merged") as error:
        read_checkpoint(tmp_path / "m.pth")
    assert "merge_and_unload" in str(error.value.hint)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_models_are_not_called_damaged(whole: bool, tmp_path: Path) -> None:
    model = quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})
    torch.save(model if whole else model.state_dict(), tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="found a quantised one") as error:
        read_checkpoint(tmp_path / "m.pth")
    assert "before torch's quantisation" in str(error.value.hint)
