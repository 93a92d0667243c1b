"""ctest under sanitizers, hostile files under them, and libFuzzer for some inputs and then for a few seconds.

AddressSanitizer and UndefinedBehaviorSanitizer share one build, with the fuzz targets where clang makes it.
"""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest
from PIL import Image

RUNS, SECONDS = 200, 3
# Leaks are looked for when a program ends; what ONNX Runtime keeps for ever is not ours.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def run_ctest(cmake: str, run, folder: Path, *arguments: str) -> None:
    printed = run(
        [Path(cmake).parent / "ctest", "--output-on-failure", *arguments], cwd=folder, **ENVIRONMENT
    )
    assert "100% tests passed" in printed
    assert "Skipped" not in printed


def test_ctest_with_address_and_undefined_behaviour(checked: Path, cmake: str, run) -> None:
    run_ctest(cmake, run, checked)


def test_concurrent_calls_with_thread_sanitizer(built, sanitizing, cmake: str, run) -> None:
    compiler = sanitizing("thread", "clang++", "c++", "g++")
    folder = built(
        "thread",
        "-DCMAKE_BUILD_TYPE=None",
        "-DCMAKE_CXX_FLAGS=-O1",
        "-DDEPLOYKIT_SANITIZE=thread",
        "-DDEPLOYKIT_TOOL=OFF",
        "-DDEPLOYKIT_EXAMPLES=OFF",
        compiler=compiler,
        targets=("concurrency_test", "memory_limit_test"),
    )
    run_ctest(cmake, run, folder, "-R", "concurrency_test|memory_limit_test")


@pytest.mark.parametrize("name", ["metadata", "golden", "outputs", "inputs", "models"])
def test_fuzzing(name: str, checked: Path, fuzzed: bool, golden: Path, run, tmp_path: Path) -> None:
    if not fuzzed:
        pytest.skip("clang++ with libFuzzer is not installed: apt-get install clang libclang-rt-dev")
    (tmp_path / "corpus").mkdir()
    if name == "inputs":
        for path in sorted((golden / "cpp").glob("f*.onnx")):
            (tmp_path / "corpus" / path.stem).write_bytes(b"\0" + path.read_bytes())
    # The peak that libFuzzer limits is inherited: that of this process, with all that other tests had loaded.
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    command = [
        checked / "fuzz" / f"fuzz_{name}",
        tmp_path / "corpus",
        "-seed=1",
        f"-rss_limit_mb={2048 + inherited}",
        "-malloc_limit_mb=2048",
        f"-artifact_prefix={tmp_path}/",
    ]
    environment = {**os.environ, **ENVIRONMENT, "DEPLOYKIT_GOLDEN": str(golden)}
    for limit in (f"-runs={RUNS}", f"-max_total_time={SECONDS}"):
        done = subprocess.run(
            [*map(str, command), limit], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        if limit.startswith("-runs"):
            assert int(done.stderr.partition("\nDone ")[2].split()[0]) >= RUNS
            # An input that is taken reaches new code: without that the library was built without coverage.
            assert "NEW" in done.stderr


def test_bad_files_never_crash_or_leak(checked: Path, golden: Path, photos, tmp_path: Path) -> None:
    """Every cut of an image and of a model is answered or refused, by a program that checks its memory."""
    tool = checked / "deploykit-run"
    if not tool.exists():
        pytest.skip("deploykit-run was not built: stb_image.h is missing (apt-get install libstb-dev)")
    photo = Image.fromarray(photos["cat_small"])
    cuts = []
    for suffix in ("png", "jpg", "bmp", "gif"):
        whole = tmp_path / f"whole.{suffix}"
        photo.save(whole)
        data = whole.read_bytes()
        for number, size in enumerate(range(0, len(data), max(1, len(data) // 12))):
            cuts.append(tmp_path / f"{number}.{suffix}")
            cuts[-1].write_bytes(data[:size])
    model = golden / "cpp" / "segment.onnx"
    done = _run_tool(tool, model, *cuts, tmp_path / "whole.jpg", tmp_path / "missing.png", tmp_path)
    assert done.returncode == 8, done.stderr
    assert "Sanitizer" not in done.stderr
    assert "runtime error" not in done.stderr
    for size in (0, 1, 100, model.stat().st_size // 2):
        (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:size])
        done = _run_tool(tool, tmp_path / "cut.onnx", tmp_path / "whole.jpg")
        assert done.returncode == 5, done.stderr


def _run_tool(tool: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [str(tool), *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
