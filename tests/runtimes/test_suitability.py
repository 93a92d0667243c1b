"""Files of low precision on engines that they were not made for; C++ reads the same vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, PrecisionRecord, Preprocess
from deploykit_runtimes.runner import Placement
from deploykit_runtimes.suitability import advice, record_advice

TEXT = (Path(__file__).parents[1] / "golden" / "int8" / "advice.txt").read_text(encoding="utf-8")
BLOCKS = [dict(line.split("\t", 1) for line in text.splitlines()) for text in TEXT.split("\n\n")]
SPEC = ModelSpec(
    task="classify",
    family="any",
    variant="v",
    origin="o",
    input=InputSpec(height=8, width=8),
    preprocess=Preprocess(),
    output=OutputSpec(names=("logits",), layout="logits"),
)
ON_CPU = Placement(engine="onnxruntime", version="1", device="cpu", precision="int8")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block['target']} on {block['engine']}")
def test_what_is_said(block: dict[str, str]) -> None:
    assert block["compute"] in ("fp16", "int8")
    record = PrecisionRecord(
        compute="int8" if block["compute"] == "int8" else "fp16",
        target=block["target"],
        cpus=tuple(block["cpus"].split()),
    )
    placement = Placement(
        engine=block["engine"],
        version="1",
        device=block["device"],
        precision=block["precision"],
        providers={block["provider"]: 1},
    )
    assert record_advice(record, placement, block["cpu"]) == block["advice"]


def test_products_that_saturate() -> None:
    placement = Placement(engine="openvino", version="1", device="cpu", precision="int8", saturates=True)
    assert "go beyond [-64, 64], and openvino adds their products in 16 bits" in advice(SPEC, placement)
    assert placement.to_dict()["saturates"] is True


def test_a_float32_file_runs_anywhere() -> None:
    assert advice(SPEC, ON_CPU) == ""
    made = replace(SPEC, precision=PrecisionRecord(compute="int8", target="trt"))
    assert advice(made, ON_CPU).startswith("The int8 file was made for trt and runs on ort-cpu")
