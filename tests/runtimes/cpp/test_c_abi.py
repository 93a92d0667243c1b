"""The C ABI, called by ctypes: the answers and the errors are those of the Python runtime."""

from __future__ import annotations

import ctypes
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import CALLBACK, Library, view
from deploykit_runtimes import load
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import DeploykitError, ModelError
from deploykit_runtimes.open import open_runner


@pytest.fixture(scope="module")
def library(build: Path, ort_library: Path) -> Library:
    found = Library(build / "libdeploykit.so")
    found.check(found.c.deploykit_use_onnxruntime(str(ort_library).encode()))
    return found


GOLDEN = ("logits", "half_nhwc", "yolo", "segment", "pose", "obb", "finished_masks", "foreign_ultralytics")


@pytest.mark.parametrize("name", GOLDEN)
def test_answers_of_many_photos(name: str, library: Library, golden: Path, photos, differences) -> None:
    path = golden / "cpp" / f"{name}.onnx"
    images = [photos[key] for key in ("cat", "flower_portrait", "cat_wide", "cat_small")]
    if name == "finished_masks":  # made for one size
        images = [np.ascontiguousarray(photos["cat"][:100, :150])]
    model = library.open(path)
    found = library.predict(model, images)
    library.c.deploykit_model_close(model)
    with load(path, threads=1) as predictor:
        wanted = [result.to_dict() for result in predictor.predict(images)]
    assert differences(found, wanted) == []


def test_options_are_followed(library: Library, golden: Path, photos, differences) -> None:
    model = library.open(golden / "cpp" / "yolo.onnx")
    (found,) = library.predict(model, [photos["cat"]], conf=0.5, iou=0.2, max_det=3)
    with load(golden / "cpp" / "yolo.onnx", threads=1) as predictor:
        wanted = predictor.predict(photos["cat"], conf=0.5, iou=0.2, max_det=3).to_dict()
    assert differences(found, wanted) == []
    library.c.deploykit_model_close(model)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("yolo", {"conf": 2.0}),
        ("yolo", {"iou": 1.5}),
        ("yolo", {"max_det": -1}),
        ("yolo", {"batch": 3}),
        ("yolo", {"imgsz": (128, 64)}),
        ("yolo", {"imgsz": (0, 64)}),
        ("top_k", {"top_k": 9}),
        ("top_k", {"imgsz": (64, 64)}),
        ("finished_detect", {"conf": 0.125}),
        ("finished_detect", {"iou": 0.125}),
        ("finished_detect", {"max_det": 9}),
    ],
)
def test_option_errors_have_pythons_text(
    model: str, options: dict[str, Any], library, golden, photos
) -> None:
    path = golden / "cpp" / f"{model}.onnx"
    with load(path, threads=1) as predictor, pytest.raises(DeploykitError) as wanted:
        predictor.predict(photos["cat"], **options)
    if "imgsz" in options:
        height, width = options["imgsz"]
        options = {"height": height, "width": width}
    handle = library.open(path)
    with pytest.raises(DeploykitError) as found:
        library.predict(handle, [photos["cat"]], **options)
    library.c.deploykit_model_close(handle)
    assert (found.value.exit_code, str(found.value)) == (wanted.value.exit_code, str(wanted.value))


@pytest.mark.parametrize(
    "options",
    [{"threads": -1}, {"goal": "speed"}, {"precision": "fp16"}, {"gpu": -1}],
    ids=lambda options: next(iter(options)),
)
def test_engine_options_are_refused_with_pythons_text(options: dict[str, Any], library, golden) -> None:
    with pytest.raises(DeploykitError) as wanted:
        EngineOptions(**options)
    with pytest.raises(DeploykitError) as found:
        library.open(golden / "cpp" / "yolo.onnx", **options)
    assert (found.value.exit_code, str(found.value)) == (wanted.value.exit_code, str(wanted.value))


