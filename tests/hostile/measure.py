"""Run ``deploykit inspect`` on every attack and tell what it took: python tests/hostile/measure.py [--json]

Models whose harm shows when they run are run by ``deploykit predict``. With ``--before FILE``, the table also
has what another version took, as its ``--json`` printed it. Write the files with ``--write FOLDER`` first,
and read them with that version in PYTHONPATH and ``--files FOLDER``, which needs nothing of this version.

One process reads an honest file and then forks for each attack, so that the memory shown is what that file
took, above all imports. A child may use 12 GB, and 60 s of processor time, or what ``--gigabytes`` and
``--seconds`` say.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "runtimes"))

INDEX = "files.json"


def forked(work: Callable[[], int], *, gigabytes: int = 12, seconds: int = 60) -> dict[str, Any]:
    """What a child took for the work: exit code, MB at its peak, seconds of processor time, words."""
    nbytes = gigabytes << 30
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os.setsid()
            resource.setrlimit(resource.RLIMIT_DATA, (nbytes, nbytes))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            code = work()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        peak = base = anonymous(child)
        while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            peak = max(peak, anonymous(child))
            time.sleep(0.001)
        _, status, usage = os.wait4(child, 0)
        said.seek(0)
        words = said.read().decode("utf-8", "replace")
    return {
        "code": os.waitstatus_to_exitcode(status),
        "mb": (peak - base) >> 10,
        "seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "allowed": {"gigabytes": gigabytes, "seconds": seconds},
        "words": words[words.find("error:") :].removeprefix("error:").strip(),
    }


def anonymous(process: int) -> int:
    """kB of memory that a process has of its own."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


def limited(arguments: list[str]) -> int:
    """The command line in a process of its own, which limits the memory of models."""
    from deploykit.cli import main

    with suppress(ImportError):  # another version has no limit
        from deploykit_runtimes.machine.memory_limit import limit_memory

        limit_memory()
    return main(arguments)


def measure(names: Sequence[str], folder: Path, **limits: int) -> list[dict[str, Any]]:
    """What each of these attacks took, or all of them, whose files lie in the folder."""
    import numpy as np
    import torch
    from PIL import Image

    from deploykit.cli import main

    torch.set_num_threads(1)
    files = json.loads((folder / INDEX).read_text())
    rows = []
    with tempfile.TemporaryDirectory() as other:
        honest = Path(other, "honest.pth")
        torch.save({"fc.weight": torch.ones(2, 2)}, honest)
        main(["inspect", str(honest)])
        picture = Path(other, "picture.png")
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(picture)
        for name in names or files:
            path = folder / files[name]["file"]
            bytes_of = sum(one.stat().st_size for one in [path, *path.rglob("*")] if one.is_file())
            command = ["predict", str(path), str(picture)] if files[name]["runs"] else ["inspect", str(path)]
            row = forked(partial(limited, command), **limits)
            rows.append({"attack": name, "bytes": bytes_of, **row})
    return rows


def write(names: Sequence[str], folder: Path) -> None:
    """Write the files of these attacks, or of all, and what each is."""
    from attacks import ATTACKS
    from bombs import BOMBS
    from hostile_models import HOSTILE

    models = {**HOSTILE, **BOMBS}
    files = {}
    for index, name in enumerate(names or [*ATTACKS, *models]):
        if name in models:
            path = folder / f"{index}.onnx"
            path.write_bytes(models[name]())
        else:
            path = ATTACKS[name](folder / (f"{index}.h5" if name.startswith("hdf5") else f"{index}.pth"))
        files[name] = {"file": path.name, "runs": name in BOMBS}
    (folder / INDEX).write_text(json.dumps(files))


def table(rows: Sequence[dict[str, Any]], before: Mapping[str, dict[str, Any]]) -> list[str]:
    """Lines of Markdown."""
    heads = ["attack", "kB", *(["before", "words before"] if before else []), "now", "words"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [row["attack"], str(row["bytes"] >> 10)]
        if before:
            other = before.get(row["attack"])
            cells += [took(other), began(other)] if other else ["", ""]
        lines.append(f"| {' | '.join([*cells, took(row), words_of(row)])} |")
    return lines


def words_of(row: Mapping[str, Any]) -> str:
    """The first sentence of what was said, without the path before it."""
    from deploykit_runtimes.text.printable import printable

    first = row["words"].splitlines()[0] if row["words"] else ""
    return printable(first.partition(": ")[2] or first, 160).replace("|", "\\|")


def began(row: Mapping[str, Any]) -> str:
    """How the words began, with what was said of the fault."""
    from deploykit_runtimes.text.printable import printable

    first = row["words"].splitlines()[0] if row["words"] else ""
    return printable(": ".join(first.split(": ")[:2]), 80).replace("|", "\\|")


def took(row: Mapping[str, Any]) -> str:
    """``2, 11 MB, 0.3 s``: exit code, memory, processor time; what was killed has no code."""
    allowed = row["allowed"]
    if row["code"] in {-signal.SIGKILL, -signal.SIGXCPU}:
        slow = row["seconds"] > 0.9 * allowed["seconds"]
        why = f"> {allowed['seconds']} s" if slow else f"killed, {row['seconds']:.1f} s"
        return f"{why}, {row['mb']} MB"
    if row["mb"] > 1000 * allowed["gigabytes"]:
        return f"{row['code']}, stopped at {allowed['gigabytes']} GB, {row['seconds']:.1f} s"
    return f"{row['code']}, {row['mb']} MB, {row['seconds']:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    parser.add_argument("--files", type=Path, metavar="FOLDER")
    parser.add_argument("--gigabytes", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.write:
        arguments.write.mkdir(parents=True, exist_ok=True)
        write(arguments.names, arguments.write)
        return
    started = time.time()
    with tempfile.TemporaryDirectory() as own:
        if not arguments.files:
            write(arguments.names, Path(own))
        limits = {"gigabytes": arguments.gigabytes, "seconds": arguments.seconds}
        rows = measure(arguments.names, arguments.files or Path(own), **limits)
    if arguments.json:
        print(json.dumps(rows))  # noqa: T201
        return
    before = json.loads(arguments.before.read_text()) if arguments.before else []
    print("\n".join(table(rows, {row["attack"]: row for row in before})))  # noqa: T201
    print(f"\n{len(rows)} files, {time.time() - started:.0f} s", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
