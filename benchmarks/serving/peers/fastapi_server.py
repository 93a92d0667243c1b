"""FastAPI with uvicorn: one process, as many calls as cores in a thread pool, one thread each.

Faster than as many uvicorn workers as cores, each with a session of one thread: these share connections, not
requests.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request, Response

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
app = FastAPI()


def run(body: bytes) -> bytes:
    tensor = np.frombuffer(body, np.float32).reshape(1, 3, 224, 224)
    return session.run(None, {"images": tensor})[0].tobytes()


@app.post("/predict")
async def predict(request: Request) -> Response:
    body = await request.body()
    content = await asyncio.get_running_loop().run_in_executor(pool, run, body)
    return Response(content, media_type="application/octet-stream")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
