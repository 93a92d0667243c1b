"""Serving EfficientNet-B0 on this machine: `deploykit serve` and its peers against ONNX Runtime itself.

    python benchmarks/serving/compare.py [--seconds 4] [--rounds 3] [--peer fastapi=PYTHON ...] [--json FILE]

The load is that of wrk (https://github.com/wg/wrk, `apt-get install wrk`): 1, 4, 16 and 32 connections in a
closed loop, each request one float32 tensor [1, 3, 224, 224] (602 kB), on the same cores as the server;
every server runs the same ONNX file in ONNX Runtime. The ceiling is ONNX Runtime alone, in a process of
its own without server or client: the better of one caller with all threads and one caller per core with
one thread each. It is measured in every round, in which the servers take turns; shares of it are taken
within a round, and the table holds medians of the rounds.

A peer is run by the Python of an environment in which it is installed (``--peer litserve=.../python``, see
requirements-peers.txt), from the files in ``peers/``. One that is not named, or does not answer or answers
something else, is told as not run, with the reason. With ``--json`` the results so far are written after
each server, and a further call with the same file adds its rounds to them (``--servers`` takes some only).

    python benchmarks/serving/compare.py --soak 50000

sends so many requests to one server of a small model of the same input, and prints the server's memory.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
PEERS = ("fastapi", "litserve", "bentoml", "mlserver", "ray")
CLIENTS = (1, 4, 16, 32)
TENSOR = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
WARMUP_S = 1


@dataclass(frozen=True)
class Request:
    """What a server is asked.

    Attributes:
        path, headers, body: Of the request.
        read: The answer's body as logits.
    """

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    read: Callable[[bytes], np.ndarray] = lambda body: np.frombuffer(body[-4000:], np.float32)


def raw_request() -> Request:
    return Request("/predict", TENSOR.tobytes(), {"Content-Type": "application/octet-stream"})


def form_request() -> Request:
    edge = "edge-of-the-tensor"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="request"; filename="tensor"\r\n\r\n'
    body = head.encode() + TENSOR.tobytes() + f"\r\n--{edge}--\r\n".encode()
    return Request("/predict", body, {"Content-Type": f"multipart/form-data; boundary={edge}"})


def v2_request(model: str, *, binary: bool) -> Request:
    entry: dict[str, Any] = {"name": "images", "shape": list(TENSOR.shape), "datatype": "FP32"}
    path = f"/v2/models/{model}/infer"
    if not binary:
        document = {"inputs": [{**entry, "data": TENSOR.ravel().tolist()}]}
        headers = {"Content-Type": "application/json"}
        return Request(path, json.dumps(document).encode(), headers, _json_logits)
    entry["parameters"] = {"binary_data_size": TENSOR.nbytes}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Request(path, head + TENSOR.tobytes(), headers)


def _json_logits(body: bytes) -> np.ndarray:
    return np.array(json.loads(body)["outputs"][0]["data"], np.float32)


REQUESTS: dict[str, Callable[[], Request]] = {
    "deploykit": lambda: v2_request("b0", binary=True),
    "fastapi": raw_request,
    "litserve": form_request,
    "bentoml": raw_request,
    "mlserver": lambda: v2_request("b0", binary=False),
    "ray": raw_request,
}


def model(folder: Path) -> Path:
    import timm
    import torch

    from deploykit.api import export

    path = folder / "b0.pth"
    torch.save(
        {"arch": "efficientnet_b0", "state_dict": timm.create_model("efficientnet_b0").state_dict()}, path
    )
    return export(path, dynamic=["batch"]).path


def small_model(path: Path, folder: Path) -> Path:
    """A network of next to no work with the input, output and metadata of another."""
    whole = onnx.load(path)
    (image,), (logits,) = whole.graph.input, whole.graph.output
    nodes = [
        helper.make_node("GlobalAveragePool", [image.name], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [logits.name]),
    ]
    weights = numpy_helper.from_array(np.ones((3, 1000), np.float32), "weights")
    assert logits.type.tensor_type.elem_type == TensorProto.FLOAT
    graph = helper.make_graph(nodes, "small", [image], [logits], [weights])
    small = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    small.metadata_props.extend(whole.metadata_props)
    onnx.save(small, folder / "small.onnx")
    return folder / "small.onnx"


def ceiling(path: Path, seconds: float) -> dict[str, float]:
    """Rates of bare sessions, and the latency of one caller in milliseconds, from a process of its own."""
    command = [sys.executable, __file__, "--only-ceiling", "--model", str(path), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def bare_sessions(path: Path, seconds: float) -> dict[str, float]:
    cores = len(os.sched_getaffinity(0))
    found = {}
    for name, threads, callers in (("1 caller, all threads", cores, 1), ("1 thread per caller", 1, cores)):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        if callers > 1:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {"images": TENSOR})
        counts: list[int] = [0] * callers
        times: list[float] = []
        started = time.perf_counter()
        end = started + seconds
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


def wrk(port: int, request: Request, *, clients: int, seconds: float, folder: Path) -> dict[str, float]:
    """What wrk saw: requests per second, and latencies in milliseconds."""
    (folder / "body").write_bytes(request.body)
    lines = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "30s", "--latency"),
            *("-s", str(HERE / "post.lua"), f"http://127.0.0.1:{port}{request.path}"),
        ],
        env={**os.environ, "BODY": str(folder / "body"), "HEADERS": lines},
        capture_output=True,
        text=True,
        check=True,
    )
    if wrong := re.search(r"(Non-2xx.*|Socket errors.*)", done.stdout):
        raise RuntimeError(wrong.group())
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate is not None, done.stdout
    found = {"per_second": float(rate.group(1))}
    for share in (50, 99):
        time_ = re.search(rf"\b{share}%\s+([\d.]+)(us|ms|s)\b", done.stdout)
        assert time_ is not None, done.stdout
        found[f"p{share}_ms"] = float(time_.group(1)) * {"us": 1e-3, "ms": 1, "s": 1e3}[time_.group(2)]
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def command_of(name: str, path: Path, port: int, pythons: dict[str, str]) -> list[str]:
    if name == "deploykit":
        return [sys.executable, "-m", "deploykit", "serve", f"b0={path}", "--port", str(port), "--no-grpc"]
    return [pythons[name], str(HERE / "peers" / f"{name}_server.py"), str(path), str(port)]


@contextmanager
def started(name: str, command: Sequence[str], port: int, request: Request) -> Iterator[tuple[int, bytes]]:
    """A server that answers; its process, and its first answer."""
    env = {**os.environ, **({} if name == "deploykit" else {"OMP_NUM_THREADS": "1"})}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 90
            while (answer := first_answer(port, request)) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    last = log.read().decode(errors="replace").strip().splitlines()[-1:]
                    raise RuntimeError(f"it does not answer: {''.join(last)[:200]}")
                time.sleep(0.3)
            yield process.pid, answer
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """The whole group, which may have lost its first process already."""
    for number, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def first_answer(port: int, request: Request) -> bytes | None:
    """None: there is no server yet, or it says that it is not ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", request.path, request.body, request.headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status == 200:
        return body
    if response.status in (404, 503):  # Ray's and MLServer's while they load
        return None
    raise RuntimeError(f"it answers {response.status}: {body[:200]!r}")


