"""Needed libraries, read from real shared libraries and from damaged ones."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from deploykit_runtimes.machine import elf
from deploykit_runtimes.machine.elf import (
    find_in_wheels,
    loads,
    missing_libraries,
    needed_libraries,
    package_file,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

CORE = next(Path(np.__file__).parent.glob("_core/_multiarray_umath*.so"))


def test_they_are_those_that_readelf_shows() -> None:
    """On a real library; readelf is the reference where it is installed."""
    found = needed_libraries(CORE)
    assert any(name.startswith("libc.so") for name in found)
    if shutil.which("readelf"):
        shown = subprocess.run(["readelf", "-d", CORE], capture_output=True, text=True, check=True).stdout
        lines = [line for line in shown.splitlines() if "(NEEDED)" in line]
        assert list(found) == [line.partition("[")[2].rstrip("]") for line in lines]


def test_what_is_installed_is_not_missing() -> None:
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_shared.so"
    assert needed_libraries(library)
    assert missing_libraries(library) == ()
    assert loads("libc.so.6")
    assert not loads("libnowhere.so.77")


def test_a_library_beside_the_needing_one_or_in_a_wheel_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        elf, "needed_libraries", lambda path: ("libbeside.so.1", "libwheel.so.2", "libgone.so.3")
    )
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "libbeside.so.1").touch()
    (tmp_path / "nvidia/cublas/lib").mkdir(parents=True)
    (tmp_path / "nvidia/cublas/lib/libwheel.so.2").touch()
    assert missing_libraries(tmp_path / "libprovider.so") == ("libgone.so.3",)
    assert find_in_wheels("libwheel.so.2") == tmp_path / "nvidia/cublas/lib/libwheel.so.2"


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n" * 100, b"\x7fELF\x02\x01" + bytes(200)])
def test_what_is_no_library_needs_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(content)
    assert needed_libraries(path) == ()
    assert needed_libraries(tmp_path / "none.so") == ()


@settings(max_examples=200, deadline=None)
@example(changes=[(39, 128)])
@given(changes=st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_is_harmless(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]) -> None:
    """In the headers, where offsets and sizes are."""
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_shared.so"
    content = bytearray(library.read_bytes())
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.mktemp("damage") / "lib.so"
    path.write_bytes(content)
    assert isinstance(needed_libraries(path), tuple)


def test_files_of_distributions() -> None:
    found = package_file("onnxruntime", "libonnxruntime_providers_shared.so")
    assert found is not None
    assert found.is_file()
    assert package_file("onnxruntime", "none.so") is None
    assert package_file("no-such-distribution", "a") is None
