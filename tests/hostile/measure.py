"""Run ``deploykit inspect`` on every attack and tell what it took: python tests/hostile/measure.py [--json]

Models whose harm shows when they run are run by ``deploykit predict``. With ``--before FILE``, the table also
has what another version took, as its ``--json`` printed it: run this file with that version in PYTHONPATH.

One process reads an honest file and then forks for each attack, so that the memory shown is what that file
took, above all imports. A child may use 6 GB, and 200 s of processor time, or what ``--gigabytes`` and
``--seconds`` say.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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

from attacks import ATTACKS
from bombs import BOMBS
from hostile_models import HOSTILE


def forked(work: Callable[[], int], *, gigabytes: int = 6, seconds: int = 200) -> dict[str, Any]:
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


def measure(names: Sequence[str], **limits: int) -> list[dict[str, Any]]:
    import numpy as np
    import torch
    from deploykit_exporters.families.registry import families
    from PIL import Image

    from deploykit.cli import main

    torch.set_num_threads(1)
    families()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        honest = Path(folder, "honest.pth")
        torch.save({"fc.weight": torch.ones(2, 2)}, honest)
        main(["inspect", str(honest)])
        picture = Path(folder, "picture.png")
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(picture)
        for index, name in enumerate(names):
            path = written(name, Path(folder), index)
            bytes_of = sum(one.stat().st_size for one in [path, *path.rglob("*")] if one.is_file())
            command = ["predict", str(path), str(picture)] if name in BOMBS else ["inspect", str(path)]
            row = forked(partial(limited, command), **limits)
            rows.append({"attack": name, "bytes": bytes_of, **row})
    return rows


def written(name: str, folder: Path, index: int) -> Path:
    if name in ATTACKS:
        return ATTACKS[name](folder / (f"{index}.h5" if name.startswith("hdf5") else f"{index}.pth"))
    path = folder / f"{index}.onnx"
    path.write_bytes({**HOSTILE, **BOMBS}[name]())
    return path


def table(rows: Sequence[dict[str, Any]], before: Mapping[str, dict[str, Any]]) -> list[str]:
    """Lines of Markdown."""
    from deploykit_runtimes.text.printable import printable

    heads = ["attack", "kB", *(["before"] if before else []), "now", "words"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        words = row["words"].splitlines()[0] if row["words"] else ""
        words = printable(words.partition(": ")[2] or words, 160)
        taken = [took(before[row["attack"]])] if row["attack"] in before else [""] * bool(before)
        cells = [row["attack"], str(row["bytes"] >> 10), *taken, took(row), words.replace("|", "\\|")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def took(row: Mapping[str, Any]) -> str:
    """``2, 11 MB, 0.3 s``: exit code, memory, processor time."""
    return f"{row['code']}, {row['mb']} MB, {row['seconds']:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--gigabytes", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=200)
    parser.add_argument("names", nargs="*", default=[*ATTACKS, *HOSTILE, *BOMBS])
    arguments = parser.parse_args()
    started = time.time()
    rows = measure(arguments.names, gigabytes=arguments.gigabytes, seconds=arguments.seconds)
    if arguments.json:
        print(json.dumps(rows))  # noqa: T201
        return
    before = json.loads(arguments.before.read_text()) if arguments.before else []
    print("\n".join(table(rows, {row["attack"]: row for row in before})))  # noqa: T201
    print(f"\n{len(rows)} files, {time.time() - started:.0f} s", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
