"""Strict loading: every weight is used, or named."""

from __future__ import annotations

import pytest
import torch
from deploykit_exporters.families.shared.loading import load_strict
from deploykit_runtimes.errors import CheckpointError
from torch import nn


def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), *(nn.Linear(2, 2) for _ in range(4)))


def test_weights_become_float32_and_the_module_is_ready() -> None:
    source = {key: tensor.half() if tensor.is_floating_point() else tensor
              for key, tensor in module().state_dict().items()}  # fmt: skip
    source["0.weight"] = torch.rand(4, 3, 1, 1).double()
    del source["1.num_batches_tracked"]
    target = module()
    load_strict(target, source, source="a.pth")
    assert {tensor.dtype for tensor in target.parameters()} == {torch.float32}
    assert torch.equal(target.state_dict()["0.weight"], source["0.weight"].float())
    assert not target.training
    assert not any(parameter.requires_grad for parameter in target.parameters())


def test_counters_of_batchnorm_may_be_left_over() -> None:
    target = nn.Linear(2, 2)
    load_strict(target, {**target.state_dict(), "bn.num_batches_tracked": torch.tensor(3)}, source="a.pth")


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.qint8]
)
def test_weights_that_are_no_real_numbers_are_refused_by_name(dtype: torch.dtype) -> None:
    source = dict(module().state_dict())
    weight = source["2.weight"]
    source["2.weight"] = (
        torch.quantize_per_tensor(weight, 0.1, 0, dtype) if dtype is torch.qint8 else weight.to(dtype)
    )
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(CheckpointError, match=rf"2\.weight \(wanted float32, found {name}\)"):
        load_strict(module(), source, source="a.pth")


def test_averaged_counters_play_no_part() -> None:
    source = dict(module().state_dict())
    source["1.num_batches_tracked"] = torch.tensor(2.5)
    load_strict(module(), source, source="a.pth")


def test_each_kind_of_misfit_lists_five_keys() -> None:
    source = {f"extra.{index}": torch.zeros(1) for index in range(7)}
    source["0.weight"] = torch.zeros(4, 3, 3, 3)
    source["0.bias"] = torch.zeros(())
    with pytest.raises(CheckpointError) as error:
        load_strict(module(), source, source="a.pth")
    problem = error.value.problem
    assert problem.startswith("The weights of a.pth do not fit")
    assert "missing: 1.weight, 1.bias, 1.running_mean, 1.running_var, 2.weight and 7 more" in problem
    assert "left over: extra.0, extra.1, extra.2, extra.3, extra.4 and 2 more" in problem
    assert "misshapen: 0.weight (wanted 4x3x1x1, found 4x3x3x3), 0.bias (wanted 4, found scalar)" in problem
    assert error.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    source = module().state_dict()
    source["1.running_var"][2] = value
    with pytest.raises(CheckpointError, match=r"a.pth has weights .*: 1.running_var\."):
        load_strict(module(), source, source="a.pth")


def test_a_module_on_the_meta_device_takes_the_tensors_themselves() -> None:
    with torch.device("meta"):
        target = module()
    source = module().state_dict()
    del source["1.num_batches_tracked"]
    load_strict(target, source, source="a.pth")
    assert target.state_dict()["0.weight"].data_ptr() == source["0.weight"].data_ptr()
    assert not any(tensor.is_meta for tensor in target.state_dict().values())
    assert target(torch.rand(1, 3, 2, 2)[:, :, :, :]).shape == (1, 4, 2, 2)
