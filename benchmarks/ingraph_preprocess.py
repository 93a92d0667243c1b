"""Time of pre-processing inside the graph, as a share of the host pipeline's, on one photo.

    python benchmarks/ingraph_preprocess.py [--size 1080,810 ...] [--rounds 60] [--threads 2]

The graph runs alone in ONNX Runtime on the CPU, with the session options of ``deploykit_runtimes``, in
turns with ``deploykit_runtimes.pixels.preprocess``, which is Pillow, or numpy to the bit of OpenCV; for what
OpenCV resizes, also with OpenCV itself and numpy, where it is installed.

Two forms are timed, each in its own turns, since the threads of two sessions would be in each other's way:
the one that is exported, whose first operator is the cast, which every engine takes; and the one that
``deploykit_runtimes.ort.late_cast`` makes of it at load, which moves bytes and casts late.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import onnx
import onnxruntime
import onnxsim
import skimage.data
import torch
from deploykit_exporters.ingraph.preprocess import preprocess_module
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.ort.late_cast import cast_late
from deploykit_runtimes.pixels.preprocess import preprocess
from PIL import Image

SIDES = AxisRange(min=32, max=1280, step=32)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PIPELINES = {
    "short 256 bicubic, crop 224": Preprocess(
        resize="short", resize_to=(256,), crop=(224, 224), interpolation="bicubic", **IMAGENET
    ),
    "short 256 bilinear, crop 224": Preprocess(
        resize="short", resize_to=(256,), crop=(224, 224), interpolation="bilinear", **IMAGENET
    ),
    "TensorFlow crop, bicubic 224": Preprocess(
        pre_crop=0.875, resize="stretch", resize_to=(224, 224), interpolation="bicubic", **IMAGENET
    ),
    "YOLO letterbox 640": Preprocess(
        resize="letterbox", resize_to=(640, 640), resampler="opencv", pad_value=114, stride=32
    ),
}


def spec_of(how: Preprocess) -> ModelSpec:
    size = how.crop or (how.resize_to[0], how.resize_to[-1])
    return ModelSpec(
        task="features",
        family="any",
        variant="any",
        origin="any",
        input=InputSpec(
            height=size[0], width=size[1], dynamic={"height": SIDES, "width": SIDES} if how.stride else {}
        ),
        preprocess=how,
        output=OutputSpec(names=("tensor",), layout="features"),
    )


def session(spec: ModelSpec, *, late: bool, threads: int) -> onnxruntime.InferenceSession:
    buffer = io.BytesIO()
    module = preprocess_module(spec, size_is_dynamic=bool(spec.input.dynamic))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, 37, 53, 3, dtype=torch.uint8),),
            buffer,
            dynamo=False,
            opset_version=18,
            input_names=["images"],
            dynamic_axes={"images": [0, 1, 2]},
        )
    model, _ = onnxsim.simplify(onnx.load_from_string(buffer.getvalue()))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    graph = model.SerializeToString()
    if late and (rewritten := cast_late(graph, "images")) is not None:
        graph = rewritten
    return onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])


def interleaved(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 5):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if turn >= 5:
                samples[name].append(1e3 * (time.perf_counter() - start))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="+", default=["1080,810"], help="height,width of the photo")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    for name, how in PIPELINES.items():
        spec = spec_of(how)
        forms = {
            "cast first": session(spec, late=False, threads=arguments.threads),
            "cast late": session(spec, late=True, threads=arguments.threads),
        }
        for size in arguments.size:
            height, width = map(int, size.split(","))
            print(f"{name} ({height}x{width}, {arguments.threads} threads)")
            for form, graph in forms.items():
                report(form, graph, spec, photo_of(height, width), arguments.rounds)


def photo_of(height: int, width: int) -> np.ndarray:
    astronaut = Image.fromarray(skimage.data.astronaut())
    return np.asarray(astronaut.resize((width, height), Image.Resampling.BICUBIC))


def report(
    form: str, graph: onnxruntime.InferenceSession, spec: ModelSpec, photo: np.ndarray, rounds: int
) -> None:
    sides: dict[str, Callable[[], object]] = {
        "graph": lambda: graph.run(None, {"images": photo[None]}),
        "host": lambda: preprocess(photo, spec),
    }
    if spec.preprocess.resampler == "opencv" and find_spec("cv2") is not None:
        sides["cv2"] = partial(cv2_letterbox, photo, 640)
    samples = interleaved(sides, rounds)
    middle, best = ({side: of(times) for side, times in samples.items()} for of in (statistics.median, min))
    print(
        f"  {form:<11} median {middle['graph']:6.2f} / {middle['host']:6.2f} ms"
        f" = {middle['graph'] / middle['host']:.2f} of the host's"
        f"   best {best['graph']:6.2f} / {best['host']:6.2f} ms = {best['graph'] / best['host']:.2f}"
    )
    if "cv2" in middle:
        times = f"median {middle['cv2']:.2f}, best {best['cv2']:.2f} ms"
        print(f"  {'':<11} OpenCV itself, with its own threads: {times}")


def cv2_letterbox(photo: np.ndarray, side: int) -> np.ndarray:
    """As detectors are usually fed, the padding apart, which this photo needs none of."""
    import cv2

    scale = side / max(photo.shape[:2])
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    resized = cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR)
    tensor = np.ascontiguousarray(resized.transpose(2, 0, 1)).astype(np.float32)
    tensor /= 255
    return tensor


if __name__ == "__main__":
    main()
