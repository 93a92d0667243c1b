"""Golden cases of a float16 file: their tolerances tell a wrong file from a rounded one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from deploykit_exporters.graph.metadata import renew_metadata
from deploykit_exporters.precision.file import write_fp16
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.selftest.cases import cases_from_keys
from deploykit_runtimes.selftest.run import self_test
from wrong_engines import planted

Exported = Callable[..., Path]


@pytest.mark.parametrize("family", ["vit", "detect"])
def test_answers_stay_and_tolerances_are_measured(family: str, exported: Exported, tmp_path: Path) -> None:
    made = write_fp16(exported(family), tmp_path / "half.onnx")
    before = cases_from_keys(read_onnx(exported(family)).spec().golden)
    after = cases_from_keys(made.spec.golden)
    assert [case.title for case in before] == [case.title for case in after]
    for old, new in zip(before, after, strict=True):
        for one, other in zip(old.kept, new.kept, strict=True):
            assert set(one.tolerances) == {"fp32", "tf32", "fp16", "bf16"}
            assert set(other.tolerances) == {"fp16", "bf16"}
            assert one.name == other.name
            assert all(
                half > wide
                for half, wide in zip(other.tolerances["fp16"], one.tolerances["fp32"], strict=True)
            )
            assert all(
                half < 4 * old
                for half, old in zip(other.tolerances["fp16"], one.tolerances["fp16"], strict=True)
            )


@pytest.mark.parametrize("fault", ["one bias", "channel order", "swapped classes"])
def test_a_wrong_file_fails(fault: str, exported: Exported, tmp_path: Path) -> None:
    made = write_fp16(exported("vit"), tmp_path / "half.onnx")
    wrong = planted(exported("vit"), fault, tmp_path / "wrong.onnx")
    model = onnx.load(str(wrong))
    renew_metadata(model, made.spec)
    onnx.save(model, tmp_path / "with-its-cases.onnx")
    with open_ort(tmp_path / "with-its-cases.onnx") as runner:
        assert not self_test(runner).ok


def test_a_float32_file_that_fails_its_own_cases_is_refused(exported: Exported, tmp_path: Path) -> None:
    """Or its faults would become tolerances."""
    wrong = planted(exported("vit"), "one bias", tmp_path / "wrong.onnx")
    with pytest.raises(ParityError, match="self-test failed"):
        write_fp16(wrong, tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()