@pytest.mark.parametrize("options", [{"goal": "throughput"}, {"precision": "auto"}, {"strict": 1}])
def test_engine_options_change_no_answer(
    options: dict[str, Any], library, golden: Path, photos, differences
) -> None:
    path = golden / "cpp" / "yolo.onnx"
    plain, chosen = library.open(path), library.open(path, **options)
    found, wanted = (library.predict(model, [photos["cat"]]) for model in (chosen, plain))
    assert differences(found, wanted) == []
    for model in (plain, chosen):
        library.c.deploykit_model_close(model)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_cannot_run_has_pythons_text(device: str, library, golden: Path) -> None:
    """What is asked for runs, or an error says why not; where there is a GPU both run."""
    path, outcomes = golden / "cpp" / "yolo.onnx", []
    for attempt in (
        lambda: load(path, runtime={"cuda": "ort-cuda", "tensorrt": "ort-trt"}[device]).close(),
        lambda: library.c.deploykit_model_close(library.open(path, device=device)),
    ):
        try:
            attempt()
            outcomes.append((0, ""))
        except DeploykitError as error:
            outcomes.append((error.exit_code, str(error)))
    assert outcomes[0] == outcomes[1]


def pixels_of(shape: tuple[int, ...], dtype: str = "float32", value: float = 0.5) -> np.ndarray:
    return np.full(shape, value, dtype)


FEEDS = {
    "none": {},
    "another name": {"image": pixels_of((1, 3, 64, 64))},
    "one too many": {"images": pixels_of((1, 3, 64, 64)), "more": pixels_of((1,))},
    "type": {"images": pixels_of((1, 3, 64, 64), "float64")},
    "bytes": {"images": pixels_of((1, 3, 64, 64), "uint8", 7)},
    "axes": {"images": pixels_of((3, 64, 64))},
    "batch": {"images": pixels_of((2, 3, 64, 64))},
    "size": {"images": pixels_of((1, 3, 32, 64))},
    "not finite": {"images": pixels_of((1, 3, 64, 64), value=float("nan"))},
    "infinite": {"images": pixels_of((1, 3, 64, 64), value=float("-inf"))},
}


@pytest.mark.parametrize("name", FEEDS)
def test_tensors_that_do_not_fit_are_refused_with_pythons_text(name: str, library, golden: Path) -> None:
    path = golden / "cpp" / "logits.onnx"
    with open_runner(path) as runner, pytest.raises(DeploykitError) as wanted:
        runner.infer(FEEDS[name])
    model = library.open(path)
    with pytest.raises(DeploykitError) as found:
        library.infer(model, FEEDS[name])
    library.c.deploykit_model_close(model)
    assert (found.value.exit_code, str(found.value)) == (wanted.value.exit_code, str(wanted.value))


@pytest.mark.parametrize("shape", [(1, 5000, 9, 3), (1, 9, 0, 3), (1, 9, 9, 4)])
def test_sizes_out_of_range_are_refused_with_pythons_text(shape, library, golden: Path) -> None:
    path, feeds = golden / "cpp" / "finished_detect.onnx", {"images": pixels_of(shape, "uint8", 1)}
    with open_runner(path) as runner, pytest.raises(DeploykitError) as wanted:
        runner.infer(feeds)
    model = library.open(path)
    with pytest.raises(DeploykitError) as found:
        library.infer(model, feeds)
    library.c.deploykit_model_close(model)
    assert (found.value.exit_code, str(found.value)) == (wanted.value.exit_code, str(wanted.value))


@pytest.mark.parametrize("name", ["logits", "finished_thresholds", "half_nhwc"])
def test_tensors_in_and_out(name: str, library, golden: Path) -> None:
    path = golden / "cpp" / f"{name}.onnx"
    with open_runner(path, threads=1) as runner:
        feeds = {
            info.name: pixels_of(tuple(n if isinstance(n, int) else 48 for n in info.shape), info.dtype)
            for info in runner.inputs
        }
        wanted = runner.infer(feeds)
    model = library.open(path)
    found = library.infer(model, feeds)
    library.c.deploykit_model_close(model)
    assert list(found) == list(wanted)
    for key, array in wanted.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)


