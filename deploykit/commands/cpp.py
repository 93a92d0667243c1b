"""``deploykit cpp``: where the C++ runtime is, for CMake and compilers."""

from __future__ import annotations

from pathlib import Path

import click
from deploykit_runtimes.errors import DependencyError

from deploykit.commands.shared.line import Command
from deploykit.commands.shared.options import common
from deploykit.terminal import echo, echo_json

__all__ = ["command"]

_PACKAGE = Path(__file__).parents[1]
# Beside the package in an installed copy, in the source tree where it is installed editable.
_PLACES = (_PACKAGE / "cpp", _PACKAGE.parent / "runtimes" / "cpp")
_FOLDERS = {"cmake_dir": "cmake", "include_dir": "include", "source_dir": "."}


@click.command(
    "cpp",
    cls=Command,
    examples=(
        'cmake -B build -Ddeploykit_DIR="$(deploykit cpp --cmake-dir)"',
        'c++ -I"$(deploykit cpp --include-dir)" -c main.cpp',
    ),
)
@click.option(
    "--cmake-dir", "folder", flag_value="cmake_dir", help="Print the folder for CMake's -Ddeploykit_DIR=..."
)
@click.option(
    "--include-dir",
    "folder",
    flag_value="include_dir",
    help="Print the folder that holds <deploykit/deploykit.h>.",
)
@click.option(
    "--source-dir", "folder", flag_value="source_dir", help="Print the folder for CMake's add_subdirectory()."
)
@common
def command(*, folder: str | None, json_output: bool) -> int:
    """Print where the C++ runtime is.

    With one of the options, that path alone, for use in another command.
    """
    paths = folders()
    if json_output:
        echo_json({name: str(path) for name, path in paths.items()})
    elif folder is not None:
        echo(str(paths[folder]))
    else:
        for name, path in paths.items():
            echo(f"--{name.replace('_', '-'):<12}  {path}")
    return 0


def folders(places: tuple[Path, ...] = _PLACES) -> dict[str, Path]:
    """Absolute paths of the CMake files, the headers and the sources.

    Raises:
        DependencyError: the installed package came without them.
    """
    for place in places:
        if (place / "CMakeLists.txt").is_file():
            return {name: (place / below).resolve() for name, below in _FOLDERS.items()}
    raise DependencyError(
        f"The C++ runtime is not installed: none of {', '.join(map(str, places))} has a CMakeLists.txt.",
        hint="Install deploykit again: pip install --force-reinstall deploykit",
    )
