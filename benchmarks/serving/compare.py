"""Serving EfficientNet-B0 on this machine: `deploykit serve` and its peers against ONNX Runtime itself.

    python benchmarks/serving/compare.py [--seconds 4] [--rounds 3] [--peer fastapi=PYTHON ...] [--json FILE]

The load is that of wrk (https://github.com/wg/wrk, `apt-get install wrk`), for all alike: 1, 4, 16 and 32
connections in a closed loop, each request one float32 tensor [1, 3, 224, 224] (602 kB), on the same cores as
the server; every server runs the same ONNX file in ONNX Runtime. How the tensor travels is said in the table:
as bytes where a server takes them. The ceiling is ONNX Runtime alone, in a process of its own without server
or client (ceiling.py): the better of one caller with all threads and one caller per core with one thread
each. It is measured in every round, in which the servers take turns; shares of it are taken within a round,
and the table holds medians of the rounds.

A peer is run by the Python of an environment in which it is installed (``--peer litserve=.../python``, see
requirements-peers.txt), from the files in ``peers/``. One that is not named, or does not answer or answers
something else, is reported as not run, with the reason.

``--json`` holds the rounds so far, written after each server. With ``--resume`` they count, and the same
command goes on where the last one was ended; ``--servers`` takes some of the servers only.

    python benchmarks/serving/compare.py --soak 50000

sends that many requests to one server of a small model of the same input, and prints the server's memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ceiling import TENSOR
from load import Request, wrk
from servers import PEERS, REQUESTS, ask, command_of, free_port, logits, started
from soak import soak

NAMES = ("deploykit", *PEERS)
CLIENTS = (1, 4, 16, 32)
WARMUP_S = 1
FAILURES = (RuntimeError, ValueError, LookupError, OSError, subprocess.SubprocessError)

Round = dict[str, Any]
"""{"ceiling": of ceiling.py, "servers": {name: {clients: of wrk}}, "not_run": {name: reason}}"""


def export_model(folder: Path) -> Path:
    import timm
    import torch

    from deploykit.api import export

    path = folder / "b0.pth"
    torch.save(
        {"arch": "efficientnet_b0", "state_dict": timm.create_model("efficientnet_b0").state_dict()}, path
    )
    return export(path, dynamic=["batch"]).path


def ceiling(path: Path, seconds: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).with_name("ceiling.py")), str(path), str(seconds)]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def measure(name: str, path: Path, pythons: Mapping[str, str], seconds: int, folder: Path) -> dict[str, Any]:
    """Of one server, by the number of clients. Raises one of FAILURES."""
    request, port = REQUESTS[name](), free_port()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"images": TENSOR})[0][0]
    del session
    with started(command_of(name, path, port, pythons), port, request) as (_, answer):
        check(answer, request, wanted)
        wrk(port, request, clients=max(CLIENTS), seconds=WARMUP_S, folder=folder)
        found = {
            str(clients): wrk(port, request, clients=clients, seconds=seconds, folder=folder)
            for clients in CLIENTS
        }
        check(ask(port, request), request, wanted)
    return found


def check(answer: bytes | None, request: Request, wanted: np.ndarray) -> None:
    if answer is None:
        raise RuntimeError("it answers no more after the load")
    found = logits(answer, request)
    if found.shape != wanted.shape:
        raise RuntimeError(f"it answers {found.shape}, not {wanted.shape} logits")
    difference = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    if not difference <= 1e-3:
        raise RuntimeError(f"it answers something else, by {difference:g} of the largest logit")


def left_of(rounds: Sequence[Round], names: Sequence[str], wanted: int) -> dict[str, int]:
    """How many rounds each server still lacks."""
    return {name: wanted - sum(name in one["servers"] for one in rounds) for name in names}


def run(args: argparse.Namespace, rounds: list[Round], folder: Path) -> None:
    """Rounds until every server was measured, or tried, as often as wanted."""
    pythons = dict(peer.split("=", 1) for peer in args.peer)
    path = args.model or export_model(folder)
    left = left_of(rounds, args.servers, args.rounds)
    while names := [name for name, times in left.items() if times > 0]:
        one: Round = {"ceiling": ceiling(path, args.seconds), "servers": {}, "not_run": {}}
        turn = len(rounds) % len(names)
        rounds.append(one)
        for name in names[turn:] + names[:turn]:
            left[name] -= 1
            try:
                one["servers"][name] = measure(name, path, pythons, args.seconds, folder)
            except FAILURES as error:
                one["not_run"][name] = str(error)
            if args.json:
                save(rounds, args.json)
            print(f"round {len(rounds)}: {name} {one['not_run'].get(name, 'done')}", file=sys.stderr)


def save(rounds: list[Round], path: Path) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(json.dumps({"rounds": rounds}, indent=1))
    unfinished.replace(path)


def report(rounds: Sequence[Round], names: Sequence[str]) -> None:
    best = [max(rate for name, rate in one["ceiling"].items() if name != "latency_ms") for one in rounds]
    alone = [one["ceiling"]["latency_ms"] for one in rounds]
    if rounds:
        print(
            f"{len(rounds)} rounds; ceiling {statistics.median(best):.1f}/s, "
            f"one caller alone {statistics.median(alone):.2f} ms"
        )
    for name in names:
        mine = [
            (one["servers"][name], top, solo)
            for one, top, solo in zip(rounds, best, alone, strict=True)
            if name in one["servers"]
        ]
        for clients in map(str, CLIENTS) if mine else ():
            print(row(name, clients, [(found[clients], top, solo) for found, top, solo in mine]))
        reasons = [one["not_run"][name] for one in rounds if name in one.get("not_run", {})]
        if reasons:
            print(f"{name:10} not run{f' in {len(reasons)} rounds' if mine else ''}: {reasons[-1]}")


def row(name: str, clients: str, samples: Sequence[tuple[dict[str, float], float, float]]) -> str:
    """A line of the table, from wrk's figures with the round's ceiling and latency of one caller alone."""
    rate, p50, p99 = (
        statistics.median(found[key] for found, *_ in samples) for key in ("per_second", "p50_ms", "p99_ms")
    )
    share = statistics.median(found["per_second"] / top for found, top, _ in samples)
    line = (
        f"{name:10} {REQUESTS[name]().sent:9} {clients:>3} clients: {rate:6.1f}/s = {100 * share:5.1f} % of "
        f"the ceiling, p50 {p50:7.2f} ms, p99 {p99:7.2f} ms"
    )
    if clients != "1":
        return line
    added = statistics.median(found["p50_ms"] - solo for found, _, solo in samples)
    return f"{line}, adds {added:+.2f} ms to one caller alone"


def names_of(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted(set(names) - set(NAMES)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(NAMES)}")
    return names


def options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=4, help="Of each number of clients.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", type=names_of, default=list(NAMES), help="Names, with commas between.")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--model", type=Path, help="An EfficientNet-B0; exported anew if left out.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Keeps the rounds.")
    parser.add_argument("--resume", action="store_true", help="The rounds that --json holds count.")
    parser.add_argument("--soak", type=int, nargs="?", const=50_000, metavar="REQUESTS")
    return parser, parser.parse_args()


def main() -> None:
    parser, args = options()
    if shutil.which("wrk") is None:
        parser.error("wrk makes the load, and is not installed: apt-get install wrk")
    if args.resume and not args.json:
        parser.error("--resume wants the --json that holds the rounds")
    if args.json and args.json.exists() and not args.resume:
        parser.error(f"{args.json} exists: --resume adds to it")
    if wrong := [peer for peer in args.peer if peer.partition("=")[0] not in PEERS or "=" not in peer]:
        parser.error(f"--peer {wrong[0]}: NAME=PYTHON is wanted, NAME being one of {', '.join(PEERS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; no server is left behind"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if args.soak:
            soak(args.model or export_model(folder), args.soak, folder)
            return
        rounds: list[Round] = []
        if args.resume and args.json.exists():
            rounds = json.loads(args.json.read_text())["rounds"]
        run(args, rounds, folder)
    report(rounds, args.servers)


if __name__ == "__main__":
    main()
