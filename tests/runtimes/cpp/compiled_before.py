"""CMake's compiler launcher for projects that build the library again: ``... BUILD LOG COMPILER FLAGS``.

A file of the library whose command the build has run is not compiled a second time: its object is copied,
and the log gets a line. Two commands are one where the compiler, the content of all sources and every flag
are the same. What changes no object is not compared: warnings, the precompiled header, and where the folders
are.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

_WITH_PATHS = {"-o", "-c", "-include", "-MT", "-MF"}


def root_of(source: Path) -> Path | None:
    """The folder of the library's CMakeLists.txt, above a file of its src/."""
    return next((top.parent for top in source.parents if top.name == "src"), None)


def flags_of(words: list[str], root: Path) -> list[str]:
    """What of a command decides the object."""
    kept, skipped = [], False
    for word in words[1:]:
        if skipped or word in _WITH_PATHS:
            skipped = not skipped and word in _WITH_PATHS
        elif not word.startswith("-W") and word != "-MD":
            kept.append(word.replace(str(root), "ROOT"))
    return [shutil.which(words[0]) or words[0], *kept]


def contents(root: Path) -> dict[str, bytes]:
    files = (path for name in ("include", "src") for path in (root / name).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def compiled(build: Path, words: list[str]) -> Path | None:
    """The object that a command would write, where the build has it."""
    source = Path(words[words.index("-c") + 1]) if "-c" in words else Path()
    root = root_of(source)
    if root is None:
        return None
    for entry in json.loads((build / "compile_commands.json").read_text()):
        theirs = Path(entry["file"])
        their_root = root_of(theirs)
        if their_root is None or theirs.relative_to(their_root) != source.relative_to(root):
            continue
        if flags_of(shlex.split(entry["command"]), their_root) == flags_of(words, root):
            same = their_root == root or contents(their_root) == contents(root)
            return Path(entry["directory"], entry["output"]) if same else None
    return None


def main() -> None:
    build, log, *words = sys.argv[1:]
    found = compiled(Path(build), words)
    if found is None:
        os.execvp(words[0], words)
    target = Path(words[words.index("-o") + 1])
    shutil.copyfile(found, target)
    if "-MF" in words:
        Path(words[words.index("-MF") + 1]).write_text(f"{target}: {words[words.index('-c') + 1]}\n")
    with Path(log).open("a") as lines:
        lines.write(f"{target}\n")


if __name__ == "__main__":
    main()
