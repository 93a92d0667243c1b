"""Write small models of every output layout, and what the Python runtime answers for them.

    python tests/golden/make_cpp.py

The C++ tests run the same models and compare the documents. ``cpp/index.txt`` has one block of
``key<TAB>value`` lines per case, blocks end with an empty line:

    model     file
    image     file of ``preprocess/``, height, width: raw uint8 RGB [H, W, 3]
    outputs   what the outputs are declared to mean; may be missing
    answer    file: the JSON document of the result

``cpp/foreign_errors.txt`` has blocks with ``problem`` and ``hint`` instead of the answer.

``cpp/metadata.txt`` has blocks of a changed key, its value (``-`` for none), and the error that it gives.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from cpp_foreign import foreign_cases, wrong_cases
from cpp_models import NAMES, Case, graph_of, head, spec
from deploykit_runtimes import load
from deploykit_runtimes.contract.metadata import spec_from_metadata, spec_to_metadata
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess, Task
from deploykit_runtimes.errors import DeploykitError, ModelError
from onnx import save_model

FOLDER = Path(__file__).parent / "cpp"
IMAGES = {"cat_wide.rgb": (100, 150), "astronaut_tall.rgb": (120, 81)}


def padding_heads() -> np.ndarray:
    """Detections over the padding above an image, which shows nothing of their masks: one with a mask in
    the tensor, and one without; and one with a mask in the image."""
    rows = np.zeros((1, 4 + len(NAMES) + 4, 3), np.float32)
    rows[0, :4] = np.array([[20, 4, 16, 6], [44, 4, 16, 6], [32, 32, 30, 20]]).T
    rows[0, 4:7] = np.array([[0.8, 0, 0], [0, 0.7, 0], [0, 0, 0.6]])
    rows[0, 7:] = [1, -1, 1]
    return rows


def raw_spec(task: Task, output: OutputSpec) -> ModelSpec:
    """A graph that takes raw pixels and returns finished answers in pixels of the image."""
    free = {axis: AxisRange(min=1, max=4096) for axis in ("height", "width")}
    return spec(
        task,
        output,
        replace(spec(task, output).preprocess, included=True),
        input=InputSpec(height=64, width=64, layout="NHWC", dtype="uint8", dynamic=free),
        network=InputSpec(height=64, width=64),
    )


def finished(count: int = 3) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array([[[5, 6, 60, 70], [10.5, 20, 140, 90], [0, 0, 30, 33], [0] * 4]], np.float32),
        "scores": np.array([[0.9, 0.8, 0.3, 0]], np.float32),
        "classes": np.array([[2, 0, 7, -1]], np.int64),
        "count": np.array([count], np.int64),
    }


def upright(rotated: np.ndarray) -> np.ndarray:
    """The boxes [N, K, 4] around rotated ones [N, K, 5]: centre, sides, angle in radians."""
    exact = rotated.astype(np.float64)
    centre, half, angle = exact[..., :2], exact[..., 2:4] / 2, exact[..., 4:]
    cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    reach = half[..., :1] * np.concatenate([cos, sin], 2) + half[..., 1:] * np.concatenate([sin, cos], 2)
    return np.concatenate([centre - reach, centre + reach], 2).astype(np.float32)


def masks() -> np.ndarray:
    values = np.zeros((1, 4, 100, 150), np.uint8)
    values[0, 0, 10:60, 8:50] = 1
    values[0, 1, 25:, 20:140:3] = 1
    return values


def cases() -> list[Case]:
    rng = np.random.default_rng(7)
    found = ("boxes", "scores", "classes", "count")
    square = Preprocess(resize="short", resize_to=(70,), crop=(64, 64), interpolation="bicubic")
    yolo = OutputSpec(names=("output0",), layout="yolo")
    grid = rng.normal(0, 1, (1, 84, 8)).astype(np.float32)
    grid[..., 4:] = rng.uniform(0, 0.95, (1, 84, 4))
    rows = np.concatenate([head().transpose(0, 2, 1)[..., :4], rng.uniform(0, 1, (1, 40, 2))], 2)
    rows[..., 5] = rng.integers(0, 3, (1, 40))
    flat = np.concatenate([np.zeros((20, 1)), rng.uniform(0, 64, (20, 6))], 1).astype(np.float32)
    flat[:, 5], flat[:, 6] = rng.integers(0, 3, 20), rng.uniform(0, 1, 20)
    segments = OutputSpec(names=("output0", "output1"), layout="yolo", mask_channels=4)
    prototypes = rng.normal(0, 1, (1, 4, 16, 16)).astype(np.float32)
    rotated = np.random.default_rng(8).uniform(0.5, 60, (1, 4, 5)).astype(np.float32)
    return [
        Case(
            name="logits",
            spec=spec(
                "classify", OutputSpec(names=("logits",), layout="logits", activation="softmax"), square
            ),
            outputs={"logits": np.array([[0.5, 2.25, -1]], np.float32)},
        ),
        Case(
            name="classify_free",
            spec=spec(
                "classify",
                OutputSpec(names=("scores",), layout="probabilities"),
                Preprocess(resize="short", resize_to=(64,), crop=(64, 64)),
                origin="ultralytics",
                input=InputSpec(
                    height=64,
                    width=64,
                    dynamic={axis: AxisRange(min=32, max=256) for axis in ("height", "width")},
                ),
            ),
            outputs={"scores": np.array([[0.5, 0.2, 0.3]], np.float32)},
        ),
        Case(
            name="half_nhwc",
            spec=spec(
                "classify",
                OutputSpec(names=("logits",), layout="logits", activation="sigmoid"),
                replace(square, color="bgr", interpolation="lanczos"),
                input=InputSpec(height=64, width=64, layout="NHWC", dtype="float16"),
            ),
            outputs={"logits": np.array([[0.5, 2.25, -1]], np.float16)},
            image="astronaut_tall.rgb",
        ),
        Case(
            name="features",
            spec=spec(
                "features", OutputSpec(names=("map", "tokens"), layout="features"), classes=(), num_classes=0
            ),
            outputs={
                "map": rng.normal(0, 1, (1, 2, 3, 4)).astype(np.float32),
                "tokens": rng.normal(0, 1, (1, 5, 6)).astype(np.float32),
            },
        ),
        Case(name="yolo", spec=spec("detect", yolo), outputs={"output0": head()}),
        Case(
            name="yolo_agnostic",
            spec=spec("detect", replace(yolo, class_agnostic=True, iou=0.3, max_det=5)),
            outputs={"output0": head(seed=3)},
            image="astronaut_tall.rgb",
        ),
        Case(
            name="yolov5_grid",
            spec=spec(
                "detect", OutputSpec(names=("output0",), layout="yolov5", decoded=False, strides=(8, 16, 32))
            ),
            outputs={"output0": grid},
        ),
        Case(
            name="end2end",
            spec=spec("detect", OutputSpec(names=("output0",), layout="end2end", nms=True)),
            outputs={"output0": rows.astype(np.float32)},
        ),
        Case(
            name="end2end_flat",
            spec=spec("detect", OutputSpec(names=("output0",), layout="end2end_flat", nms=True)),
            outputs={"output0": flat},
        ),
        Case(
            name="segment",
            spec=spec("segment", segments),
            outputs={"output0": head(4), "output1": prototypes},
        ),
        Case(
            name="segment_tall",
            spec=spec("segment", segments),
            outputs={"output0": head(4, seed=5), "output1": prototypes},
            image="astronaut_tall.rgb",
        ),
        Case(
            name="segment_padding",
            spec=spec("segment", segments),
            outputs={"output0": padding_heads(), "output1": np.ones((1, 4, 16, 16), np.float32)},
        ),
        Case(
            name="pose",
            spec=spec("pose", replace(yolo, keypoints=(5, 3))),
            outputs={"output0": head(15, seed=1) * np.float32(1.5)},
        ),
        Case(name="obb", spec=spec("obb", yolo), outputs={"output0": head(1, seed=2)}),
        Case(
            name="top_k",
            spec=raw_spec(
                "classify", OutputSpec(names=("probabilities", "classes"), layout="top_k", top_k=3)
            ),
            outputs={
                "probabilities": np.array([[0.6, 0.3, 0.1]], np.float32),
                "classes": np.array([[1, 2, 0]], np.int64),
            },
        ),
        Case(
            name="finished_detect",
            spec=raw_spec("detect", OutputSpec(names=found, layout="detections", nms=True, max_det=4)),
            outputs=finished(),
        ),
        Case(
            name="finished_thresholds",
            spec=raw_spec(
                "detect",
                OutputSpec(
                    names=found, layout="detections", nms=True, max_det=4, runtime_thresholds=True, conf=0.5
                ),
            ),
            outputs=finished(),
        ),
        Case(
            name="finished_masks",
            spec=raw_spec(
                "segment", OutputSpec(names=(*found, "masks"), layout="detections", nms=True, max_det=4)
            ),
            outputs={**finished(2), "masks": masks()},
        ),
        Case(
            name="finished_prototypes",
            spec=raw_spec(
                "segment",
                OutputSpec(
                    names=(*found, "mask_coefficients", "prototypes"),
                    layout="detections",
                    nms=True,
                    max_det=4,
                    mask_channels=4,
                ),
            ),
            outputs={
                **finished(),
                "mask_coefficients": rng.normal(0, 1, (1, 4, 4)).astype(np.float32),
                "prototypes": prototypes,
            },
        ),
        Case(
            name="finished_pose",
            spec=raw_spec(
                "pose",
                OutputSpec(
                    names=(*found, "keypoints"), layout="detections", nms=True, max_det=4, keypoints=(5, 3)
                ),
            ),
            outputs={**finished(), "keypoints": rng.uniform(-5, 120, (1, 4, 5, 3)).astype(np.float32)},
        ),
        Case(
            name="finished_obb",
            spec=raw_spec(
                "obb", OutputSpec(names=(*found, "rotated_boxes"), layout="detections", nms=True, max_det=4)
            ),
            outputs={**finished(), "boxes": upright(rotated), "rotated_boxes": rotated},
            little=0,  # the boxes are those around the rotated ones
        ),
        *foreign_cases(),
    ]


def answer(case: Case) -> dict[str, object]:
    pixels = np.fromfile(FOLDER.parent / "preprocess" / case.image, np.uint8)
    with load(FOLDER / f"{case.name}.onnx", threads=1, outputs=case.declared or None) as model:
        return model.predict(pixels.reshape(*IMAGES[case.image], 3)).to_dict()


CHANGES = {
    "deploykit.format": ("-", "2", ""),
    "deploykit.task": ("-", "guess"),
    "deploykit.input.height": ("-", "tall", "1.5", "64 64", ""),
    "deploykit.input.layout": ("HWCN",),
    "deploykit.input.dynamic.height": ("32 640", "640 32 32", "0 1 1", "a b c"),
    "deploykit.input.dynamic.depth": ("1 2 3",),
    "deploykit.preprocess.crop": ("1", "1 2 3"),
    "deploykit.preprocess.resize": ("it's",),
    "deploykit.preprocess.mean": ("0.5 x", "nan 0 0", "inf 0 0"),
    "deploykit.output.layout": ("-", "other\nthing"),
    "deploykit.output.keypoints": ("17",),
    "deploykit.num_classes": ("5",),
}


def metadata_errors() -> list[str]:
    blocks = []
    valid = spec_to_metadata(cases()[0].spec)
    for key, values in CHANGES.items():
        for value in values:
            changed = {**valid, key: value}
            if value == "-":
                del changed[key]
            try:
                spec_from_metadata(changed)
            except ModelError as error:
                lines = {"key": key, "value": value, "problem": error.problem, "hint": error.hint}
                text = "".join(
                    f"{name}\t{entry.replace(chr(10), chr(92) + 'n')}\n" for name, entry in lines.items()
                )
                blocks.append(text)
            else:
                raise AssertionError(f"{key}={value!r} is taken")
    return blocks


def answer_errors() -> list[str]:
    """What is said of each model that must be refused."""
    errors = []
    for case in wrong_cases():
        try:
            answer(case)
        except DeploykitError as error:
            errors.append(f"{_block(case)}problem\t{error.problem}\nhint\t{error.hint}\n")
        else:
            raise AssertionError(f"{case.name} is answered")
    return errors


def _block(case: Case) -> str:
    height, width = IMAGES[case.image]
    declared = f"outputs\t{case.declared}\n" if case.declared else ""
    return f"model\t{case.name}.onnx\nimage\t{case.image} {height} {width}\n{declared}"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    blocks = []
    for case in cases():
        save_model(graph_of(case), FOLDER / f"{case.name}.onnx")
        (FOLDER / f"{case.name}.json").write_text(json.dumps(answer(case), ensure_ascii=False) + "\n")
        blocks.append(f"{_block(case)}answer\t{case.name}.json\n")
    (FOLDER / "index.txt").write_text("\n".join(blocks) + "\n")
    for case in wrong_cases():
        save_model(graph_of(case), FOLDER / f"{case.name}.onnx")
    (FOLDER / "foreign_errors.txt").write_text("\n".join(answer_errors()) + "\n")
    (FOLDER / "metadata.txt").write_text("\n".join(metadata_errors()) + "\n")
    sys.stdout.write(f"{len(blocks)} models in {FOLDER}\n")


if __name__ == "__main__":
    main()