def measure(
    name: str, path: Path, pythons: dict[str, str], seconds: float, folder: Path
) -> dict[str, dict[str, float]]:
    request = REQUESTS[name]()
    port = free_port()
    with started(name, command_of(name, path, port, pythons), port, request) as (_, answer):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        wanted = session.run(None, {"images": TENSOR})[0][0]
        del session
        difference = float(np.abs(request.read(answer) - wanted).max() / np.abs(wanted).max())
        if difference > 1e-3:
            raise RuntimeError(f"it answers something else, by {difference:g} of the largest logit")
        wrk(port, request, clients=max(CLIENTS), seconds=WARMUP_S, folder=folder)
        return {
            str(clients): wrk(port, request, clients=clients, seconds=seconds, folder=folder)
            for clients in CLIENTS
        }


def report(rounds: list[dict[str, Any]], failures: dict[str, str]) -> None:
    best = [max(rate for name, rate in one["ceiling"].items() if name != "latency_ms") for one in rounds]
    alone = [one["ceiling"]["latency_ms"] for one in rounds]
    print(
        f"{len(rounds)} rounds; ceiling {statistics.median(best):.1f}/s, "
        f"one caller alone {statistics.median(alone):.2f} ms"
    )
    for name in ("deploykit", *PEERS):
        mine = [
            (one["servers"][name], top, solo)
            for one, top, solo in zip(rounds, best, alone, strict=True)
            if name in one["servers"]
        ]
        for clients in map(str, CLIENTS) if mine else ():
            rows = [(row[clients], top, solo) for row, top, solo in mine]
            rate, p50, p99 = (
                statistics.median(row[key] for row, *_ in rows) for key in ("per_second", "p50_ms", "p99_ms")
            )
            share = statistics.median(row["per_second"] / top for row, top, _ in rows)
            added = statistics.median(row["p50_ms"] - solo for row, _, solo in rows)
            print(
                f"{name:10} {clients:>3} clients: {rate:6.1f}/s = {100 * share:5.1f} % of the ceiling, "
                f"p50 {p50:7.2f} ms, p99 {p99:7.2f} ms"
                + (f", adds {added:+.2f} ms to one caller alone" if clients == "1" else "")
            )
        if not mine:
            print(f"{name:10} not run: {failures.get(name, 'no --peer names its Python')}")


