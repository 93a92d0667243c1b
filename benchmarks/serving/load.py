"""The load: wrk (https://github.com/wg/wrk), which takes less of the cores it shares than a Python client."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Request:
    """What a server is asked.

    Attributes:
        sent: What the body is, in words.
        path, body, headers: Of the POST request.
    """

    sent: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def wrk(port: int, request: Request, *, clients: int, seconds: int, folder: Path) -> dict[str, float]:
    """A closed loop of ``clients`` connections: requests, "per_second", and latencies in milliseconds.

    Returns after the server had time for the requests that wrk leaves unanswered at its end: a server that
    answers them nevertheless would do so on the time of what is measured next.

    Raises:
        RuntimeError: A request failed, or none was answered.
        subprocess.CalledProcessError: wrk failed.
    """
    (folder / "body").write_bytes(request.body)
    lines = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency"),
            *("-s", str(SCRIPT), f"http://127.0.0.1:{port}{request.path}"),
        ],
        env={**os.environ, "BODY": str(folder / "body"), "HEADERS": lines},
        capture_output=True,
        text=True,
        check=True,
    )
    found = read(done.stdout)
    time.sleep(2e-3 * found["p99_ms"])
    return found


def read(report: str) -> dict[str, float]:
    """The figures of wrk's report.

    Raises:
        RuntimeError: wrk reports requests that failed, or that there were none.
    """
    if wrong := re.search(r"Non-2xx.*|Socket errors.*", report):
        raise RuntimeError(f"under load: {wrong.group()}")
    count = re.search(r"(\d+) requests in", report)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if count is None or rate is None or count.group(1) == "0":
        raise RuntimeError("under load: no request was answered")
    found = {"requests": float(count.group(1)), "per_second": float(rate.group(1))}
    for share in (50, 99):
        latency = re.search(rf"\b{share}%\s+([\d.]+)(us|ms|s|m)\b", report)
        if latency is None:
            raise RuntimeError(f"wrk told no latency of {share} %: {report}")
        found[f"p{share}_ms"] = float(latency.group(1)) * MILLISECONDS[latency.group(2)]
    return found
