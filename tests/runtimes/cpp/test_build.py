"""ctest, an installed copy, consumer projects, and what the library exports."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_ctest(build: Path, cmake: str, run) -> None:
    ctest = Path(cmake).parent / "ctest"
    printed = run([ctest, "--output-on-failure"], cwd=build)
    assert "100% tests passed" in printed
    assert "Skipped" not in printed


@pytest.fixture(scope="module")
def prefix(build: Path, cmake: str, run, tmp_path_factory) -> Path:
    """An installed copy."""
    folder = tmp_path_factory.mktemp("prefix")
    run([cmake, "--install", build, "--prefix", folder])
    return folder


def test_find_package_in_an_installed_copy(
    prefix: Path, cmake: str, run, golden: Path, tmp_path: Path
) -> None:
    """Two translation units include every header, in C++17 and in C++20."""
    for standard in ("17", "20"):
        folder = tmp_path / standard
        source = HERE / "consumers" / "installed"
        run(
            [
                cmake,
                "-S",
                source,
                "-B",
                folder,
                f"-DCMAKE_PREFIX_PATH={prefix}",
                f"-DCMAKE_CXX_STANDARD={standard}",
            ]
        )
        run([cmake, "--build", folder])
        printed = run([folder / "consumer", golden / "cpp" / "logits.onnx"])
        assert printed.splitlines() == ['quoted "thing"', "done"]


def test_pkg_config(prefix: Path, run, golden: Path, tmp_path: Path) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed: apt-get install pkg-config")
    (config,) = prefix.rglob("deploykit.pc")
    # The prefix of the build is not that of this copy.
    words = ["pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "deploykit"]
    flags = run(words, PKG_CONFIG_PATH=str(config.parent)).split()
    source = HERE / "consumers" / "installed"
    library = config.parents[1]
    files = [source / "main.cpp", source / "other.cpp"]
    run(
        [
            "c++",
            "-std=c++17",
            *files,
            *flags,
            f"-Wl,-rpath,{library}",
            "-pthread",
            "-o",
            tmp_path / "consumer",
        ]
    )
    run([tmp_path / "consumer", golden / "cpp" / "logits.onnx"])


def test_find_package_of_the_python_package(
    cmake: str, run, golden: Path, ort_library: Path, tmp_path: Path
) -> None:
    """The sources become a part of the caller's project, as with add_subdirectory and FetchContent."""
    place = run([sys.executable, "-m", "deploykit", "cpp", "--cmake-dir"]).strip()
    options = [f"-Ddeploykit_DIR={place}", "-DCMAKE_BUILD_TYPE=Debug", f"-DONNXRUNTIME_LIBRARY={ort_library}"]
    run([cmake, "-S", HERE / "consumers" / "sources", "-B", tmp_path, *options])
    run([cmake, "--build", tmp_path, "--parallel", "2"])
    assert "done" in run([tmp_path / "consumer", golden / "cpp" / "logits.onnx"])


def test_symbols_are_versioned_and_nothing_else_is_exported(build: Path, run) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed: apt-get install binutils")
    library = build / "libdeploykit.so"
    lines = run(["nm", "-D", "-C", "--defined-only", "--with-symbol-versions", library]).splitlines()
    names = [line.split(" ", 2)[2] for line in lines if len(line.split(" ", 2)) == 3]
    assert any(name == "deploykit_predict@@DEPLOYKIT_1" for name in names)
    foreign = [name for name in names if not re.search(r"deploykit|DEPLOYKIT_1$", name)]
    assert foreign == []
    hidden = [name for name in names if "deploykit::Engine" in name or "deploykit::ort::" in name]
    assert hidden == []
    needed = run(["readelf", "-d", library])
    assert "libonnxruntime" not in needed
    assert "libdeploykit.so.0" in needed


def test_every_header_stands_alone(cmake: str, run, tmp_path: Path) -> None:
    include = HERE.parents[2] / "runtimes" / "cpp" / "include"
    headers = sorted((include / "deploykit").iterdir())
    assert len(headers) > 8
    for header in headers:
        source = tmp_path / f"{header.stem}.cpp"
        source.write_text(f"#include <deploykit/{header.name}>\n#include <deploykit/{header.name}>\n")
        warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
        run(["c++", "-std=c++17", *warnings, "-fsyntax-only", f"-I{include}", source])


def test_files_and_examples_stay_short() -> None:
    folder = HERE.parents[2] / "runtimes" / "cpp"
    sources = [
        path for suffix in ("*.cpp", "*.hpp", "*.h", "*.c", "CMakeLists.txt") for path in folder.rglob(suffix)
    ]
    assert len(sources) > 60
    assert {path.name: n for path in sources if (n := len(path.read_text().splitlines())) > 400} == {}
    examples = list((folder / "examples").glob("*.cpp"))
    assert len(examples) == 4
    assert {path.name: n for path in examples if (n := len(path.read_text().splitlines())) > 60} == {}
