"""What the inspector's text tells about layers and precision."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deploykit_runtimes.trt.execution.placement import parse_layers


def layer(*formats: str) -> dict[str, Any]:
    return {
        "Name": "x",
        "LayerType": "gemm",
        "Outputs": [{"Name": "y", "Format/Datatype": f} for f in formats],
    }


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], {}),
        (["conv1", "conv2"], {}),  # names alone: built without details
        ([layer("Row major linear FP32")], {"fp32": 1}),
        ([layer("Channel major FP16 format where channel % 8 == 0")], {"fp16": 1}),
        ([layer("Half"), layer("Float"), layer("BFloat16")], {"fp16": 1, "fp32": 1, "bf16": 1}),
        ([layer("Row major Int8 format")], {"int8": 1}),
        ([layer("Row major linear INT32"), layer("Bool"), layer("N/A due to dynamic shapes")], {}),
        ([layer("Row major linear FP32", "Row major linear FP32")], {"fp32": 1}),
        ([{"Name": "no outputs"}, {"Outputs": [{}]}], {}),
    ],
)
def test_layers_count_once_per_precision_that_they_write(layers: list[Any], expected: dict[str, int]) -> None:
    count, precisions = parse_layers(json.dumps({"Layers": layers, "Bindings": ["images"]}))
    assert count == len(layers)
    assert dict(precisions) == expected


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "7", "{}"])
def test_text_that_says_nothing_gives_no_layers(text: str) -> None:
    assert parse_layers(text)[0] == 0
