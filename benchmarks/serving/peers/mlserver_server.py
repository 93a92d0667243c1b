"""MLServer: a custom runtime of the Open Inference Protocol, in its process, with calls in threads."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class B0(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
        self.pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        run = self.session.run
        loop = asyncio.get_running_loop()
        (output,) = await loop.run_in_executor(self.pool, run, None, {"images": tensor})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", output)])


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
    asyncio.run(main())
