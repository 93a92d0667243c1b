"""BentoML: one worker with one thread per core, each with a session call of one thread.

The tensor is the whole body, which BentoML hands over as a file (``body: Path, /``). As many workers of one
thread as there are cores are slower.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime

PATH = os.environ.get("B0_MODEL", "")


@bentoml.service(workers=1, threads=len(os.sched_getaffinity(0)))
class B0:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(PATH, options, providers=["CPUExecutionProvider"])

    @bentoml.api(route="/predict")
    def predict(self, body: Path, /) -> bytes:
        tensor = np.fromfile(body, np.float32).reshape(1, 3, 224, 224)
        return self.session.run(None, {"images": tensor})[0].tobytes()


if __name__ == "__main__":
    os.environ["B0_MODEL"] = sys.argv[1]
    os.chdir(Path(__file__).parent)
    command = [sys.executable, "-m", "bentoml", "serve", f"{Path(__file__).stem}:B0"]
    os.execv(sys.executable, [*command, "--port", sys.argv[2], "--host", "127.0.0.1"])
