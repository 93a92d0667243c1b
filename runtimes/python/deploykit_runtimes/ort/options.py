"""What is set on an ONNX Runtime session, and why. Pure functions from options to settings.

Keys: https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/
onnxruntime_session_options_config_keys.h; options of the providers:
https://onnxruntime.ai/docs/execution-providers/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploykit_runtimes.contract.spec import InputSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.cores import usable_cores

__all__ = ["SessionSettings", "cuda_options", "profile_shapes", "session_settings", "tensorrt_options"]

ProviderOptions = dict[str, str]
_SILENT = 4
"""Fatal errors alone: all others are raised too, and a log on the terminal has names as the file has them."""


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Attributes and configuration entries of ``SessionOptions``."""

    threads: int
    entries: dict[str, str] = field(default_factory=dict)

    def apply(self, options: Any) -> None:
        """Write these settings to an ``onnxruntime.SessionOptions``."""
        options.intra_op_num_threads = self.threads
        options.log_severity_level = _SILENT
        for key, value in self.entries.items():
            options.add_session_config_entry(key, value)


def session_settings(options: EngineOptions) -> SessionSettings:
    """Threads and their waiting, by goal.

    For latency all cores work on one call. Waiting threads spin for 0.1 ms before they sleep: as fast
    as spinning for ever, at half the CPU use, and other sessions are not slowed down. For throughput
    the callers' own threads are the parallelism, and each runs its call alone: two callers on two cores
    get 125 images/s of an EfficientNet-B0 instead of 95.
    """
    entries = {"session.record_ep_graph_assignment_info": "1"}
    if options.goal == "latency":
        entries["session.intra_op.spin_duration_us"] = "100"
        return SessionSettings(threads=options.threads or usable_cores(), entries=entries)
    entries["session.intra_op.allow_spinning"] = "0"
    return SessionSettings(threads=options.threads or 1, entries=entries)


def cuda_options(options: EngineOptions) -> ProviderOptions:
    """Options of the CUDA execution provider."""
    return {
        "device_id": str(options.gpu),
        # TF32 would break the proof's tolerance.
        "use_tf32": "1" if options.precision == "auto" else "0",
        # The default, an exhaustive search, stalls at every new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Doubling the arena at each growth, the default, is how memory runs out with varying shapes.
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1" if options.cuda_graph else "0",
    }


def tensorrt_options(image: InputSpec, options: EngineOptions, cache: Path | None) -> ProviderOptions:
    """Options of the TensorRT execution provider: one engine for the whole declared range, kept on disk.

    Without explicit profiles it would build a new engine, for minutes, whenever a shape is larger or
    smaller than all before. Without a cache nothing is kept.
    """
    low, best, high = profile_shapes(image)
    kept = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
    }
    return {
        "device_id": str(options.gpu),
        "trt_profile_min_shapes": low,
        "trt_profile_opt_shapes": best,
        "trt_profile_max_shapes": high,
        "trt_cuda_graph_enable": "1" if options.cuda_graph else "0",
        **({} if cache is None else kept),
    }


def profile_shapes(image: InputSpec) -> tuple[str, str, str]:
    """The smallest, usual and largest shape of the image input, as ``images:1x3x224x224``."""
    own = {"batch": image.batch, "height": image.height, "width": image.width}
    low = {axis: image.dynamic[axis].min if axis in image.dynamic else n for axis, n in own.items()}
    high = {axis: image.dynamic[axis].max if axis in image.dynamic else n for axis, n in own.items()}
    return _shape(image, low), _shape(image, own), _shape(image, high)


def _shape(image: InputSpec, sizes: dict[str, int]) -> str:
    axes = (sizes["height"], sizes["width"])
    shape = (
        (sizes["batch"], image.channels, *axes)
        if image.layout == "NCHW"
        else (sizes["batch"], *axes, image.channels)
    )
    return f"{image.name}:{'x'.join(map(str, shape))}"
