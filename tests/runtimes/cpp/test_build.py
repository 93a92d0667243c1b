"""ctest, what the library exports, and that every file compiles without a warning everywhere."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "runtimes" / "cpp"
RELEASE = ("release", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS=-std=c++17", "-DDEPLOYKIT_WERROR=ON")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")


def test_ctest(build: Path, cmake: str, run) -> None:
    ctest = Path(cmake).parent / "ctest"
    printed = run([ctest, "--output-on-failure"], cwd=build)
    assert "100% tests passed" in printed
    assert "Skipped" not in printed


def test_a_build_is_never_written_to_again(built, build: Path) -> None:
    """A process may have loaded its library; the hash in the name of the folder is that of its sources."""
    library = (build / "libdeploykit.so").resolve()
    before = (library.stat().st_ino, library.stat().st_mtime_ns)
    assert built(*RELEASE) == build
    assert (library.stat().st_ino, library.stat().st_mtime_ns) == before


def test_symbols_are_versioned_and_nothing_else_is_exported(build: Path, run) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed: apt-get install binutils")
    library = build / "libdeploykit.so"
    lines = run(["nm", "-D", "-C", "--defined-only", "--with-symbol-versions", library]).splitlines()
    names = [line.split(" ", 2)[2] for line in lines if len(line.split(" ", 2)) == 3]
    assert any(name == "deploykit_predict@@DEPLOYKIT_1" for name in names)
    foreign = [name for name in names if not re.search(r"deploykit|DEPLOYKIT_1$", name)]
    assert foreign == []
    unversioned = [name for name in names if not name.endswith("DEPLOYKIT_1")]
    assert unversioned == []
    hidden = [name for name in names if "deploykit::Engine" in name or "deploykit::ort::" in name]
    assert hidden == []
    needed = run(["readelf", "-d", library])
    assert "libonnxruntime" not in needed
    assert "libdeploykit.so.0" in needed


def test_every_function_of_the_header_is_exported(build: Path, run) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed: apt-get install binutils")
    header = (SOURCES / "include" / "deploykit" / "deploykit.h").read_text()
    declared = set(re.findall(r"DEPLOYKIT_API [\w \*]*?(deploykit_\w+)\(", header))
    listed = run(["nm", "-D", "--defined-only", build / "libdeploykit.so"])
    assert len(declared) > 25
    assert declared == set(re.findall(r" T (deploykit_\w+)", listed))


def test_the_sample_of_the_header_is_the_program_that_is_tested() -> None:
    """ctest builds and runs usage.c; only the name of the model is another one there."""
    header = (
        (SOURCES / "include" / "deploykit" / "deploykit.h").read_text().partition("Rules of every call")[0]
    )
    sample = [line[2:].split() for line in header.splitlines() if line.startswith(" *   ")]
    program = " ".join((SOURCES / "tests" / "usage.c").read_text().split()).replace("argv[1]", '"yolo.onnx"')
    assert len(sample) > 15
    missing = [
        line for line in map(" ".join, sample) if line.removeprefix("deploykit_error *") not in program
    ]
    assert missing == []


def test_every_header_stands_alone(cmake: str, run, tmp_path: Path) -> None:
    include = SOURCES / "include"
    headers = sorted((include / "deploykit").iterdir())
    assert len(headers) > 8
    for header in headers:
        source = tmp_path / f"{header.stem}.cpp"
        source.write_text(f"#include <deploykit/{header.name}>\n#include <deploykit/{header.name}>\n")
        run(["c++", "-std=c++17", *WARNINGS, "-fsyntax-only", f"-I{include}", source])


def warned(folder: Path, compiler: str, standard: str) -> set[Path]:
    """The sources that a build has compiled with a compiler and all these warnings, as errors."""
    found = set()
    for entry in json.loads((folder / "compile_commands.json").read_text()):
        words = shlex.split(entry["command"])
        theirs, ours = (Path(shutil.which(name) or name).resolve() for name in (words[0], compiler))
        if theirs == ours and {*WARNINGS, f"-std={standard}"} <= set(words):
            found.add(Path(entry["file"]))
    return found


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_no_warnings(
    compiler: str, standard: str, cmake: str, run, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every source: the library's, the tools', the tests', the examples' and the fuzz targets'."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed: apt-get install {compiler.replace('++', '')}")
    stb = next((p for p in ("/usr/include/stb", "/usr/include") if Path(p, "stb_image.h").exists()), None)
    with_stb = {"images.cpp", "stb.cpp"}  # tiff.cpp without DEPLOYKIT_TIFF needs nothing
    sources = [
        path
        for folder in ("src", "tools", "tests", "examples", "fuzz")
        for path in sorted((SOURCES / folder).rglob("*.cpp"))
        if path.name != "ort_abi_test.cpp" and (stb or not (path.name in with_stb or folder == "examples"))
    ]
    assert len(sources) > 40
    done: set[Path] = set()
    for build in ("build", "checked"):
        with suppress(pytest.skip.Exception):
            done |= warned(request.getfixturevalue(build), compiler, standard)
    # The standard headers are read once; both compilers take a precompiled one that stands beside it.
    standard_headers = shutil.copy(SOURCES / "cmake" / "standard.hpp", tmp_path)
    command = [compiler, f"-std={standard}", *WARNINGS]
    run([*command, "-x", "c++-header", standard_headers, "-o", f"{standard_headers}.gch"])
    folders = [f"-I{SOURCES / name}" for name in ("include", "src", "tools", "tests")]
    command += ["-fsyntax-only", "-include", str(standard_headers), *folders]
    command += ["-isystem", stb] if stb else []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: run([*command, path]), [path for path in sources if path not in done]))


def test_files_and_examples_stay_short() -> None:
    sources = [
        path
        for suffix in ("*.cpp", "*.hpp", "*.h", "*.c", "CMakeLists.txt")
        for path in SOURCES.rglob(suffix)
    ]
    assert len(sources) > 60
    assert {path.name: n for path in sources if (n := len(path.read_text().splitlines())) > 400} == {}
    examples = list((SOURCES / "examples").glob("*.cpp"))
    assert len(examples) == 4
    assert {path.name: n for path in examples if (n := len(path.read_text().splitlines())) > 60} == {}