HEADS = {
    "zip.onnx": b"PK\3\4 and more",
    "pickle.onnx": b"\x80\2}q",
    "keras.onnx": b"\x89HDF\r\n",
    "safetensors.onnx": b"\x20\0\0\0\0\0\0\0{}",
    "jpeg.onnx": b"\xff\xd8\xff\xe0",
    "bitmap.onnx": b"BM\1\2\3\4\0\0\0\0",
}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "name", ["missing.onnx", "text.onnx", "truncated.onnx", "folder.onnx", "empty.onnx", *HEADS]
)
def test_files_that_are_no_models(name: str, device: str, library, golden: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    whole = (golden / "cpp" / "logits.onnx").read_bytes()
    if name == "folder.onnx":
        path.mkdir()
    elif name != "missing.onnx":
        others = {"text.onnx": b"no model", "empty.onnx": b"", **HEADS}
        path.write_bytes(others.get(name, whole[: len(whole) // 2]))
    with pytest.raises(DeploykitError) as wanted:
        load(path, runtime={"cpu": "ort-cpu", "cuda": "ort-cuda"}[device])
    with pytest.raises(DeploykitError) as found:
        library.open(path, device=device)
    assert (found.value.exit_code, str(found.value)) == (wanted.value.exit_code, str(wanted.value))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("weights", ["missing", "empty", "a folder"])
def test_weights_beside_the_model(weights: str, device: str, library, golden: Path, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "model.onnx"
    proto = onnx.load(golden / "cpp" / "logits.onnx")
    onnx.save(proto, path, save_as_external_data=True, location="model.weights", size_threshold=0)
    beside = tmp_path / "model.weights"
    library.c.deploykit_model_close(library.open(path))
    beside.unlink()
    if weights == "empty":
        beside.touch()
    elif weights == "a folder":
        beside.mkdir()
    with pytest.raises(ModelError, match=r"keeps its weights in model\.weights, and") as wanted:
        load(path, runtime={"cpu": "ort-cpu", "cuda": "ort-cuda"}[device])
    with pytest.raises(DeploykitError) as found:
        library.open(path, device=device)
    assert (found.value.exit_code, str(found.value)) == (wanted.value.exit_code, str(wanted.value))


def test_damaged_metadata(library: Library, golden: Path, tmp_path: Path) -> None:
    """The contract of a file is checked when it is opened."""
    import onnx

    proto = onnx.load(golden / "cpp" / "logits.onnx")
    for entry in proto.metadata_props:
        if entry.key == "deploykit.preprocess.mean":
            entry.value = "0.5 half"
    onnx.save(proto, tmp_path / "damaged.onnx")
    with pytest.raises(ModelError) as wanted:
        load(tmp_path / "damaged.onnx")
    with pytest.raises(DeploykitError, match=r"deploykit\.preprocess\.mean") as found:
        library.open(tmp_path / "damaged.onnx")
    assert str(found.value) == str(wanted.value)


def test_asynchronous_calls(library: Library, golden: Path, photos) -> None:
    model = library.open(golden / "cpp" / "pose.onnx")
    (wanted,) = library.predict(model, [photos["cat"]])
    arrived, answers = threading.Semaphore(0), []

    @CALLBACK
    def done(_user: int, results: int, error: int) -> None:
        answers.append((json.loads(library.c.deploykit_result_json(ctypes.c_void_p(results), 0)), error))
        library.c.deploykit_results_free(ctypes.c_void_p(results))
        arrived.release()

    for _ in range(4):
        library.check(
            library.c.deploykit_predict_async(model, ctypes.byref(view(photos["cat"])), None, done, None)
        )
    for _ in range(4):
        assert arrived.acquire(timeout=300)
    library.c.deploykit_model_close(model)
    assert answers == [(wanted, None)] * 4
