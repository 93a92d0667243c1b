"""The options of an engine: the same in every command that opens one, and they reach it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes import ov
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.ort.runner import has_nvidia_driver
from deploykit_runtimes.ov import OpenVinoDevice
from deploykit_runtimes.runner import Runner
from PIL import Image

import deploykit
from deploykit.cli import main

Output = pytest.CaptureFixture[str]

GIVEN = ["--threads", "1", "--strict", "--goal", "throughput", "--precision", "auto", "--gpu", "3"]


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    return deploykit.export(checkpoint, dynamic="batch", imgsz=32).path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[EngineOptions]:
    """The options with which the CPU's engine is opened; it is opened all the same."""
    seen: list[EngineOptions] = []
    open_it = ov.open_openvino

    def note(path: str | Path, *, device: OpenVinoDevice, options: EngineOptions) -> Runner:
        seen.append(options)
        return open_it(path, device=device, options=options)

    monkeypatch.setattr(ov, "open_openvino", note)
    return seen


@pytest.mark.parametrize("exact", [False, True], ids=["", "exact"])
@pytest.mark.parametrize("name", ["predict", "bench", "verify"])
def test_they_reach_the_engine(
    name: str,
    exact: bool,
    checkpoint: Path,
    exported: Path,
    opened: list[EngineOptions],
    tmp_path: Path,
    capsys: Output,
) -> None:
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(image)
    arguments = {
        "predict": [str(exported), str(image)],
        "bench": [str(exported), "--runs", "2", "--warmup", "1"],
        "verify": [str(checkpoint), str(exported), "--tolerance", "0.5"],
    }
    cache = tmp_path / "cache"
    command = [name, *arguments[name], "--runtime", "ov", *GIVEN, "--cache", str(cache), "--cuda-graph"]
    command += ["--exact"] if exact and name != "verify" else []  # a proof is of the file in any case
    # OpenVINO leaves its precision to the processor here, which strict refuses where that is bf16.
    assert main(command) in (0, 7), capsys.readouterr().err
    wanted = EngineOptions(
        threads=1, strict=True, goal="throughput", precision="auto", cache=cache, cuda_graph=True, gpu=3
    )
    assert opened == [replace(wanted, exact=exact or name == "verify")]
    assert list(cache.iterdir())  # written by the engine itself


@pytest.mark.parametrize("name", ["predict", "bench", "verify", "build"])
def test_gpus_are_counted_from_0(name: str, exported: Path, capsys: Output) -> None:
    files = [str(exported)] if name in ("bench", "build") else [str(exported), str(exported)]
    assert main([name, *files, "--gpu", "-1"]) == 2
    assert "--gpu" in capsys.readouterr().err


def test_verify_says_why_an_engine_cannot_run(checkpoint: Path, exported: Path, capsys: Output) -> None:
    assert main(["verify", str(checkpoint), str(exported), "--runtime", "trt", "--strict"]) == 7
    assert "driver" in capsys.readouterr().err


def test_verify_takes_a_built_folder(
    checkpoint: Path, exported: Path, opened: list[EngineOptions], tmp_path: Path, capsys: Output
) -> None:
    folder = tmp_path / "built"
    assert main(["build", str(exported), "--runtime", "ov", "-o", str(folder)]) == 0
    opened.clear()
    assert main(["verify", str(checkpoint), str(folder), "--runtime", "ov", "--json"]) == 0
    assert '"engine": "openvino' in capsys.readouterr().out
    assert [options.cache for options in opened] == [folder / f"{exported.stem}.ov-cpu.cache"]


@pytest.mark.parametrize("name", ["predict", "verify", "serve"])
def test_short_names_of_runtimes(name: str, checkpoint: Path, exported: Path, capsys: Output) -> None:
    files = {"predict": [exported, exported], "verify": [checkpoint, exported], "serve": [exported]}[name]
    assert main([name, *map(str, files), "--cuda", "--runtime", "ov"]) == 2
    assert "--runtime ov and the short form of --runtime ort-cuda: give one." in capsys.readouterr().err
    if not has_nvidia_driver():
        assert main([name, *map(str, files), "--trt"]) == 7
        assert "trt runs on an NVIDIA GPU" in capsys.readouterr().err
