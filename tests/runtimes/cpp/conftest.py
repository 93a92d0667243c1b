"""The C++ runtime, built once for all tests of this folder; they are skipped where it cannot be."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "runtimes" / "cpp"
# Kept between runs, so that only what changed is compiled.
FOLDER = ROOT / "build" / "cpp"

Run = Callable[..., str]

SCORE, PIXELS, STATISTIC = 1e-5, 0.01, 1e-4
_TOLERANCES = {"score": SCORE, "mean": STATISTIC, "std": STATISTIC, "min": STATISTIC, "max": STATISTIC}
_MASK_SHARE = 1e-3  # of the pixels of an image: where a logit is 0, the order of a sum decides


def _exporters_conftest() -> Any:
    """Checkpoints of the real training libraries are made by the fixtures of tests/exporters."""
    spec = importlib.util.spec_from_file_location("exporters_conftest", ROOT / "tests/exporters/conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ultralytics_file = _exporters_conftest().ultralytics_file


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command and return what it printed; a failure shows all of it."""

    def call(command: Sequence[str | Path], *, cwd: Path | None = None, **environment: str) -> str:
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
        return done.stdout

    return call


@pytest.fixture(scope="session")
def cmake() -> str:
    """CMake's path; the test is skipped where it or a C++ compiler is missing."""
    found = shutil.which(
        "cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if found is None:
        pytest.skip("cmake is not installed: pip install cmake, or apt-get install cmake")
    if not (os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("no C++ compiler is installed: apt-get install g++")
    return found


@pytest.fixture(scope="session")
def ort_library() -> Path:
    """ONNX Runtime's library in the installed wheel."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (library,) = (Path(spec.submodule_search_locations[0]) / "capi").glob("libonnxruntime.so.1*")
    return library


@pytest.fixture(scope="session")
def build(cmake: str, ort_library: Path, run: Run) -> Iterator[Path]:
    """The build folder: libdeploykit.so, the tests, deploykit-run and the examples."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = [
            "-DCMAKE_BUILD_TYPE=Release",
            "-DDEPLOYKIT_WERROR=ON",
            f"-DONNXRUNTIME_LIBRARY={ort_library}",
        ]
        run([cmake, "-S", SOURCES, "-B", FOLDER, *options])
        run([cmake, "--build", FOLDER, "--parallel", "2"])
    yield FOLDER


@pytest.fixture(scope="session")
def tool(build: Path) -> Path:
    """deploykit-run."""
    path = build / "deploykit-run"
    if not path.exists():
        pytest.skip("deploykit-run was not built: stb_image.h is missing (apt-get install libstb-dev)")
    return path


@pytest.fixture(scope="session")
def differences() -> Callable[[Any, Any], list[str]]:
    """What differs between two documents of answers beyond the tolerances, as one line each."""
    return lambda found, wanted: list(_walk(found, wanted, ()))


def _walk(found: Any, wanted: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(wanted, dict):
        if not isinstance(found, dict) or list(found) != list(wanted):
            yield f"{path}: the keys of {found} are not those of {wanted}"
        elif set(wanted) == {"size", "counts"}:
            yield from _mask(found, wanted, path)
        else:
            for key, value in wanted.items():
                yield from _walk(found[key], value, (*path, key))
    elif isinstance(wanted, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(wanted):
            yield f"{path}: found {found}, wanted {wanted}"
        else:
            for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
                yield from _walk(one, other, (*path, index))
    elif isinstance(wanted, float):
        names = [part for part in path if isinstance(part, str)]
        if not abs(found - wanted) <= _TOLERANCES.get(names[-1], PIXELS):
            yield f"{path}: found {found}, wanted {wanted}"
    elif found != wanted:
        yield f"{path}: found {found!r}, wanted {wanted!r}"


def _mask(found: dict[str, Any], wanted: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[str]:
    one, other = (np.repeat(np.arange(len(m["counts"])) % 2, m["counts"]) for m in (found, wanted))
    if found["size"] != wanted["size"] or (one != other).mean() > _MASK_SHARE:
        yield f"{path}: the masks differ"
