"""Folders and files stay small enough to read, and tests lie where their sources lie."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_FILES = 15
MOST_LINES = 400
SHARED_PREFIX = 5
"""Five files with one prefix are a folder that is missing."""

SUFFIXES = {".py", ".c", ".cpp", ".h", ".hpp"}
SOURCES = ("deploykit", "exporters", "runtimes", "benchmarks", "examples")
PACKAGES = {
    "deploykit": "deploykit",
    "exporters": "exporters/deploykit_exporters",
    "runtimes": "runtimes/python/deploykit_runtimes",
}
OVER_SEVERAL_ROOMS = {"deploykit/faults", "deploykit/strangers", "runtimes/cpp"}
GENERATED = {"deploykit/serve/grpc/inference_pb2.py"}


def files_of(*tops: str) -> list[Path]:
    """Files of the repository in Python, C and C++, relative to it."""
    found = [path.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("*")]
    return sorted(path for path in found if path.suffix in SUFFIXES and path.as_posix() not in GENERATED)


def rooms_of(files: list[Path]) -> dict[Path, list[Path]]:
    """The files of each folder; a folder of tests has as many as it needs."""
    rooms = defaultdict(list)
    for path in files:
        if path.parts[:3] != ("runtimes", "cpp", "tests"):
            rooms[path.parent].append(path)
    return rooms


def crowded(files: list[Path]) -> dict[str, int]:
    """Folders with too many files, and their number; a header and its source are two."""
    return {str(room): len(held) for room, held in rooms_of(files).items() if len(held) > MOST_FILES}


def prefixes(files: list[Path]) -> dict[str, list[str]]:
    """Prefixes of whole words that too many files of a folder share, a header and its source being one."""
    found = {}
    for room, held in rooms_of(files).items():
        shared = defaultdict(set)
        for stem in {path.stem for path in held}:
            words = stem.split("_")
            for count in range(1, len(words) + 1):
                shared["_".join(words[:count])].add(stem)
        found |= {
            f"{room}/{prefix}_": sorted(stems)
            for prefix, stems in shared.items()
            if prefix and len(stems) >= SHARED_PREFIX
        }
    return found


def test_no_folder_of_sources_is_crowded() -> None:
    files = files_of(*SOURCES)
    assert len(rooms_of(files)) > 60
    assert {path.suffix for path in files} == SUFFIXES
    assert crowded(files) == {}


def test_no_folder_of_sources_has_a_prefix_in_place_of_a_folder() -> None:
    assert prefixes(files_of(*SOURCES)) == {}


def test_no_file_answers_more_than_one_question() -> None:
    """Those of the tests too."""
    files = files_of(*SOURCES, "tests")
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in files}
    assert any(name.startswith("tests/") for name in lengths)
    assert {name: count for name, count in lengths.items() if count > MOST_LINES} == {}


def unlisted(package: Path) -> list[str]:
    """The files and folders of a package that the docstring of its ``__init__`` leaves out."""
    told = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    files = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    return sorted(
        name
        for name in files | folders
        if (package / name).relative_to(ROOT).as_posix() not in GENERATED
        and not re.search(
            rf"(?m)(^\s*|; )({re.escape(name)}|``{re.escape(name.rstrip('/').removesuffix('.py'))}``)(\s|$)",
            told,
        )
    )


def test_every_package_says_what_is_in_which_file() -> None:
    packages = [path.parent for top in PACKAGES.values() for path in (ROOT / top).rglob("__init__.py")]
    assert len(packages) > 50
    assert {str(one.relative_to(ROOT)): names for one in packages if (names := unlisted(one))} == {}


def test_tests_lie_where_their_sources_lie() -> None:
    """A test named after a source lies in its folder; every folder of tests is one of sources."""
    astray = {}
    for tests, package in PACKAGES.items():
        top = ROOT / "tests" / tests
        for path in sorted(top.rglob("test_*.py")):
            room, name = path.relative_to(top).parent, path.name.removeprefix("test_")
            if f"{tests}/{room}" in OVER_SEVERAL_ROOMS:
                continue
            if not (ROOT / package / room).is_dir():
                astray[str(path.relative_to(ROOT))] = "no such folder of sources"
            elif not (ROOT / package / room / name).exists():
                below = sorted((ROOT / package / room).glob(f"*/{name}"))
                astray |= {str(path.relative_to(ROOT)): str(source.relative_to(ROOT)) for source in below}
    assert astray == {}