def soak(path: Path, requests: int, folder: Path) -> None:
    small = small_model(path, folder)
    request, port = v2_request("b0", binary=True), free_port()
    command = command_of("deploykit", small, port, {})
    with started("deploykit", command, port, request) as (pid, _):
        done = 0
        wrk(port, request, clients=16, seconds=WARMUP_S, folder=folder)
        print(f"{done:7} requests: {resident_mb(pid):.1f} MB")
        while done < requests:
            load = wrk(port, request, clients=16, seconds=10, folder=folder)
            done += int(10 * load["per_second"])
            print(f"{done:7} requests: {resident_mb(pid):.1f} MB, {load['per_second']:.0f}/s", flush=True)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", help="Names, with commas between; all that can be run if left out.")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--model", type=Path, help="An EfficientNet-B0; exported anew if left out.")
    parser.add_argument("--json", type=Path, help="Results; those that it holds already are added to.")
    parser.add_argument("--soak", type=int, metavar="REQUESTS")
    parser.add_argument("--only-ceiling", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_ceiling:
        print(json.dumps(bare_sessions(args.model, args.seconds)))
        return
    if shutil.which("wrk") is None:
        parser.error("wrk makes the load, and is not installed: apt-get install wrk")
    pythons = dict(peer.split("=", 1) for peer in args.peer)
    names = args.servers.split(",") if args.servers else ["deploykit", *pythons]
    found: dict[str, Any] = {"rounds": [], "failures": {}}
    if args.json and args.json.is_file():
        found = json.loads(args.json.read_text())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = args.model or model(folder)
        if args.soak:
            soak(path, args.soak, folder)
            return
        for turn in range(args.rounds):
            one: dict[str, Any] = {"ceiling": ceiling(path, args.seconds), "servers": {}}
            found["rounds"].append(one)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                try:
                    one["servers"][name] = measure(name, path, pythons, args.seconds, folder)
                except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                    found["failures"][name] = str(error)
                if args.json:
                    args.json.write_text(json.dumps(found, indent=1))
                print(f"round {turn + 1}: {name} done", file=sys.stderr)
    report(found["rounds"], found["failures"])


if __name__ == "__main__":
    main()
