"""The C++ runtime, built once for all tests of this folder; they are skipped where it cannot be.

A build stands in a folder that is named by a hash of all it is made of, and is never written to again: a
library that a process has loaded cannot change under it when another one builds newer sources.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "runtimes" / "cpp"
VERSION = ROOT / "runtimes" / "python" / "deploykit_runtimes" / "__init__.py"
FOLDER = ROOT / "build" / "cpp"
RELEASE = ("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS=-std=c++17", "-DDEPLOYKIT_WERROR=ON")

Run = Callable[..., str]
Build = Callable[..., Path]

_COMPLETE = "complete"  # written last
_DAY = 24 * 3600

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
def built(cmake: str, ort_library: Path, run: Run) -> Build:
    """Build the sources with some options, or find the folder in which that was done before."""

    def make(name: str, *options: str, targets: Sequence[str] = ("all",), compiler: str = "c++") -> Path:
        options = (*options, "-DDEPLOYKIT_PRECOMPILE=ON", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
        versions = [run([program, "--version"]) for program in (compiler, cmake)]
        folder = FOLDER / f"{name}-{_digest([*options, *targets, str(ort_library), *versions])}"
        FOLDER.mkdir(parents=True, exist_ok=True)
        with (FOLDER / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / _COMPLETE).is_file():
                shutil.rmtree(folder, ignore_errors=True)  # what a killed run left; nobody uses it
                chosen = [f"-DCMAKE_CXX_COMPILER={compiler}", f"-DONNXRUNTIME_LIBRARY={ort_library}"]
                run([cmake, "-S", SOURCES, "-B", folder, *chosen, *options])
                jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2")
                run([cmake, "--build", folder, "--parallel", jobs, "--target", *targets])
                (folder / _COMPLETE).touch()
                _remove_old(name)
        return folder

    return make


def _digest(parts: Sequence[str]) -> str:
    """Of the sources, by path and content, and of what else a build depends on."""
    digest = hashlib.sha256("\0".join(parts).encode())
    files = sorted(path for path in SOURCES.rglob("*") if path.is_file())
    for path in (*files, VERSION):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _remove_old(name: str) -> None:
    """Builds of other sources, a day after they were made: until then a process may be using them."""
    for folder in FOLDER.glob(f"{name}-*"):
        if folder.stat().st_mtime < time.time() - _DAY:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def build(built: Build) -> Path:
    """The build folder: libdeploykit.so, the tests, deploykit-run and the examples."""
    return built("release", *RELEASE)


@pytest.fixture
def again(build: Path, tmp_path: Path) -> tuple[dict[str, str], Path]:
    """The environment in which CMake builds the library again without compiling its files again, and the log
    of what was not (see compiled_before.py)."""
    log = tmp_path / "compiled_before.txt"
    launcher = [
        sys.executable,
        "-SE",
        str(Path(__file__).parent / "compiled_before.py"),
        str(build),
        str(log),
    ]
    return {
        "CMAKE_CXX_COMPILER_LAUNCHER": ";".join(launcher),
        "CMAKE_BUILD_TYPE": "Release",
        "CXXFLAGS": "-std=c++17",
    }, log


@pytest.fixture(scope="session")
def tool(build: Path) -> Path:
    """deploykit-run."""
    path = build / "deploykit-run"
    if not path.exists():
        pytest.skip("deploykit-run was not built: stb_image.h is missing (apt-get install libstb-dev)")
    return path


def _compiler_for(folder: Path, flags: str, *names: str | None) -> str:
    source = folder / "probe.cpp"
    main = (
        'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }'
        if "fuzzer" in flags
        else "int main() { return 0; }"
    )
    source.write_text(main)
    for name in names:
        if not name or shutil.which(name) is None:
            continue
        program = folder / f"probe-{Path(name).name}"
        command = [name, f"-fsanitize={flags}", str(source), "-o", str(program)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            continue
        if not subprocess.run([str(program), "-runs=1"], capture_output=True, check=False).returncode:
            return name
    pytest.skip(f"no compiler here makes programs with -fsanitize={flags} that run")


@pytest.fixture(scope="session")
def sanitizing(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The first of some compilers whose programs run with a -fsanitize; without one the test is skipped."""
    return partial(_compiler_for, tmp_path_factory.mktemp("probes"))


@pytest.fixture(scope="session")
def fuzzed(sanitizing: Callable[..., str]) -> bool:
    """Whether clang and its libFuzzer are here."""
    try:
        sanitizing("fuzzer,address,undefined", "clang++")
    except pytest.skip.Exception:
        return False
    return True


@pytest.fixture(scope="session")
def checked(built: Build, sanitizing: Callable[..., str], fuzzed: bool) -> Path:
    """A build with AddressSanitizer and UndefinedBehaviorSanitizer."""
    compiler = sanitizing("address,undefined", "clang++" if fuzzed else None, "c++", "g++")
    return built(
        "address",
        "-DCMAKE_BUILD_TYPE=None",
        "-DCMAKE_CXX_FLAGS=-O1 -std=c++17",
        "-DDEPLOYKIT_WERROR=ON",
        "-DDEPLOYKIT_SANITIZE=address,undefined",
        f"-DDEPLOYKIT_FUZZ={'ON' if fuzzed else 'OFF'}",
        "-DDEPLOYKIT_EXAMPLES=OFF",
        compiler=compiler,
    )


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
