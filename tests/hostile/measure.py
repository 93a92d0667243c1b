"""Run ``deploykit inspect`` on every attack and tell what it took: python tests/hostile/measure.py [--json]

One process reads an honest file and then forks for each attack, so that the memory shown is what that file
took, above all imports. A child may use 6 GB, and 200 s of processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from attacks import ATTACKS

LIMIT_BYTES, LIMIT_SECONDS = 6 << 30, 200


def forked(work: Callable[[], int]) -> dict[str, Any]:
    """What a child took for the work: exit code, MB at its peak, seconds of processor time, words."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os.setsid()
            resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
            resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_SECONDS, LIMIT_SECONDS))
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


def measure(names: Sequence[str]) -> list[dict[str, Any]]:
    import torch
    from deploykit_exporters.families import families

    from deploykit.cli import main

    torch.set_num_threads(1)
    families()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        honest = Path(folder, "honest.pth")
        torch.save({"fc.weight": torch.ones(2, 2)}, honest)
        main(["inspect", str(honest)])
        for index, name in enumerate(names):
            path = ATTACKS[name](Path(folder, f"{index}.h5" if name.startswith("hdf5") else f"{index}.pth"))
            bytes_of = sum(one.stat().st_size for one in [path, *path.rglob("*")] if one.is_file())
            row = forked(partial(main, ["inspect", str(path)]))
            rows.append({"attack": name, "bytes": bytes_of, **row})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("names", nargs="*", default=list(ATTACKS))
    arguments = parser.parse_args()
    started = time.time()
    rows = measure(arguments.names)
    if arguments.json:
        print(json.dumps(rows))  # noqa: T201
        return
    table = ["| attack | kB | exit code | MB | s | words |", "|---|---|---|---|---|---|"]
    for row in rows:
        words = row["words"].splitlines()[0][:110] if row["words"] else ""
        values = (row["attack"], row["bytes"] >> 10, row["code"], row["mb"], row["seconds"], words)
        table.append(f"| {' | '.join(map(str, values))} |")
    print("\n".join(table))  # noqa: T201
    print(f"\n{len(rows)} files, {time.time() - started:.0f} s", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
