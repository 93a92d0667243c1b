"""The runner over the fake: right answers for every shape, from many threads, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import InputError, RuntimeUnavailableError
from deploykit_runtimes.trt.open import open_trt

Writer = Callable[..., Path]
Pictures = Callable[..., np.ndarray]


def means(images: np.ndarray) -> np.ndarray:
    """What the classifier of the fixtures answers."""
    return images.mean(axis=(2, 3))


def test_answers_for_every_shape_of_the_profile(
    machine: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    with open_trt(write_classifier(), runtime=machine.runtime) as runner:
        for batch, side in ((1, 32), (4, 64), (2, 8), (1, 32), (4, 64)):
            images = pictures(batch, side)
            before = images.copy()
            found = runner.infer({"images": images})
            np.testing.assert_allclose(found["logits"], means(images), rtol=1e-5)
            np.testing.assert_array_equal(images, before)


def test_answers_belong_to_the_caller(machine: Any, write_classifier: Writer, pictures: Pictures) -> None:
    with open_trt(write_classifier(), runtime=machine.runtime) as runner:
        first = runner.infer({"images": pictures(seed=1)})["logits"]
        kept = first.copy()
        runner.infer({"images": pictures(seed=2)})
        np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(first, kept)
    assert first.flags.owndata


def test_arrays_need_not_be_contiguous(machine: Any, write_classifier: Writer, pictures: Pictures) -> None:
    images = np.asfortranarray(pictures(2))[:, ::-1]
    with open_trt(write_classifier(), runtime=machine.runtime) as runner:
        np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)


def test_data_dependent_outputs_have_the_length_of_their_data(machine: Any, write_positives: Path) -> None:
    generator = np.random.default_rng(0)
    with open_trt(write_positives, runtime=machine.runtime) as runner:
        for side in (4, 8, 2, 4):
            images = generator.standard_normal((1, 1, side, side)).astype(np.float32)
            found = runner.infer({"images": images})["where"]
            np.testing.assert_array_equal(found, np.array(np.nonzero(np.maximum(images, 0))))
        nothing = runner.infer({"images": np.full((1, 1, 4, 4), -1, np.float32)})["where"]
        assert nothing.shape == (4, 0)


def test_memory_that_cannot_be_given_to_an_output_is_told(machine: Any, write_positives: Path) -> None:
    with open_trt(write_positives, runtime=machine.runtime) as runner:
        machine.cuda.capacity = machine.cuda.device.used + 4096
        with pytest.raises(RuntimeUnavailableError, match="allocate 65,536 bytes"):
            runner.infer({"images": np.ones((1, 1, 4, 4), np.float32)})
        machine.cuda.capacity = 1 << 30
        assert runner.infer({"images": np.ones((1, 1, 4, 4), np.float32)})["where"].shape == (4, 16)


def test_eight_threads(machine: Any, write_classifier: Writer, pictures: Pictures) -> None:
    barrier = threading.Barrier(8)

    def work(seed: int) -> None:
        barrier.wait()
        for turn in range(5):
            images = pictures(1 + (seed + turn) % 4, 8 * (1 + turn), seed)
            np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)

    with open_trt(write_classifier(), runtime=machine.runtime) as runner, ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert machine.trt.contexts <= 2


@pytest.mark.parametrize(("goal", "most"), [("latency", 2), ("throughput", 4)])
def test_contexts_are_made_as_callers_need_them(
    machine: Any, write_classifier: Writer, pictures: Pictures, goal: Any, most: int
) -> None:
    with open_trt(write_classifier(), runtime=machine.runtime, options=EngineOptions(goal=goal)) as runner:
        for _ in range(3):
            runner.infer({"images": pictures()})
        assert machine.trt.contexts == 1
        lent = [runner._pool.borrow() for _ in range(most)]
        for context in lent:
            context.__enter__()
        assert machine.trt.contexts == most
        for context in lent:
            context.__exit__(None, None, None)


def test_where_a_second_context_does_not_fit_callers_share_the_first(
    machine: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    machine.trt.free_contexts = 1
    images = pictures()
    with open_trt(write_classifier(), runtime=machine.runtime) as runner, ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: runner.infer({"images": images}), range(20)):
            np.testing.assert_allclose(found["logits"], means(images), rtol=1e-5)
    assert machine.trt.contexts == 1


def test_no_room_for_any_context_is_an_error_with_its_reason(machine: Any, write_classifier: Writer) -> None:
    machine.trt.free_contexts = 0
    with pytest.raises(RuntimeUnavailableError, match=r"execution context: .*out of memory"):
        open_trt(write_classifier(), runtime=machine.runtime)


def test_memory_stays_bounded_over_changing_shapes(
    machine: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    generator = np.random.default_rng(3)
    with open_trt(write_classifier(), runtime=machine.runtime) as runner:
        runner.infer({"images": pictures(4, 64)})
        used = machine.cuda.device.used, machine.cuda.pinned.used
        allocations = machine.cuda.calls["cudaMalloc"]
        for _ in range(200):
            batch, side = int(generator.integers(1, 5)), 8 * int(generator.integers(1, 9))
            runner.infer({"images": pictures(batch, side)})
        assert (machine.cuda.device.used, machine.cuda.pinned.used) == used
        assert machine.cuda.calls["cudaMalloc"] == allocations


def test_graphs_are_recorded_and_replayed_per_shape(
    machine: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    options = EngineOptions(cuda_graph=True)
    with open_trt(write_classifier(), runtime=machine.runtime, options=options) as runner:
        for turn in range(12):
            images = pictures(2 - turn % 2, 32, seed=turn)
            np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)
        by_hand = machine.runtime == "trt"
        assert len(machine.cuda.graphs) == (2 if by_hand else 0)
        assert machine.cuda.launched == (8 if by_hand else 0)


def test_graphs_do_not_outlive_the_memory_they_point_to(
    machine_with: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    machine = machine_with("tensorrt-11.4")
    with open_trt(write_classifier(), options=EngineOptions(cuda_graph=True)) as runner:
        for side in (16, 16, 16, 64, 16, 16, 16):
            images = pictures(1, side)
            np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)
    machine.assert_nothing_left()


def test_the_number_of_graphs_is_bounded(
    machine_with: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    machine = machine_with("tensorrt-10.16")
    with open_trt(write_classifier(), options=EngineOptions(cuda_graph=True)) as runner:
        runner.infer({"images": pictures(4, 64)})
        for _ in range(3):
            for side in range(8, 72, 8):
                for batch in (1, 2):
                    runner.infer({"images": pictures(batch, side)})
                    runner.infer({"images": pictures(batch, side)})
        assert len(machine.cuda.graphs) <= 8
    machine.assert_nothing_left()


def test_a_shape_outside_of_every_profile_names_them(
    machine: Any, write_classifier: Writer, tmp_path: Path
) -> None:
    from deploykit_runtimes.build_options import BuildOptions
    from deploykit_runtimes.builds.build import build_engine

    path = write_classifier()
    built = build_engine(
        path,
        runtime=machine.runtime,
        options=BuildOptions(
            shapes=("images:1x3x32x32,1x3x32x32,2x3x32x32", "images:4x3x64x64"), output=tmp_path / "m.engine"
        ),
    )
    with open_trt(built.path, runtime=machine.runtime) as runner:
        assert runner.infer({"images": np.zeros((2, 3, 32, 32), np.float32)})["logits"].shape == (2, 3)
        assert runner.infer({"images": np.zeros((4, 3, 64, 64), np.float32)})["logits"].shape == (4, 3)
        with pytest.raises(
            InputError, match="1x3x32x32 to 2x3x32x32, best at 1x3x32x32 or images 4x3x64x64"
        ) as error:
            runner.infer({"images": np.zeros((3, 3, 32, 32), np.float32)})
        assert "--shapes" in error.value.hint
        assert runner.infer({"images": np.zeros((1, 3, 32, 32), np.float32)})["logits"].shape == (1, 3)


def test_what_the_model_does_not_take_is_refused_before_the_engine(
    machine: Any, write_classifier: Writer
) -> None:
    with open_trt(write_classifier(), runtime=machine.runtime) as runner:
        with pytest.raises(InputError, match=r"accepts height 8\.\.64"):
            runner.infer({"images": np.zeros((1, 3, 9, 32), np.float32)})
        with pytest.raises(InputError, match="float64"):
            runner.infer({"images": np.zeros((1, 3, 32, 32))})


def test_a_failing_run_says_why(machine: Any, write_classifier: Writer, pictures: Pictures) -> None:
    with (
        open_trt(write_classifier(metadata={"fake.run_error": "1"}), runtime=machine.runtime) as runner,
        pytest.raises(RuntimeUnavailableError, match=r"cannot run: .*kernel failed"),
    ):
        runner.infer({"images": pictures()})


def test_a_failing_gpu_says_why(machine: Any, write_classifier: Writer, pictures: Pictures) -> None:
    with open_trt(write_classifier(), runtime=machine.runtime) as runner:
        machine.cuda.fail["cudaStreamSynchronize"] = 700
        with pytest.raises(RuntimeUnavailableError, match="illegal memory access"):
            runner.infer({"images": pictures()})
        machine.cuda.fail.clear()


def test_memory_that_runs_out_in_a_call_leaves_the_runner_usable(
    machine: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    with open_trt(write_classifier(), runtime=machine.runtime) as runner:
        runner.infer({"images": pictures(1, 8)})
        machine.cuda.fail["cudaHostAlloc"] = 2
        with pytest.raises(RuntimeUnavailableError, match="pin 196,608 bytes"):
            runner.infer({"images": pictures(4, 64)})
        machine.cuda.fail.clear()
        images = pictures(4, 64)
        np.testing.assert_allclose(runner.infer({"images": images})["logits"], means(images), rtol=1e-5)


def test_a_closed_runner_says_so(machine: Any, write_classifier: Writer, pictures: Pictures) -> None:
    runner = open_trt(write_classifier(), runtime=machine.runtime)
    runner.close()
    runner.close()
    with pytest.raises(InputError, match="closed"):
        runner.infer({"images": pictures()})


def test_closing_lets_a_running_call_finish(
    machine: Any, write_classifier: Writer, pictures: Pictures
) -> None:
    runner = open_trt(write_classifier(), runtime=machine.runtime)
    with runner._pool.borrow() as context:
        runner.close()
        assert context.run({"images": pictures()})["logits"].shape == (1, 3)


def test_placement_counts_layers_and_names_their_precision(machine: Any, write_classifier: Writer) -> None:
    with open_trt(write_classifier(), runtime=machine.runtime) as runner:
        placement = runner.placement()
    assert placement.providers == {"TensorRT": 2}
    assert placement.precisions == {"fp32": 1}
    assert placement.precision == "fp32"
    assert placement.device == "NVIDIA Fake"
    assert placement.version == machine.trt.__version__


@pytest.mark.parametrize(
    ("layers", "precision", "problem"),
    [
        ([], "model", "no record"),
        ([{"Outputs": [{"Format/Datatype": "Channel major FP16 format"}]}], "model", "1 layers in fp16"),
        ([{"Outputs": [{"Format/Datatype": "Row major linear FP32"}]}], "auto", "TF32"),
    ],
)
def test_strict_refuses_what_runs_lower(
    machine: Any, write_classifier: Writer, layers: Any, precision: Any, problem: str
) -> None:
    machine.trt.layers = layers
    options = EngineOptions(strict=True, precision=precision)
    with pytest.raises(RuntimeUnavailableError, match=problem):
        open_trt(write_classifier(), runtime=machine.runtime, options=options)


def test_strict_accepts_what_runs_as_the_file_says(machine: Any, write_classifier: Writer) -> None:
    open_trt(write_classifier(), runtime=machine.runtime, options=EngineOptions(strict=True)).close()
