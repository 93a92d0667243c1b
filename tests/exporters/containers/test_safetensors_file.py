"""safetensors files, whole and damaged."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import pytest
import torch
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_runtimes.errors import CheckpointError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

STATE = {
    "a.weight": torch.randn(3, 2),
    "a.bias": torch.randn(3).bfloat16(),
    "steps": torch.tensor(4),
    "half": torch.randn(2).half(),
}
CONTENT = save(STATE)


def test_tensors_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in STATE.items()}, path, {"format": "pt"})
    checkpoint = read_checkpoint(path)
    assert checkpoint.container == "safetensors"
    assert set(checkpoint.tensors) == set(STATE) - {"steps"}  # a counter, no weight
    for name, tensor in checkpoint.tensors.items():
        assert tensor.dtype == STATE[name].dtype
        assert torch.equal(tensor, STATE[name])
    assert checkpoint.meta == {"safetensors": {"format": "pt"}}


@pytest.mark.parametrize("header", [2**63, 2**40, 10**8 + 1, 10_000])
def test_a_huge_header_is_refused(header: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", header) + CONTENT[8:])
    with pytest.raises(CheckpointError, match="claims a header"):
        read_checkpoint(path)


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    save_file({"base_model.model.q.lora_A.weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="adapter"):
        read_checkpoint(path)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_gives_one_clear_error(data: st.DataObject) -> None:
    content = bytearray(CONTENT)
    if data.draw(st.booleans(), label="truncate"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 8), label="flips")):
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            assert error.problem
