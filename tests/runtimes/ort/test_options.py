"""What is set on a session, from the options and the model's declared range."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from deploykit_runtimes.contract.spec import AxisRange, InputSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.ort.options import cuda_options, profile_shapes, session_settings, tensorrt_options

FREE = {
    "batch": AxisRange(min=1, max=32),
    "height": AxisRange(min=64, max=640, step=32),
    "width": AxisRange(min=96, max=960, step=32),
}


def test_latency_uses_every_core_and_throughput_one_per_call() -> None:
    latency, throughput = (session_settings(EngineOptions(goal=goal)) for goal in ("latency", "throughput"))  # type: ignore[arg-type]
    assert latency.threads == usable_cores()
    assert latency.entries["session.intra_op.spin_duration_us"] == "100"
    assert throughput.threads == 1
    assert throughput.entries["session.intra_op.allow_spinning"] == "0"
    assert session_settings(EngineOptions(threads=3, goal="throughput")).threads == 3


def test_settings_reach_the_session() -> None:
    options = onnxruntime.SessionOptions()
    session_settings(EngineOptions(threads=3)).apply(options)
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.spin_duration_us") == "100"
    assert options.get_session_config_entry("session.record_ep_graph_assignment_info") == "1"


def test_cuda_keeps_the_precision_unless_told_otherwise() -> None:
    assert cuda_options(EngineOptions())["use_tf32"] == "0"
    assert cuda_options(EngineOptions(precision="auto"))["use_tf32"] == "1"
    assert cuda_options(EngineOptions(gpu=2))["device_id"] == "2"
    assert cuda_options(EngineOptions(cuda_graph=True))["enable_cuda_graph"] == "1"
    assert cuda_options(EngineOptions())["arena_extend_strategy"] == "kSameAsRequested"


@pytest.mark.parametrize(
    ("image", "shapes"),
    [
        (InputSpec(height=224, width=192), ("images:1x3x224x192",) * 3),
        (
            InputSpec(height=224, width=224, dynamic=FREE),
            ("images:1x3x64x96", "images:1x3x224x224", "images:32x3x640x960"),
        ),
        (
            InputSpec(
                name="pixels", height=224, width=224, layout="NHWC", dynamic={"batch": FREE["batch"]}, batch=4
            ),
            ("pixels:1x224x224x3", "pixels:4x224x224x3", "pixels:32x224x224x3"),
        ),
    ],
)
def test_the_profile_is_the_declared_range(image: InputSpec, shapes: tuple[str, ...]) -> None:
    assert profile_shapes(image) == shapes


def test_one_engine_holds_the_whole_range() -> None:
    options = tensorrt_options(
        InputSpec(height=224, width=224, dynamic=FREE), EngineOptions(), Path("/cache")
    )
    assert options["trt_profile_max_shapes"] == "images:32x3x640x960"
    assert options["trt_engine_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "/cache"
