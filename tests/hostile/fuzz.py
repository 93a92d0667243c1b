"""Damage honest files in random places and read them: python tests/hostile/fuzz.py [--count N] [READER ...]

Each reader gets an honest file, of which bytes are flipped, cut, repeated, exchanged or replaced by extreme
numbers; files in archives are damaged inside. What comes back must be a result, or one of our errors with the
reader's exit code, within 5 s and 200 MB. Children do the work, so that a crash is found, and a growth in
memory; the seed and the number of a file make it again. ``--record FILE`` adds a line for each reader to a
file, and ``--table FILE`` prints those lines as docs/attacks.md has them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from readers import Reader, readers

MEMORY_MB = 200
SECONDS = 5
BATCH = 1000
EXTREMES = (0, 1, -1, 127, 255, 2**15, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**62, 2**63 - 1)
TEXTS = (
    b"nan",
    b"1e400",
    b"-1",
    b"[]",
    b"{}",
    b"null",
    b'"',
    b"'",
    b"\\ud800",
    b"\x1b]0;a\x07",
    b"9" * 400,
    b"[" * 300,
)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One to eight changes, mostly near each other."""
    data = bytearray(content)
    near = chance.randrange(len(data)) if data else 0
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = min(max(near + chance.randrange(-64, 65), 0), len(data)) if chance.random() < 0.7 else near
        kind = chance.randrange(7)
        length = chance.choice((1, 2, 4, 8, 16, 64, 300))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + length] = b""
        elif kind == 2:
            data[at:at] = data[at : at + length] * chance.choice((1, 2, 50))
        elif kind == 3:
            data[at : at + length] = bytes(chance.randrange(256) for _ in range(length))
        elif kind == 4:
            form = chance.choice(("<i", "<q", ">i", "<h"))
            value = chance.choice(EXTREMES) & ((1 << 8 * struct.calcsize(form)) - 1)
            data[at : at + struct.calcsize(form)] = struct.pack(form.upper(), value)
        elif kind == 5:
            data[at : at + chance.choice((0, 1, 4))] = chance.choice(TEXTS)
        elif chance.random() < 0.2:
            del data[at:]
        near = chance.randrange(len(data)) if data and chance.random() < 0.3 else near
    return bytes(data)


@dataclass
class Tally:
    """What became of the damaged files of a reader.

    Attributes:
        reader: Its name.
        seed: Which makes the same files again.
        read: Files that were taken.
        refused: Files that were refused in words.
        faults: What was neither, or took too much.
        slowest: Seconds of processor time for one file.
        peak_mb: Memory of a child, above that of the honest file.
        seconds: Processor time of all children.
    """

    reader: str
    seed: str
    read: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak_mb: int = 0
    seconds: float = 0.0

    def add(self, record: dict[str, Any]) -> None:
        self.refused += record["refused"]
        self.read += not record["refused"]
        self.slowest = max(self.slowest, record["s"])
        self.peak_mb = max(self.peak_mb, record["mb"])
        self.seconds += record["s"]
        if record["fault"]:
            self.note(record["seed"], record["fault"])

    def note(self, number: int, fault: str) -> None:
        self.faults.append(f"seed {self.seed!r} number {number}: {fault}")


class TooSlowError(BaseException):
    """A file took more processor time than any may. No reader catches it."""


def _stop(_signum: int, _frame: FrameType | None) -> None:
    raise TooSlowError


def damaged_file(reader: Reader, name: str, seed: str, number: int) -> bytes:
    return reader.repack(damaged(reader.content, random.Random(f"{name} {seed} {number}")))


def _records(reader: Reader, tally: Tally, numbers: range, path: Path) -> Iterator[dict[str, Any]]:
    """In the child: one record per damaged file."""
    from deploykit_runtimes.errors import DeploykitError

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _stop)
    base = _peak_kb()
    for number in numbers:
        path.write_bytes(damaged_file(reader, tally.reader, tally.seed, number))
        before, started = _peak_kb(), time.process_time()
        fault, refused = "", False
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            reader.read(path)
        except DeploykitError as error:
            refused = True
            if error.exit_code != reader.exit_code:
                fault = f"exit code {error.exit_code}: {str(error)[:200]}"
        except TooSlowError:
            fault = f"more than {SECONDS} s"
        except Exception as error:  # noqa: BLE001 - what the fuzzer looks for
            fault = f"{type(error).__name__}: {str(error)[:200]}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        taken = time.process_time() - started
        grown = (_peak_kb() - before) >> 10
        if grown > MEMORY_MB:
            fault = fault or f"{grown} MB"
        yield {
            "seed": number,
            "fault": fault,
            "refused": refused,
            "s": taken,
            "mb": (_peak_kb() - base) >> 10,
        }


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fuzz(name: str, reader: Reader, *, count: int, seed: str, folder: Path) -> Tally:
    """Read ``count`` damaged files in children of this process; after a crash a new one goes on behind it."""
    tally = Tally(name, seed)
    path = folder / f"damaged{reader.suffix}"
    path.write_bytes(reader.repack(reader.content))
    reader.read(path)  # honest, and all modules are loaded
    start = 0
    while start < count:
        numbers = range(start, min(start + BATCH, count))
        records, code = _in_child(reader, tally, numbers, path)
        for record in records:
            tally.add(record)
        start += len(records)
        if len(records) < len(numbers):
            tally.note(start, f"the process died ({code})")
            start += 1
    return tally


def _in_child(reader: Reader, tally: Tally, numbers: range, path: Path) -> tuple[list[dict[str, Any]], int]:
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if child == 0:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
            for record in _records(reader, tally, numbers, path):
                os.write(told.fileno(), json.dumps(record).encode() + b"\n")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        told.seek(0)
        return [json.loads(line) for line in told.read().splitlines()], os.waitstatus_to_exitcode(status)


def table(tallies: list[dict[str, Any]]) -> str:
    """Lines of Markdown; runs of one reader with different seeds are added up."""
    lines = [
        "| reader | files | seeds | refused | faults | seconds | slowest | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(each["reader"] for each in tallies):
        runs = [each for each in tallies if each["reader"] == name]
        refused, taken = (sum(each[key] for each in runs) for key in ("refused", "read"))
        cells = [
            name,
            f"{refused + taken:,}",
            ", ".join(dict.fromkeys(each["seed"] for each in runs)),
            f"{refused:,}",
            str(sum(len(each["faults"]) for each in runs)),
            f"{sum(each['seconds'] for each in runs):.0f}",
            f"{max(each['slowest'] for each in runs):.2f} s",
            f"{max(each['peak_mb'] for each in runs)} MB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.table:
        print(table([json.loads(line) for line in arguments.table.read_text().splitlines()]))  # noqa: T201
        return
    torch.set_num_threads(1)  # OpenMP's threads do not come along into a child, which would wait for them
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        made = readers(Path(folder))
        for name in arguments.names or list(made):
            tally = fuzz(name, made[name](), count=arguments.count, seed=arguments.seed, folder=Path(folder))
            print(  # noqa: T201
                f"{name}: seed {tally.seed}, {tally.read} read, {tally.refused} refused, {len(tally.faults)} "
                f"faults, at most {tally.peak_mb} MB, slowest {tally.slowest:.2f} s ({tally.seconds:.0f} s)",
                *tally.faults[:20],
                sep="\n    ",
                flush=True,
            )
            if arguments.record:
                with arguments.record.open("a") as record:
                    record.write(json.dumps(asdict(tally)) + "\n")
            failed = failed or bool(tally.faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
