"""LitServe: one worker per core, each with a session of one thread; the tensor comes as an uploaded file."""

import os
import sys

import litserve
import numpy as np
import onnxruntime
from fastapi import Response, UploadFile


class B0(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 - their signature
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: UploadFile) -> np.ndarray:
        return np.frombuffer(request.file.read(), np.float32).reshape(1, 3, 224, 224)

    def predict(self, tensor: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"images": tensor})[0]

    def encode_response(self, output: np.ndarray) -> Response:
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    server = litserve.LitServer(B0(), accelerator="cpu", workers_per_device=len(os.sched_getaffinity(0)))
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False)
