"""Memory of `deploykit serve` over many requests, as large as those for EfficientNet-B0."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import onnx
from load import wrk
from onnx import helper, numpy_helper
from servers import command_of, free_port, started, v2_binary

CLIENTS = 16


def small_model(path: Path, folder: Path) -> Path:
    """A network of next to no work with the input, output and metadata of another."""
    whole = onnx.load(path)
    (image,), (scores,) = whole.graph.input, whole.graph.output
    nodes = [
        helper.make_node("GlobalAveragePool", [image.name], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [scores.name]),
    ]
    weights = numpy_helper.from_array(np.ones((3, 1000), np.float32), "weights")
    graph = helper.make_graph(nodes, "small", [image], [scores], [weights])
    small = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    small.metadata_props.extend(whole.metadata_props)
    onnx.save(small, folder / "small.onnx")
    return folder / "small.onnx"


def soak(path: Path, requests: int, folder: Path) -> None:
    """Print the resident memory of a server at every quarter of the requests."""
    small = small_model(path, folder)
    request, port = v2_binary(), free_port()
    with started(command_of("deploykit", small, port, {}), port, request) as (pid, _):
        rate = wrk(port, request, clients=CLIENTS, seconds=1, folder=folder)["per_second"]
        done = 0
        print(f"  0 %, {done:7} requests: {resident_mb(pid):.1f} MB", flush=True)
        for quarter in (1, 2, 3, 4):
            while (left := requests * quarter / 4 - done) > 0:
                seconds = min(60, math.ceil(left / rate))
                load = wrk(port, request, clients=CLIENTS, seconds=seconds, folder=folder)
                done, rate = done + int(load["requests"]), load["per_second"]
            print(
                f"{25 * quarter:3} %, {done:7} requests: {resident_mb(pid):.1f} MB, {rate:.0f}/s", flush=True
            )


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
