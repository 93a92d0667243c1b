"""Projects that use the library, each in one of the ways that docs/cpp.md names, and where ONNX Runtime is
found: two translation units include every header, and what they print is looked at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "runtimes" / "cpp"
CONSUMERS = Path(__file__).parent / "consumers"
PRINTED = ['quoted "thing"', "done"]


@pytest.fixture(scope="module")
def prefix(build: Path, cmake: str, run, tmp_path_factory) -> Path:
    """An installed copy."""
    folder = tmp_path_factory.mktemp("prefix")
    run([cmake, "--install", build, "--prefix", folder])
    return folder


@pytest.fixture
def consume(cmake: str, run, golden: Path, tmp_path: Path):
    """Configure, build and run a consumer; the lines that it prints."""

    def call(name: str, *options: str, **environment: str) -> list[str]:
        run([cmake, "-S", CONSUMERS / name, "-B", tmp_path / "build", *options], **environment)
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2")
        run([cmake, "--build", tmp_path / "build", "--parallel", jobs])
        return run([tmp_path / "build" / "consumer", golden / "cpp" / "logits.onnx"]).splitlines()

    return call


@pytest.mark.parametrize("standard", ["17", "20"])
def test_find_package_in_an_installed_copy(standard: str, prefix: Path, consume) -> None:
    options = [f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_STANDARD={standard}"]
    assert consume("installed", *options) == PRINTED


def test_pkg_config(prefix: Path, run, golden: Path, tmp_path: Path) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed: apt-get install pkg-config")
    (config,) = prefix.rglob("deploykit.pc")
    # The copy may be moved as a whole: its prefix is where the file is.
    words = ["pkg-config", "--cflags", "--libs", "deploykit"]
    flags = run(words, PKG_CONFIG_PATH=str(config.parent)).split()
    source = CONSUMERS / "installed"
    files = [source / "main.cpp", source / "other.cpp"]
    rpath = f"-Wl,-rpath,{config.parents[1]}"
    run(["c++", "-std=c++17", *files, *flags, rpath, "-pthread", "-o", tmp_path / "consumer"])
    assert run([tmp_path / "consumer", golden / "cpp" / "logits.onnx"]).splitlines() == PRINTED
    version = run(["pkg-config", "--modversion", "deploykit"], PKG_CONFIG_PATH=str(config.parent)).strip()
    assert (
        f'__version__ = "{version}"'
        in (ROOT / "runtimes" / "python" / "deploykit_runtimes" / "__init__.py").read_text()
    )


def test_find_package_of_the_python_package(consume, run, ort_library: Path, again) -> None:
    place = run([sys.executable, "-m", "deploykit", "cpp", "--cmake-dir"]).strip()
    options = [f"-Ddeploykit_DIR={place}", f"-DONNXRUNTIME_LIBRARY={ort_library}"]
    environment, log = again
    assert consume("sources", *options, **environment) == PRINTED
    assert len(log.read_text().splitlines()) == len(list((SOURCES / "src").rglob("*.cpp")))


def test_add_subdirectory(consume, ort_library: Path) -> None:
    """As a static library."""
    options = [f"-DDEPLOYKIT_SOURCES={SOURCES}", f"-DONNXRUNTIME_LIBRARY={ort_library}"]
    options += ["-DDEPLOYKIT_PRECOMPILE=ON"]  # which a caller would not set, to build faster here
    assert consume("subdirectory", *options) == PRINTED


def test_fetch_content(consume, ort_library: Path, tmp_path: Path, again) -> None:
    """A release archive is fetched and built; ONNX Runtime is the wheel of the Python in the path."""
    archive = tmp_path / "deploykit.tar.gz"
    version = ROOT / "runtimes" / "python" / "deploykit_runtimes" / "__init__.py"
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        for path in (SOURCES, version):
            file.add(path, f"deploykit-0/{path.relative_to(ROOT)}")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment, log = again
    assert consume("fetched", f"-DDEPLOYKIT_URL={archive.as_uri()}", PATH=path, **environment) == PRINTED
    assert len(log.read_text().splitlines()) == len(list((SOURCES / "src").rglob("*.cpp")))
    cache = (tmp_path / "build" / "CMakeCache.txt").read_text()
    assert f"ONNXRUNTIME_LIBRARY:FILEPATH={ort_library}" in cache


def laid_out(kind: str, library: Path, folder: Path) -> dict[str, str]:
    """The library as a release archive or Debian's packages lay it out, and the options that lead there."""
    if kind == "wheel":
        return {}
    if kind == "archive":
        place = folder / "onnxruntime-linux-x64-1.32.0" / "lib"
        names = ("libonnxruntime.so.1.32.0", "libonnxruntime.so.1", "libonnxruntime.so")
        options = {"ONNXRUNTIME_ROOT": str(place.parent)}
    else:
        place = folder / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
        names = ("libonnxruntime.so.1.21.0", "libonnxruntime.so.1.21")
        names += ("libonnxruntime.so",) if kind == "debian with -dev" else ()
        options = {"CMAKE_PREFIX_PATH": str(folder / "usr")}
    place.mkdir(parents=True)
    (place / names[0]).symlink_to(library)
    for link, target in zip(names[1:], names, strict=False):
        (place / link).symlink_to(target)
    return options


@pytest.mark.parametrize("kind", ["archive", "debian", "debian with -dev", "wheel"])
def test_finds_onnx_runtime(
    kind: str, build: Path, cmake: str, run, ort_library: Path, golden: Path, tmp_path: Path
) -> None:
    options = [f"-D{key}={value}" for key, value in laid_out(kind, ort_library, tmp_path / "root").items()]
    command = [cmake, "-S", CONSUMERS / "onnxruntime", "-B", tmp_path / "b", f"-DDEPLOYKIT_SOURCES={SOURCES}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    printed = run([*command, *options], PATH=path)
    found = Path(next(line for line in printed.splitlines() if line.startswith("-- found "))[9:])
    assert found.resolve() == ort_library.resolve()
    assert (kind == "wheel") == (found == ort_library)
    run(
        [build / "tests" / "c_usage_test", golden / "cpp" / "yolo.onnx"],
        DEPLOYKIT_ONNXRUNTIME=str(found),
    )


def test_no_onnx_runtime_is_an_error_with_a_way_out(build: Path, golden: Path, run, tmp_path: Path) -> None:
    done = subprocess.run(
        [build / "deploykit-run", golden / "cpp" / "yolo.onnx", "photo.png"]
        if (build / "deploykit-run").exists()
        else [build / "tests" / "c_usage_test", golden / "cpp" / "yolo.onnx"],
        env={**os.environ, "DEPLOYKIT_ONNXRUNTIME": str(tmp_path / "none.so")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (6, 77)
    assert "onnxruntime is needed to run this model" in done.stderr
    assert "pip install 'deploykit[cpu]'" in done.stderr
