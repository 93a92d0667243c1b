"""What ONNX Runtime answers of a graph, before a pass and after it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest


@pytest.fixture
def run() -> Callable[[onnx.ModelProto], list[np.ndarray]]:
    """What ONNX Runtime answers, always to the same noise, of a model that the checker takes."""

    def answers(model: onnx.ModelProto) -> list[np.ndarray]:
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        generator = np.random.default_rng(1)
        feeds = {
            value.name: generator.standard_normal((2, *value.shape[1:])).astype(np.float32)
            for value in session.get_inputs()
        }
        found: list[np.ndarray] = session.run(None, feeds)
        return found

    return answers
