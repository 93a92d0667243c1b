"""Serving EfficientNet-B0 on this machine: `deploykit serve` and its peers against ONNX Runtime itself.

    python benchmarks/serving/compare.py [--seconds 6] [--rounds 3] [--peer fastapi=PYTHON ...] [--json FILE]

One process each for the server and the client, on the same cores. The client keeps 1, 4, 16 and 32
connections busy in a closed loop, with one float32 tensor [1, 3, 224, 224] (602 kB) as its request; every
server runs the same ONNX file in ONNX Runtime. The ceiling is ONNX Runtime in a process of its own without
a server: the better of one caller with all threads and one caller per core with one thread each. Servers
are measured in turns, whose order changes from round to round; the table holds medians of the rounds.

A peer is run by the Python of an environment in which it is installed (``--peer litserve=.../python``), from
the files in ``peers/``; one that is not named is told as not run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from client import Load, closed_loop

HERE = Path(__file__).parent
PEERS = ("fastapi", "litserve", "bentoml", "mlserver", "ray")
CLIENTS = (1, 4, 16, 32)
TENSOR = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)


def model(folder: Path) -> Path:
    import timm
    import torch

    from deploykit.api import export

    path = folder / "b0.pth"
    torch.save(
        {"arch": "efficientnet_b0", "state_dict": timm.create_model("efficientnet_b0").state_dict()}, path
    )
    return export(path, dynamic=["batch"]).path


def ceiling(path: Path, seconds: float) -> dict[str, float]:
    """Rates of bare sessions, and the latency of one caller, in milliseconds."""
    cores = len(os.sched_getaffinity(0))
    found = {}
    for name, threads, callers in (("1 caller, all threads", cores, 1), ("1 thread per caller", 1, cores)):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        if callers > 1:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        counts: list[int] = [0] * callers
        times: list[float] = []
        end = time.perf_counter() + seconds

        session.run(None, {"images": TENSOR})
        started = time.perf_counter()
        workers = [
            threading.Thread(target=_call, args=(session, end, counts, n, times)) for n in range(callers)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found[name] = sum(counts) / (time.perf_counter() - started)
        if callers == 1:
            found["latency_ms"] = 1e3 * statistics.median(times)
    return found


def _call(session: Any, end: float, counts: list[int], n: int, times: list[float]) -> None:
    while (started := time.perf_counter()) < end:
        session.run(None, {"images": TENSOR})
        counts[n] += 1
        times.append(time.perf_counter() - started)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def v2_request(path: str) -> bytes:
    entry = {"name": "images", "shape": list(TENSOR.shape), "datatype": "FP32"}
    entry["parameters"] = {"binary_data_size": TENSOR.nbytes}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    body = head + TENSOR.tobytes()
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(head)}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def raw_request(path: str) -> bytes:
    body = TENSOR.tobytes()
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@contextmanager
def started(command: list[str], port: int, request: bytes, env: dict[str, str]) -> Iterator[None]:
    """A server that answers a first request."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                load = closed_loop(port, request, clients=1, seconds=0.2)
                if load.latencies and not load.errors:
                    break
            except (OSError, ConnectionError):  # a TimeoutError among them
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command} does not answer.") from None
            time.sleep(0.3)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def servers(path: Path, pythons: dict[str, str]) -> dict[str, Callable[[int], tuple[list[str], bytes]]]:
    """For each server: a port to its command and the request it takes."""

    def deploykit(port: int) -> tuple[list[str], bytes]:
        command = [sys.executable, "-m", "deploykit", "serve", f"b0={path}", "--port", str(port), "--no-grpc"]
        return command, v2_request("/v2/models/b0/infer")

    def peer(name: str) -> Callable[[int], tuple[list[str], bytes]]:
        def run(port: int) -> tuple[list[str], bytes]:
            command = [pythons[name], str(HERE / "peers" / f"{name}_server.py"), str(path), str(port)]
            v2 = name == "mlserver"
            return command, v2_request("/v2/models/b0/infer") if v2 else raw_request("/predict")

        return run

    return {"deploykit": deploykit, **{name: peer(name) for name in PEERS if name in pythons}}


def check_answer(port: int, request: bytes, path: Path) -> float:
    """Largest difference of the server's answer from ONNX Runtime's; the last 4000 bytes are the logits."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        while len(body) < length:
            body += connection.recv(65536)
    found = np.array(struct.unpack("<1000f", body[-4000:]))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return float(np.abs(found - session.run(None, {"images": TENSOR})[0][0]).max())


def measure(path: Path, pythons: dict[str, str], rounds: int, seconds: float) -> dict[str, Any]:
    runs: dict[str, dict[int, list[Load]]] = {}
    ceilings = []
    for turn in range(rounds):
        ceilings.append(ceiling(path, seconds))
        sides = list(servers(path, pythons).items())
        for name, side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
            port = free_port()
            command, request = side(port)
            env = {"OMP_NUM_THREADS": "1"} if name != "deploykit" else {}
            with started(command, port, request, env):
                difference = check_answer(port, request, path)
                if difference > 1e-4:
                    raise RuntimeError(f"{name} answers something else, by {difference}.")
                for clients in CLIENTS:
                    load = closed_loop(port, request, clients=clients, seconds=seconds, warmup=1.0)
                    if load.errors:
                        raise RuntimeError(f"{name} failed {load.errors} times.")
                    runs.setdefault(name, {}).setdefault(clients, []).append(load)
            print(f"round {turn + 1}: {name} done", file=sys.stderr)
    best = statistics.median(
        max(value for key, value in one.items() if key != "latency_ms") for one in ceilings
    )
    alone = statistics.median(one["latency_ms"] for one in ceilings)
    table = {
        name: {
            clients: {
                "per_second": statistics.median(load.rate for load in loads),
                "p50_ms": statistics.median(load.percentile(0.5) for load in loads),
                "p99_ms": statistics.median(load.percentile(0.99) for load in loads),
                "of_ceiling": statistics.median(load.rate for load in loads) / best,
            }
            for clients, loads in by_clients.items()
        }
        for name, by_clients in runs.items()
    }
    return {"ceiling_per_second": best, "alone_ms": alone, "ceilings": ceilings, "servers": table}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--model", type=Path, help="An EfficientNet-B0; exported anew if left out.")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pythons = dict(peer.split("=", 1) for peer in args.peer)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.model or model(Path(folder)), pythons, args.rounds, args.seconds)
    print(f"ceiling {found['ceiling_per_second']:.1f}/s, one caller alone {found['alone_ms']:.2f} ms")
    for name, by_clients in found["servers"].items():
        for clients, row in by_clients.items():
            extra = f", adds {row['p50_ms'] - found['alone_ms']:.2f} ms" if clients == 1 else ""
            share = f"{row['per_second']:6.1f}/s = {100 * row['of_ceiling']:5.1f} % of the ceiling"
            times = f"p50 {row['p50_ms']:7.2f} ms, p99 {row['p99_ms']:7.2f} ms"
            print(f"{name:10} {clients:3} clients: {share}, {times}{extra}")
    for name in PEERS:
        if name not in pythons:
            print(f"{name:10} not run")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
