from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from deploykit_runtimes.ort.late_cast import cast_late
from hypothesis import given
from hypothesis import strategies as st

HEAD = """
<ir_version: 8, opset_import: ["": 18]>
g (uint8[N, H, W, 3] images) => (float[a, b, c, d] tensor{outputs})
<int64[2] rows = {{1, 3}}, int64[3] columns = {{2, 0, 1}}, float half = {{0.5}}>
{{
    pixels = Cast <to = 1> (images)
    {body}
}}
"""
MOVES = {
    "as a letterbox does": """
        lines = Gather <axis = 1> (pixels, rows)
        planes = Transpose <perm = [0, 2, 3, 1]> (lines)
        picked = Gather <axis = 1> (planes, columns)
        tensor = Mul (picked, half)""",
    "one move": """
        picked = Gather <axis = 2> (pixels, columns)
        tensor = Mul (picked, half)""",
    "up to the result": """
        tensor = Transpose <perm = [0, 3, 1, 2]> (pixels)""",
    "read twice behind": """
        picked = Gather <axis = 1> (pixels, rows)
        scaled = Mul (picked, half)
        tensor = Add (scaled, picked)""",
}
STAYS = {
    "nothing moves": "tensor = Mul (pixels, half)",
    "read twice": """
        picked = Gather <axis = 1> (pixels, rows)
        whole = ReduceMax <keepdims = 1> (pixels)
        tensor = Add (picked, whole)""",
    "read by a body": """
        once = Constant <value = int64 {1}> ()
        yes = Constant <value = bool {1}> ()
        picked = Gather <axis = 1> (pixels, rows)
        inner = Loop (once, yes) <body = one (int64 i, bool before) => (bool after, float highest) {
            after = Identity (before)
            highest = ReduceMax <keepdims = 0> (pixels)
        }>
        most = ReduceMax <keepdims = 0> (inner)
        tensor = Add (picked, most)""",
    "indices, not data": """
        places = Cast <to = 7> (pixels)
        tensor = Gather <axis = 0> (half_table, places)""",
}


def parse(body: str, outputs: str = "") -> onnx.ModelProto:
    text = HEAD.format(body=body, outputs=outputs)
    if "half_table" in body:
        text = text.replace(
            "float half = {0.5}", "float[256] half_table = {" + ", ".join(["1.5"] * 256) + "}"
        )
    return onnx.parser.parse_model(text)


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    found: list[np.ndarray] = session.run(None, {"images": images})
    return found


@pytest.mark.parametrize("form", MOVES)
def test_the_cast_goes_behind_what_moves_pixels(form: str) -> None:
    model = parse(MOVES[form])
    encoded = cast_late(model.SerializeToString(), "images")
    assert encoded is not None
    rewritten = onnx.load_from_string(encoded)
    operators = [node.op_type for node in rewritten.graph.node]
    moves = [operator for operator in operators if operator in ("Gather", "Transpose")]
    assert operators[: len(moves) + 1] == [*moves, "Cast"]
    assert sorted(operators) == sorted(node.op_type for node in model.graph.node)
    for one, other in zip(run(model), run(rewritten), strict=True):
        assert np.array_equal(one, other)


def test_types_that_somebody_inferred_do_not_stay() -> None:
    model = onnx.shape_inference.infer_shapes(parse(MOVES["as a letterbox does"]))
    assert model.graph.value_info
    encoded = cast_late(model.SerializeToString(), "images")
    assert encoded is not None
    for one, other in zip(run(model), run(onnx.load_from_string(encoded)), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("form", STAYS)
def test_what_others_read_stays_as_it_is(form: str) -> None:
    model = parse(STAYS[form])
    run(model)
    assert cast_late(model.SerializeToString(), "images") is None


def test_an_output_of_the_graph_is_a_reader() -> None:
    body = "picked = Gather <axis = 1> (pixels, rows)\n tensor = Mul (picked, half)"
    model = parse(body, outputs=", float[a, b, c, d] pixels")
    run(model)
    assert cast_late(model.SerializeToString(), "images") is None


def test_another_input_is_not_touched() -> None:
    assert cast_late(parse(MOVES["one move"]).SerializeToString(), "photos") is None


@given(st.binary(max_size=64), st.integers(0, 300), st.integers(0, 64))
def test_damaged_files_are_left_to_the_engine(noise: bytes, start: int, length: int) -> None:
    whole = parse(MOVES["as a letterbox does"]).SerializeToString()
    damaged = whole[:start] + noise + whole[start + length :]
    found = cast_late(damaged, "images")
    assert found is None or isinstance(found, bytes)
