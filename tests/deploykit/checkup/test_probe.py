"""The tiny model and the attempts to run it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from deploykit.checkup.probe import Probe, probe, read_answer
from deploykit.checkup.tiny import INPUT_SHAPE, tiny_model


def test_tiny_model_is_valid_and_small() -> None:
    model = onnx.load_from_string(tiny_model())
    onnx.checker.check_model(model, full_check=True)
    assert len(tiny_model()) < 250


def test_tiny_model_is_the_mean() -> None:
    session = onnxruntime.InferenceSession(tiny_model(), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).random(INPUT_SHAPE, dtype=np.float32)
    found = session.run(None, {"images": images})[0]
    np.testing.assert_allclose(found, images.mean((2, 3)), rtol=1e-5)


@pytest.mark.parametrize("name", ["ort-cpu", "ov-cpu"])
def test_installed_engines_run(name: str) -> None:
    found = probe(name)
    assert found.ok, found.detail


def test_an_engine_that_cannot_run_says_why() -> None:
    found = probe("ort-cuda")
    assert not found.ok
    assert "CUDAExecutionProvider" in found.detail


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "expected"),
    [
        (0, 'noise\n{"ok": true, "detail": "engine 1"}\n', "", Probe(ok=True, detail="engine 1")),
        (0, '{"ok": false, "detail": "no"}', "", Probe(ok=False, detail="no")),
        (-11, "", "boom\n", Probe(ok=False, detail="the test process was ended by signal 11: boom")),
        (1, "", "", Probe(ok=False, detail="the test process ended with exit code 1: no message")),
        (0, "not json", "", Probe(ok=False, detail="the test process ended with exit code 0: no message")),
        (0, "[]", "", Probe(ok=False, detail="the test process ended with exit code 0: no message")),
    ],
)
def test_answers_are_read_whatever_the_engine_printed(
    code: int, stdout: str, stderr: str, expected: Probe
) -> None:
    assert read_answer(code, stdout, stderr) == expected


def test_openvino_names_its_devices() -> None:
    assert any(device.startswith("CPU") for device in probe("ov-cpu").devices)
