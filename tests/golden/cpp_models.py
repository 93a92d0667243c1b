"""Graphs of few nodes that return given values, for the golden vectors of C++."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec, OutputSpec, Preprocess, Task
from onnx import ModelProto, TensorProto, helper, numpy_helper

__all__ = ["NAMES", "Case", "graph_of", "head", "spec"]

NAMES = ("red thing", 'quoted "thing"', "bläu")
_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A graph that returns ``outputs``, the first one moved a little by the mean of the image: by none of it
    where class numbers are looked at, which are whole."""

    name: str
    spec: ModelSpec | None
    outputs: dict[str, np.ndarray]
    image: str = "cat_wide.rgb"
    extra_metadata: dict[str, str] = field(default_factory=dict)
    declared: str = ""
    little: float = 1e-4
    ends: tuple[str, ...] = ()
    """Operators that the first output goes through at last."""


def spec(task: Task, output: OutputSpec, how: Preprocess | None = None, **changes: object) -> ModelSpec:
    values = {
        "task": task,
        "family": "yolo",
        "variant": "golden",
        "origin": "golden",
        "input": InputSpec(height=64, width=64),
        "preprocess": how
        or Preprocess(
            resize="letterbox",
            resize_to=(64, 64),
            resampler="opencv",
            interpolation="bilinear",
            pad_value=114,
        ),
        "output": output,
        "classes": NAMES,
        "num_classes": len(NAMES),
    }
    return ModelSpec(**{**values, **changes})


def head(extra: int = 0, anchors: int = 40, *, seed: int = 0) -> np.ndarray:
    """[1, 4 + C + extra, A] of overlapping boxes with scores of 0..1."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            rng.uniform(8, 56, (2, anchors)),
            rng.uniform(4, 40, (2, anchors)),
            rng.uniform(0, 0.9, (len(NAMES), anchors)) ** 2,
            rng.normal(0, 1, (extra, anchors)),
        ]
    )
    return rows[None].astype(np.float32)


def graph_of(case: Case) -> ModelProto:
    image = case.spec.input if case.spec else InputSpec(height=64, width=64)
    sides = ["height", "width"] if "height" in image.dynamic else [image.height, image.width]
    shape = [1, 3, *sides] if image.layout == "NCHW" else [1, *sides, 3]
    inputs = [helper.make_tensor_value_info(image.name, _TYPES[image.dtype], shape)]
    if case.spec and case.spec.output.runtime_thresholds:
        inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("conf", "iou")]
    nodes = [
        helper.make_node("Cast", [image.name], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "little"], ["moved"]),
    ]
    weights = [numpy_helper.from_array(np.array(case.little, np.float32), "little")]
    outputs = []
    for number, (name, values) in enumerate(case.outputs.items()):
        weights.append(numpy_helper.from_array(values, f"{name}.value"))
        if number == 0 and values.dtype != np.int64:
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            nodes.append(helper.make_node("Cast", ["moved"], ["shift"], to=kind))
            steps = [f"{name}.{step}" for step in range(len(case.ends))] + [name]
            nodes.append(helper.make_node("Add", [f"{name}.value", "shift"], steps[:1]))
            for operator, source, result in zip(case.ends, steps, steps[1:], strict=False):
                nodes.append(helper.make_node(operator, [source], [result]))
        else:
            nodes.append(helper.make_node("Identity", [f"{name}.value"], [name]))
        outputs.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        )
    graph = helper.make_graph(nodes, case.name, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = spec_to_metadata(case.spec) if case.spec else {}
    helper.set_model_props(model, {**metadata, **case.extra_metadata})
    return model
