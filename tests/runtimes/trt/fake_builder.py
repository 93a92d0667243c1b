"""What builds a pretended plan: builder, network, configuration, profiles and parser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fake_recorded import MAGIC, OnnxFile, Recorded

if TYPE_CHECKING:
    from fake_tensorrt import FakeTensorRT


class Builder(Recorded):
    _trt: FakeTensorRT

    def __init__(self, logger: Any) -> None:
        self._trt.start(logger)

    def create_network(self, flags: int = 0) -> Any:
        members = self._trt.api["enums"]["NetworkDefinitionCreationFlag"]
        assert flags >> members["STRONGLY_TYPED"] & 1, "a weakly typed network"
        return self._trt.make(INetworkDefinition)

    def create_builder_config(self) -> Any:
        return self._trt.make(IBuilderConfig)

    def create_optimization_profile(self) -> Any:
        return self._trt.make(IOptimizationProfile)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        trt = self._trt
        if not _report_phases(config.progress_monitor):
            return None
        problem = network._model.metadata.get("fake.build_error")
        if problem:
            trt.error(f"[graph.cpp::build::12] Error Code 4: {problem}")
            return None
        trt.built += 1
        stripped = int(trt.BuilderFlag.STRIP_PLAN) in config._flags
        head = {
            "version": trt.__version__,
            "gpu": trt.gpu,
            "flags": sorted(config._flags),
            "level": config.builder_optimization_level,
            "compatible": int(config.hardware_compatibility_level),
            "capabilities": [int(config._capabilities[i]) for i in range(config.num_compute_capabilities)]
            if "ComputeCapability" in trt.api["enums"]
            else [],
            "profiles": [profile._shapes for profile in config._profiles],
            "stripped": stripped,
        }
        body = b"" if stripped else network._model.data
        text = json.dumps(head).encode()
        return memoryview(MAGIC + len(text).to_bytes(4, "little") + text + body)


def _report_phases(monitor: Any) -> bool:
    monitor.phase_start("Building engine", None, 2)
    monitor.phase_start("Timing", "Building engine", 4)
    steps = [monitor.step_complete("Timing", step) for step in range(4)]
    monitor.phase_finish("Timing")
    steps.append(monitor.step_complete("Building engine", 0))
    monitor.phase_finish("Building engine")
    return all(steps)


class INetworkDefinition(Recorded):
    _model: Any = None


class IBuilderConfig(Recorded):
    _trt: FakeTensorRT

    def __init__(self) -> None:
        self._flags = {int(self._trt.BuilderFlag.TF32)}
        self._profiles: list[Any] = []
        self._capabilities: dict[int, Any] = {}
        self._timings = b""
        self.progress_monitor = None
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = 0
        if "num_compute_capabilities" in self._api["IBuilderConfig"]:
            self.num_compute_capabilities = 0

    def set_flag(self, flag: Any) -> None:
        self._flags.add(int(flag))

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(int(flag))

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        assert index < self.num_compute_capabilities
        self._capabilities[index] = compute_capability
        return True

    def create_timing_cache(self, serialized_timing_cache: Any) -> Any:
        return self._trt.make(ITimingCache, bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache._data and not cache._data.startswith(self._trt.__version__.encode()):
            return False
        self._timings = cache._data
        return True

    def get_timing_cache(self) -> Any:
        return self._trt.make(ITimingCache, self._trt.__version__.encode() + b" timings")


class ITimingCache(Recorded):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> bytes:
        return self._data


class IOptimizationProfile(Recorded):
    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert len(min) == len(opt) == len(max) > 0
        self._shapes[input] = [list(min), list(opt), list(max)]


class OnnxParser(Recorded):
    _trt: FakeTensorRT

    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._errors = network, []

    def parse_from_file(self, model: str) -> bool:
        found = OnnxFile(Path(model).read_bytes())
        problem = found.metadata.get("fake.parse_error")
        if problem:
            self._errors.append(self._trt.make(ParserError, problem))
            return False
        self._network._model = found
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]


class ParserError(Recorded):
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text

    def node(self) -> int:
        return 7

    def node_name(self) -> str:
        return "/model/Resize"

    def node_operator(self) -> str:
        return "Resize"
