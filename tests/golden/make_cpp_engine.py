"""Write what Python sets on an ONNX Runtime session, and where it keeps engines, for the C++ tests.

    python tests/golden/make_cpp_engine.py

``cpp/engine.txt`` has one block of ``key<TAB>value`` lines per case, blocks end with an empty line:

    options    device goal precision cuda_graph gpu threads
    input      name layout batch channels height width, then axis min max step of each dynamic axis
    weights    numpy type and number of values, in turns
    threads, session, cuda, tensorrt, precision, key, folder    what Python makes of them
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deploykit_runtimes.contract.spec import AxisRange, InputSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.machine.engine_cache import KEY_FILE, cache_folder
from deploykit_runtimes.ort.options import cuda_options, profile_shapes, session_settings, tensorrt_options
from deploykit_runtimes.ort.session import working_precision

FOLDER = Path(__file__).parent / "cpp"
FREE = {
    "batch": AxisRange(min=1, max=32),
    "height": AxisRange(min=64, max=640, step=32),
    "width": AxisRange(min=96, max=960, step=32),
}
RAW = {axis: AxisRange(min=16, max=4096) for axis in ("height", "width")}
FIXED = InputSpec(height=224, width=256)
DYNAMIC = InputSpec(name="x", height=320, width=320, batch=2, dynamic=FREE)
PIXELS = InputSpec(height=480, width=640, layout="NHWC", dtype="uint8", dynamic=RAW)

# Devices whose precision does not depend on the processor of the machine.
CASES = (
    ("cuda", EngineOptions(threads=3), FIXED, {"float32": 1000, "int64": 4000}),
    ("cuda", EngineOptions(threads=3, precision="auto"), FIXED, {"float32": 1000}),
    ("cuda", EngineOptions(threads=3, precision="auto"), DYNAMIC, {"float16": 900, "float32": 100}),
    ("tensorrt", EngineOptions(goal="throughput", cuda_graph=True), DYNAMIC, {"float16": 1000, "float32": 9}),
    ("tensorrt", EngineOptions(goal="throughput", gpu=1), PIXELS, {"int8": 50, "uint8": 40, "float32": 40}),
    ("cpu", EngineOptions(goal="throughput", threads=2), PIXELS, {"int8": 50, "float32": 60}),
    ("cpu", EngineOptions(threads=1), FIXED, {"bool": 8}),
)


def block(device: str, options: EngineOptions, image: InputSpec, weights: Mapping[str, int]) -> str:
    settings = session_settings(options)
    tensorrt = tensorrt_options(image, options, Path("/cache"))
    text, folder = key_of(image, options)
    ranges = [f"{axis} {r.min} {r.max} {r.step}" for axis, r in image.dynamic.items()]
    sizes = f"{image.name} {image.layout} {image.batch} {image.channels} {image.height} {image.width}"
    graph, threads = int(options.cuda_graph), options.threads or 0
    lines = {
        "options": f"{device} {options.goal} {options.precision} {graph} {options.gpu} {threads}",
        "input": " ".join([sizes, *ranges]),
        "weights": " ".join(f"{dtype} {count}" for dtype, count in weights.items()),
        "threads": str(settings.threads),
        "session": pairs(settings.entries),
        "cuda": pairs(cuda_options(options)),
        "tensorrt": pairs(tensorrt),
        "precision": working_precision(weights, device, options),
        "key": text.replace("\n", "\\n"),
        "folder": folder,
    }
    return "".join(f"{name}\t{value}\n" for name, value in lines.items())


def pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def key_of(image: InputSpec, options: EngineOptions) -> tuple[str, str]:
    """The key's document and the folder's name, as the TensorRT provider's engines are kept."""
    key = {
        "model": "abc",
        "onnxruntime": "1.32.0",
        "tensorrt": "10.16.1",
        "gpu": "NVIDIA L4 \N{TRADE MARK SIGN}",
        "capability": "8.9",
        "driver": "13.0",
        "profile": list(profile_shapes(image)),
        "cuda_graph": options.cuda_graph,
    }
    with tempfile.TemporaryDirectory() as root:
        with cache_folder(Path(root), key):
            pass
        (folder,) = Path(root).iterdir()
        text = (folder / KEY_FILE).read_text(encoding="utf-8")
    assert json.loads(text) == key
    return text, folder.name


def main() -> None:
    (FOLDER / "engine.txt").write_text("\n".join(block(*case) for case in CASES) + "\n")
    sys.stdout.write(f"{len(CASES)} cases in {FOLDER / 'engine.txt'}\n")


if __name__ == "__main__":
    main()
