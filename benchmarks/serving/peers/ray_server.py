"""Ray Serve: one replica per core, each with a session of one thread."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

CORES = len(os.sched_getaffinity(0))


@serve.deployment(num_replicas=CORES, ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=16)
class B0:
    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    async def __call__(self, request: Request) -> Response:
        tensor = np.frombuffer(await request.body(), np.float32).reshape(1, 3, 224, 224)
        output = self.session.run(None, {"images": tensor})[0]
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ray.init("local", num_cpus=CORES, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
        serve.run(B0.bind(sys.argv[1]), route_prefix="/predict")
        while True:
            time.sleep(1)
    finally:
        serve.shutdown()  # or else the replicas outlive this process by some seconds
        ray.shutdown()
