"""MLServer: a custom runtime of the Open Inference Protocol, in its process, with calls in threads.

Its REST side has no binary tensors. The tensor comes as base64 in a BYTES input (MLServer's own codec), which
it reads much faster than 150,528 numbers in JSON; the answer is JSON. Its workers in processes of their own
(`parallel_workers`) are off: those of 1.7.1 do not start with uvloop 0.23.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import uvloop
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class B0(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
        self.pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (body,) = self.decode(payload.inputs[0], default_codec=Base64Codec)
        loop = asyncio.get_running_loop()
        output = await loop.run_in_executor(self.pool, self.run, body)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", output)])

    def run(self, body: bytes) -> np.ndarray:
        tensor = np.frombuffer(body, np.float32).reshape(1, 3, 224, 224)
        return self.session.run(None, {"images": tensor})[0]


async def main() -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=int(sys.argv[2]),
        grpc_port=0,
        metrics_port=0,
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
    )
    server = MLServer(settings)
    await server.start([ModelSettings(name="b0", implementation=B0)])


if __name__ == "__main__":
    uvloop.run(main())  # as MLServer's own command does
