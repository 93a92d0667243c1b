"""What a build asks of native TensorRT, over the fake: flags, timing cache, hardware compatibility."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deploykit_runtimes.build_options import BuildOptions
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.errors import OptionError, RuntimeUnavailableError
from fake_tensorrt import FakeTensorRT

Writer = Callable[..., Path]
NATIVE = ("tensorrt-10.16", "tensorrt-11.4")


def asked(plan: Path) -> dict[str, Any]:
    """What the fake builder was asked for, which it writes into its plans."""
    data = plan.read_bytes()
    found: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[4:8], "little")])
    return found


def flags(trt: FakeTensorRT, plan: Path) -> set[str]:
    names = trt.api["enums"]["BuilderFlag"]
    return {name for name, value in names.items() if value in asked(plan)["flags"]}


@pytest.mark.parametrize("version", NATIVE)
def test_precision_comes_from_the_file(version: str, machine_with: Any, write_classifier: Writer) -> None:
    trt = machine_with(version).trt
    model = write_classifier()
    assert flags(trt, build_engine(model, runtime="trt").path) == set()
    options = BuildOptions(precision="auto")
    assert flags(trt, build_engine(model, runtime="trt", options=options).path) == {"TF32"}


@pytest.mark.parametrize("version", NATIVE)
def test_options_reach_the_builder(version: str, machine_with: Any, write_classifier: Writer) -> None:
    trt = machine_with(version).trt
    options = BuildOptions(
        compatibility="ampere+", version_compatible=True, strip_weights=True, optimization_level=5
    )
    result = build_engine(write_classifier(), runtime="trt", options=options)
    assert {"VERSION_COMPATIBLE", "STRIP_PLAN"} <= flags(trt, result.path)
    assert asked(result.path)["level"] == 5
    assert asked(result.path)["compatible"] == trt.api["enums"]["HardwareCompatibilityLevel"]["AMPERE_PLUS"]
    assert asked(result.path)["profiles"] == [{"images": [[1, 3, 8, 8], [1, 3, 32, 32], [4, 3, 64, 64]]}]
    assert result.facts["target"] == "NVIDIA Fake (compute capability 8.9)"
    assert result.facts["weights"].startswith("left out")
    assert result.facts["compatible"] == "with GPUs: ampere+"


@pytest.mark.parametrize("version", NATIVE)
def test_timings_are_read_and_kept(
    version: str, machine_with: Any, write_classifier: Writer, tmp_path: Path
) -> None:
    trt = machine_with(version).trt
    model, cache = write_classifier(), tmp_path / "timings.cache"
    wanted = trt.__version__.encode() + b" timings"
    for before in (None, wanted, b"of another version"):
        if before is not None:
            cache.write_bytes(before)
        build_engine(model, runtime="trt", options=BuildOptions(timing_cache=cache, force=True))
        assert cache.read_bytes() == wanted


def test_targets_of_other_gpus_are_for_rtx(machine_with: Any, write_classifier: Writer) -> None:
    machine_with("tensorrt-11.4")
    with pytest.raises(OptionError, match="only trt-rtx takes"):
        build_engine(write_classifier(), runtime="trt", options=BuildOptions(compute_capabilities=("8.6",)))


def test_memory_that_does_not_suffice_is_told(machine_with: Any, write_classifier: Writer) -> None:
    machine_with("tensorrt-10.16")
    model = write_classifier(metadata={"fake.build_error": "Requested amount of GPU memory could not be had"})
    with pytest.raises(RuntimeUnavailableError, match="GPU memory") as error:
        build_engine(model, runtime="trt")
    assert "--shapes" in error.value.hint
