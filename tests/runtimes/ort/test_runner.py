"""The ONNX Runtime adapter: what is asked for is what runs, and bad feeds never reach it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import InputError, ModelError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort import runner as adapter
from deploykit_runtimes.ort.runner import open_ort

Writer = Callable[..., Path]


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_answers_and_describes_itself(write_classifier: Writer, classifier_spec: ModelSpec) -> None:
    with open_ort(write_classifier()) as runner:
        assert runner.spec == classifier_spec
        assert [str(info) for info in runner.inputs] == ["images float32 [batch, 3, height, width]"]
        batch = images(2, 3, 16, 24)
        found = runner.infer({"images": batch})
        np.testing.assert_allclose(found["logits"], batch.mean((2, 3)), atol=1e-6)


def test_inputs_stay_and_outputs_are_the_callers(write_classifier: Writer) -> None:
    with open_ort(write_classifier()) as runner:
        batch = images(1, 3, 32, 32)
        before = batch.copy()
        first = runner.infer({"images": batch})["logits"]
        kept = first.copy()
        runner.infer({"images": 1 - batch})
        np.testing.assert_array_equal(batch, before)
        np.testing.assert_array_equal(first, kept)
        first[:] = 0


def test_placement_counts_the_nodes_of_each_provider(write_classifier: Writer) -> None:
    with open_ort(write_classifier(), strict=True) as runner:
        placement = runner.placement()
    assert placement.device == "cpu"
    assert placement.version == onnxruntime.__version__
    assert placement.providers.keys() == {"CPUExecutionProvider"}
    assert placement.providers["CPUExecutionProvider"] >= 2
    assert "CPUExecutionProvider" in str(placement)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, "images"),
        ({"pixels": images(1, 3, 32, 32)}, "pixels"),
        ({"images": images(1, 3, 32, 32).astype(np.float64)}, "float64"),
        ({"images": images(3, 32, 32)}, "4 axes"),
        ({"images": images(1, 1, 32, 32)}, "fixed to 3 on axis 1"),
        ({"images": images(5, 3, 32, 32)}, "batch 1..4"),
        ({"images": images(1, 3, 12, 32)}, "height 8..64 in steps of 8"),
        ({"images": images(1, 3, 32, 72)}, "width 8..64"),
        ({"images": images(0, 3, 32, 32)}, "batch 1..4"),
        ({"images": images(1, 3, 32, 32).tolist()}, "list"),
    ],
)
def test_a_feed_outside_the_declaration_is_refused(write_classifier: Writer, feeds: dict, said: str) -> None:
    with open_ort(write_classifier()) as runner, pytest.raises(InputError, match=said):
        runner.infer(feeds)


def test_many_threads_share_a_runner(
    write_classifier: Writer, wrong_in_threads: Callable[..., list[int]]
) -> None:
    with open_ort(write_classifier(), threads=1) as runner:
        batches = [images(1 + n % 4, 3, 8 * (1 + n % 5), 16) for n in range(8)]
        assert wrong_in_threads(runner.infer, batches, 50) == []


def test_a_closed_runner_says_so(write_classifier: Writer) -> None:
    runner = open_ort(write_classifier())
    runner.close()
    with pytest.raises(InputError, match="closed"):
        runner.infer({"images": images(1, 3, 32, 32)})


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04" + bytes(100), bytes(1000)])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises((ModelError, RuntimeUnavailableError), match=r"bad\.onnx"):
        open_ort(path)


def test_a_truncated_model_is_refused(write_classifier: Writer) -> None:
    path = write_classifier()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises((ModelError, RuntimeUnavailableError)):
        open_ort(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a file"):
        open_ort(tmp_path / "none.onnx")


def test_damaged_metadata_is_refused(write_classifier: Writer) -> None:
    with pytest.raises(ModelError, match=r"deploykit\.input\.height"):
        open_ort(write_classifier(metadata={"deploykit.input.height": "x"}))


@pytest.mark.parametrize("runtime", ["ort-cuda", "ort-trt"])
def test_no_silent_fall_back(write_classifier: Writer, monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    monkeypatch.setattr(adapter, "has_nvidia_driver", lambda: False)
    with pytest.raises(RuntimeUnavailableError, match="was asked for") as caught:
        open_runner(write_classifier(), runtime=runtime)
    assert caught.value.hint


def test_a_provider_that_does_not_start_is_an_error(
    write_classifier: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime answers with the CPU when CUDA cannot start; the adapter must not."""
    monkeypatch.setattr(adapter, "require_provider", lambda ort, wanted, *, has_driver: None)
    monkeypatch.setattr(adapter, "refuse_missing_libraries", lambda ort, device, wanted: None)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(RuntimeUnavailableError, match="could only start CPUExecutionProvider"),
    ):
        open_ort(write_classifier(), device="cuda")


def test_an_unknown_runtime_lists_the_known_ones(write_classifier: Writer) -> None:
    with pytest.raises(OptionError, match="ort-cpu, ort-cuda"):
        open_runner(write_classifier(), runtime="abacus")
