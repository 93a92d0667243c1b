"""``deploykit cpp``: paths that exist, alone on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deploykit_runtimes.errors import DependencyError

from deploykit.cli import main
from deploykit.commands.cpp import folders


@pytest.mark.parametrize(
    ("option", "holds"),
    [
        ("--cmake-dir", "deploykit-config.cmake"),
        ("--include-dir", "deploykit/deploykit.h"),
        ("--source-dir", "CMakeLists.txt"),
    ],
)
def test_one_path(option: str, holds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cpp", option]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (Path(line) / holds).is_file()


def test_all_paths(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cpp"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["--cmake-dir", "--include-dir", "--source-dir"]
    assert main(["cpp", "--json"]) == 0
    paths = json.loads(capsys.readouterr().out)
    assert all(Path(path).is_dir() for path in paths.values())


def test_inside_an_installed_package(tmp_path: Path) -> None:
    (tmp_path / "cpp").mkdir()
    (tmp_path / "cpp" / "CMakeLists.txt").touch()
    assert folders((tmp_path / "none", tmp_path / "cpp"))["include_dir"] == tmp_path / "cpp" / "include"


def test_a_package_without_it(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"has a CMakeLists\.txt"):
        folders((tmp_path,))
