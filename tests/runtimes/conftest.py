"""Small real ONNX files for the adapters."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))  # of hostile_models, which C++'s tests import too

ModelWriter = Callable[..., Path]
Infer = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture
def wrong_in_threads() -> Callable[[Infer, list[np.ndarray], int], list[int]]:
    """Runs the classifier of ``write_classifier`` on each batch in a thread of its own, several times, and
    returns the index of the batch for every wrong answer."""

    def run(infer: Infer, batches: list[np.ndarray], times: int) -> list[int]:
        wrong: list[int] = []

        def work(n: int) -> None:
            for _ in range(times):
                found = infer({"images": batches[n]})["logits"]
                if not np.allclose(found, batches[n].mean((2, 3)), atol=1e-6):
                    wrong.append(n)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(batches))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return wrong

    return run


@pytest.fixture
def classifier_spec() -> ModelSpec:
    return ModelSpec(
        task="classify",
        family="vit",
        variant="mean_colour",
        origin="timm",
        input=InputSpec(
            height=32,
            width=32,
            dynamic={
                "batch": AxisRange(min=1, max=4),
                "height": AxisRange(min=8, max=64, step=8),
                "width": AxisRange(min=8, max=64, step=8),
            },
        ),
        preprocess=Preprocess(resize="stretch", resize_to=(32, 32)),
        output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
        classes=("red", "green", "blue"),
        num_classes=3,
    )


@pytest.fixture
def write_classifier(tmp_path: Path, classifier_spec: ModelSpec) -> ModelWriter:
    """Writes a classifier whose logits are the mean of each colour channel."""

    def write(
        spec: ModelSpec | None = classifier_spec,
        *,
        metadata: dict[str, str] | None = None,
        name: str = "model.onnx",
    ) -> Path:
        weights = numpy_helper.from_array(np.eye(3, dtype=np.float32), "weight")
        nodes = [
            helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            "mean_colour",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
            [weights],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        helper.set_model_props(model, {**(spec_to_metadata(spec) if spec else {}), **(metadata or {})})
        path = tmp_path / name
        onnx.save_model(model, path)
        return path

    return write
