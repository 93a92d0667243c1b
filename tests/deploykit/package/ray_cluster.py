"""Drives a packaged Ray Serve application on a cluster of two nodes, and prints what happened as JSON.

    python ray_cluster.py FOLDER IMAGE

A process of its own, so that nothing of the cluster outlives it and every wait has an end.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Otherwise Ray replaces 127.0.0.1 by the address of the machine's network.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
import yaml
from PIL import Image
from ray import serve
from ray.cluster_utils import Cluster

THREADS, REQUESTS = 16, 75
HEADER_LENGTH = "Inference-Header-Content-Length"
TIMEOUT = 300.0  # seconds, for each thing waited for


def main(folder: Path, image: Path) -> None:
    config = yaml.safe_load((folder / "serve.yaml").read_text())
    application = config["applications"][0]
    address = (config["http_options"]["host"], config["http_options"]["port"])
    node = {"num_cpus": 1, "object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        command = [sys.executable, "-m", "ray.serve.scripts", "run", "--non-blocking"]
        command += ["--address", cluster.address, "--working-dir", str(folder), str(folder / "serve.yaml")]
        subprocess.run(command, check=True, timeout=TIMEOUT, stdout=sys.stderr)
        ray.init(address=cluster.address, log_to_driver=False)
        client = Client(address, application["route_prefix"])
        deployed(application["name"])
        told = {**answers(client, image.read_bytes()), **scenario(application["name"], client)}
        sys.stdout.write(json.dumps(told))
    finally:
        ray.shutdown()
        for each in (*cluster.worker_nodes, cluster.head_node):
            each.kill_all_processes(check_alive=False, allow_graceful=True)


def deployed(name: str) -> None:
    wait_for(lambda: str(serve.status().applications[name].status), lambda status: "RUNNING" in status)


def answers(client: Client, image: bytes) -> dict[str, Any]:
    """Good and bad requests, each with the status and body of its answer."""
    rows = np.linspace(0, 1, 2 * 3 * 32 * 32, dtype=np.float32).reshape(2, 3, 32, 32)
    one_by_one = [client.infer(row[None]) for row in rows]
    text = base64.b64encode(image).decode()
    import tritonclient.http as triton

    tensor = triton.InferInput("images", rows.shape, "FP32")
    tensor.set_data_from_numpy(rows)
    with triton.InferenceServerClient(client.address) as standard:
        logits = standard.infer(client.name, [tensor]).as_numpy("logits")
        packed = standard.infer(client.name, [tensor], request_compression_algorithm="gzip")
    boundary = b"--x\r\nContent-Disposition: form-data; name=image; filename=cat.jpg\r\n\r\n"
    good = {
        "metadata": client.send("GET", ""),
        "ready": client.send("GET", "/ready"),
        "infer one by one": (one_by_one[0][0], [answer[1][0] for answer in one_by_one]),
        "infer batch": client.infer(rows),
        "infer bare": (200, [client.bare(row[None]) for row in rows]),
        "tritonclient": (200, logits.tolist()),
        "tritonclient packed": (200, packed.as_numpy("logits").tolist()),
        "predict bytes": client.send("POST", "/predict", image),
        "predict form": client.send(
            "POST",
            "/predict?id=seven",
            boundary + image + b"\r\n--x--\r\n",
            {"Content-Type": "multipart/form-data; boundary=x"},
        ),
        "predict base64": client.send(
            "POST",
            "/predict",
            json.dumps({"images": [text, f"data:image/jpeg;base64,{text}"]}).encode(),
            {"Content-Type": "application/json"},
        ),
        "predict packed": client.send("POST", "/predict", gzip.compress(image), {"Content-Encoding": "gzip"}),
        "predict drawn": (200, client.drawn(image)),
    }
    body, headers = request(rows)
    classified = {"name": "logits", "parameters": {"classification": 3}}
    refused = {
        "shape": client.send("POST", "/infer", *request(rows[:, :, :16])),
        "json": client.send("POST", "/infer", b"{"),
        "image": client.send("POST", "/predict", b"no image"),
        "empty": client.send("POST", "/predict", b""),
        "option": client.send("POST", "/predict?confidence=1", image),
        "nested": client.send("POST", "/infer", in_json(rows, shape=[2, 3 * 32 * 32])),
        "id": client.send("POST", "/infer", in_json(rows, {"id": 7})),
        "bytes": client.send("POST", "/infer", in_json(rows, datatype="BYTES")),
        "left out": client.send("POST", "/infer", in_json(rows, {"outputs": [classified]})),
        # Shorter than a single image waits for others to share its run.
        "late": client.send("POST", "/infer", in_json(rows[:1], {"parameters": {"timeout": 1}})),
        "header length": client.send("POST", "/infer", body, {**headers, HEADER_LENGTH: "-1"}),
        "twice": client.send("POST", "/predict?conf=0.1&conf=0.2", image),
        "media type": client.send("POST", "/predict", image, {"Content-Type": "text/plain"}),
        "too many": client.send(
            "POST",
            "/predict",
            json.dumps({"images": ["YWJj"] * 33}).encode(),
            {"Content-Type": "application/json"},
        ),
        "path": client.send("GET", "/secret"),
        "method": client.send("GET", "/infer"),
    }
    return {"answers": good, "refused": refused, "good after bad": client.infer(rows)}


def scenario(name: str, client: Client) -> dict[str, Any]:
    """Load from several threads, and the busier one of two replicas killed in the middle of it."""
    handle = serve.get_deployment_handle("Model", name)
    before = wait_for(lambda: replicas(handle), lambda found: len(found) == 2)
    load = Load(client)
    load.start()
    wait_for(load.done, lambda done: done >= THREADS * REQUESTS // 4)
    busy = replicas(handle)
    # A proxy prefers the replica on its own node: the other one may have nothing under way.
    victim = max(busy, key=lambda pid: busy[pid]["runs"])
    os.kill(victim, signal.SIGSTOP)  # until it surely has requests under way
    time.sleep(0.5)
    os.kill(victim, signal.SIGKILL)
    killed_after = load.done()
    load.join()
    after = wait_for(lambda: replicas(handle), lambda found: len(set(found) - {victim}) == 2)
    return {
        "threads": THREADS,
        "total": THREADS * REQUESTS,
        "nodes": sorted({place["node"] for place in before.values()}),
        "replaced_by": sorted(set(after) - set(before)),
        "runs_at_kill": [place["runs"] for place in busy.values()],
        "killed_after": killed_after,
        "load": dict(load.answers),
        "problems": load.problems[:5],
        "retried": dict(load.retried),
        "resubmitted": load.resubmitted,
        "seconds": load.seconds,
    }


def replicas(handle: Any) -> dict[int, dict[str, Any]]:
    """What each replica that answers says of itself, by its process."""
    found: dict[int, dict[str, Any]] = {}
    for _ in range(20):
        try:
            place = handle.where.remote().result(timeout_s=TIMEOUT)
        except ray.exceptions.RayError:
            continue
        found[place["pid"]] = place
    return found


def wait_for(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + TIMEOUT
    while not good(found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {TIMEOUT} s, found {found}")
        time.sleep(0.1)
    return found


class Client:
    """One connection to an application, opened again where it broke."""

    def __init__(self, address: tuple[str, int], route: str) -> None:
        self._address, self._route = address, route
        self.resubmitted = 0
        self.address, self.name = f"{address[0]}:{address[1]}", route.rpartition("/")[2]
        self._connection = http.client.HTTPConnection(*address, timeout=TIMEOUT)

    def another(self) -> Client:
        return Client(self._address, self._route)

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status, and the JSON of the body, or its text."""
        response, text = self._exchange(method, path, body, headers or {})
        kind = response.getheader("Content-Type", "")
        return response.status, json.loads(text) if "json" in kind else text.decode(errors="replace")

    def bare(self, image: np.ndarray) -> list[float]:
        """The logits [3] of a body that is nothing but the tensor."""
        response, text = self._exchange("POST", "/infer", image.tobytes(), {HEADER_LENGTH: "0"})
        values: list[float] = np.frombuffer(text[int(response.headers[HEADER_LENGTH]) :], "<f4").tolist()
        return values

    def drawn(self, image: bytes) -> str:
        """The type of an answer that is drawn into its picture, in which it was found to be one."""
        response, content = self._exchange("POST", "/predict?format=image", image, {"Accept": "image/png"})
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
        return response.getheader("Content-Type", "")

    def _exchange(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            self._connection.request(method, self._route + path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        self.resubmitted += response.getheader("Deploykit-Attempts") is not None
        return response, content

    def infer(self, images: np.ndarray) -> tuple[int, Any]:
        """Status, and the logits [N, 3] or the error in their place."""
        status, answer = self.send("POST", "/infer", *request(images))
        if status != 200:
            return status, answer
        output = answer["outputs"][0]
        return status, np.reshape(output["data"], output["shape"]).tolist()


class Load:
    """Threads that send one request after the other; a request that fails is sent once more."""

    def __init__(self, client: Client) -> None:
        self._threads = [
            threading.Thread(target=self._work, args=(client.another(), n)) for n in range(THREADS)
        ]
        self._lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.retried: Counter[str] = Counter()
        self.resubmitted = 0
        self.problems: list[str] = []
        self.seconds = 0.0

    def start(self) -> None:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(2 * TIMEOUT)
        self.seconds = time.monotonic() - self._began

    def done(self) -> int:
        with self._lock:
            return self.answers.total()

    def _work(self, client: Client, seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(REQUESTS):
            image = generator.random((1, 3, 32, 32), np.float32)
            answer = self._send(client, image)
            with self._lock:
                self.answers[answer] += 1
            if answer != "200":
                again = self._send(client, image)
                with self._lock:
                    self.retried[again] += 1
        with self._lock:
            self.resubmitted += client.resubmitted

    def _send(self, client: Client, image: np.ndarray) -> str:
        try:
            status, told = client.infer(image)
        except (OSError, http.client.HTTPException) as error:
            status, told = type(error).__name__, str(error)
        if status == 200:
            return "200" if np.shape(told) == (1, 3) else "wrong"
        with self._lock:
            self.problems.append(str(told)[:200])
        return str(status)


def request(image: np.ndarray) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "images", "datatype": "FP32", "shape": list(image.shape)}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": image.nbytes}}]}).encode()
    return head + image.tobytes(), {HEADER_LENGTH: str(len(head))}


def in_json(images: np.ndarray, document: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """A request with nested lists, with members of its own and changes to those of its tensor."""
    tensor = {"name": "images", "datatype": "FP32", "shape": list(images.shape), "data": images.tolist()}
    return json.dumps({"inputs": [{**tensor, **changes}], **(document or {})}).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
