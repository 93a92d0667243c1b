from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.answers.results import Classification, Detections
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import InputError, ModelError, OptionError
from deploykit_runtimes.prediction.predictor import Predictor, Timings
from deploykit_runtimes.testing import FakeRunner
from PIL import Image

RED, GREEN, BLUE = (
    np.full((20, 30, 3), color, np.uint8) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
)


def mean_colour(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"logits": 10 * images.mean((2, 3))}


UP_TO_16 = AxisRange(min=1, max=16)


def make_spec(batch: AxisRange | None = UP_TO_16, **changes: object) -> ModelSpec:
    spec = ModelSpec(
        task="classify",
        family="any",
        variant="any",
        origin="any",
        input=InputSpec(height=8, width=8, batch=3, dynamic={"batch": batch} if batch else {}),
        preprocess=Preprocess(resize="stretch", resize_to=(8, 8)),
        output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
        classes=("red", "green", "blue"),
        num_classes=3,
    )
    return replace(spec, **changes)


def make_detector(dynamic: bool = True) -> ModelSpec:
    side = AxisRange(min=32, max=320, step=32)
    axes = {"batch": AxisRange(min=1, max=16), "height": side, "width": side}
    return make_spec(
        task="detect",
        input=InputSpec(height=64, width=64, dynamic=axes if dynamic else {}),
        preprocess=Preprocess(
            resize="letterbox", resize_to=(64, 64), resampler="opencv", pad_value=114, stride=32
        ),
        output=OutputSpec(names=("rows",), layout="end2end"),
    )


def whole_tensor(images: np.ndarray) -> dict[str, np.ndarray]:
    """One box over the middle half of every tensor."""
    height, width = images.shape[2:]
    row = [width / 4, height / 4, width * 3 / 4, height * 3 / 4, 0.9, 1]
    return {"rows": np.array([[row]] * len(images), np.float32)}


def test_one_image_gives_one_result_and_a_list_a_list(tmp_path) -> None:
    predictor = Predictor(FakeRunner(make_spec(), mean_colour))
    result = predictor.predict(RED)
    assert isinstance(result, Classification)
    assert result.label == "red"
    assert result.image_size == (20, 30)
    assert [entry.label for entry in predictor.predict([GREEN])] == ["green"]
    assert [entry.label for entry in predictor.predict((BLUE, RED))] == ["blue", "red"]
    assert predictor.predict([]) == []
    assert len(predictor.predict(RED, top_k=2).top) == 2


def test_images_are_batched_up_to_the_limit() -> None:
    runner = FakeRunner(make_spec(AxisRange(min=1, max=4)), mean_colour)
    labels = [result.label for result in Predictor(runner).predict([RED, GREEN, BLUE] * 3)]
    assert labels == ["red", "green", "blue"] * 3
    assert [len(feed) for feed in runner.feeds] == [4, 4, 1]
    Predictor(runner).predict([RED] * 3, batch=2)
    assert [len(feed) for feed in runner.feeds[3:]] == [2, 1]


def test_a_fixed_batch_is_filled_and_cut() -> None:
    runner = FakeRunner(make_spec(batch=None), mean_colour)
    labels = [result.label for result in Predictor(runner).predict([RED, GREEN, BLUE, GREEN])]
    assert labels == ["red", "green", "blue", "green"]
    assert [len(feed) for feed in runner.feeds] == [3, 3]
    assert not runner.feeds[1][1:].any()


def test_a_stepped_batch_is_filled_to_the_next_step() -> None:
    runner = FakeRunner(make_spec(AxisRange(min=2, max=8, step=2)), mean_colour)
    assert len(Predictor(runner).predict([RED, GREEN, BLUE])) == 3
    assert [len(feed) for feed in runner.feeds] == [4]


@pytest.mark.parametrize("batch", [0, 17])
def test_batches_out_of_range(batch) -> None:
    with pytest.raises(OptionError, match="batch"):
        Predictor(FakeRunner(make_spec(), mean_colour)).predict(RED, batch=batch)
    with pytest.raises(OptionError, match="fixed to 3"):
        Predictor(FakeRunner(make_spec(batch=None), mean_colour)).predict(RED, batch=8)


def test_mixed_sizes_keep_their_order() -> None:
    runner = FakeRunner(make_detector(), whole_tensor)
    wide, tall = np.zeros((40, 80, 3), np.uint8), np.zeros((80, 40, 3), np.uint8)
    results = Predictor(runner).predict([wide, tall, wide, wide])
    assert sorted(feed.shape for feed in runner.feeds) == [(1, 3, 64, 32), (3, 3, 32, 64)]
    assert [result.image_size for result in results] == [(40, 80), (80, 40), (40, 80), (40, 80)]
    for result in results:
        assert isinstance(result, Detections)
        height, width = result.image_size
        np.testing.assert_allclose(result.boxes, [[width / 4, height / 4, width * 0.75, height * 0.75]])


def test_imgsz_changes_the_tensor() -> None:
    runner = FakeRunner(make_detector(), whole_tensor)
    Predictor(runner).predict(np.zeros((50, 50, 3), np.uint8), imgsz=96)
    assert runner.feeds[0].shape == (1, 3, 96, 96)
    with pytest.raises(OptionError, match="fixed to 64"):
        Predictor(FakeRunner(make_detector(dynamic=False), whole_tensor)).predict(RED, imgsz=96)
    with pytest.raises(OptionError, match="in steps of 32"):
        Predictor(runner).predict(RED, imgsz=100)


@pytest.mark.parametrize("several", [iter, tuple, deque, lambda images: (image for image in images)])
def test_any_iterable_is_several_images(several: Callable[[list[np.ndarray]], Any]) -> None:
    results = Predictor(FakeRunner(make_spec(), mean_colour)).predict(several([RED, BLUE]))
    assert [result.label for result in results] == ["red", "blue"]


@pytest.mark.parametrize("source", [3, None, {"a": RED}])
def test_what_is_no_image_is_refused(source: Any) -> None:
    with pytest.raises(InputError):
        Predictor(FakeRunner(make_spec(), mean_colour)).predict(source)


def test_a_broken_image_names_itself(tmp_path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        Predictor(FakeRunner(make_spec(), mean_colour)).predict([RED, path])


def test_float_input_types_and_layouts() -> None:
    half = make_spec(input=InputSpec(height=8, width=8, dtype="float16"))
    runner = FakeRunner(half, mean_colour)
    assert Predictor(runner).predict(GREEN).label == "green"
    assert runner.feeds[0].dtype == np.float16

    last = make_spec(input=InputSpec(height=8, width=8, layout="NHWC"))
    runner = FakeRunner(last, lambda images: {"logits": 10 * images.mean((1, 2))})
    assert Predictor(runner).predict(BLUE).label == "blue"
    assert runner.feeds[0].shape == (1, 8, 8, 3)


def test_a_graph_that_prepares_images_itself_gets_them_raw() -> None:
    free = AxisRange(min=1, max=4096)
    spec = make_spec(
        input=InputSpec(
            height=20,
            width=30,
            layout="NHWC",
            dtype="uint8",
            dynamic={"batch": free, "height": free, "width": free},
        ),
        preprocess=Preprocess(included=True, resize="stretch", resize_to=(8, 8)),
    )
    runner = FakeRunner(spec, lambda images: {"logits": images.mean((1, 2)) / 25})
    results = Predictor(runner).predict([RED, RED[:10], GREEN])
    assert [result.label for result in results] == ["red", "red", "green"]
    assert [feed.shape for feed in runner.feeds] == [(2, 20, 30, 3), (1, 10, 30, 3)]


def test_timings() -> None:
    predictor = Predictor(FakeRunner(make_spec(), mean_colour))
    results, timings = predictor.predict_timed([RED, GREEN])
    assert [result.label for result in results] == ["red", "green"]
    assert isinstance(timings, Timings)
    assert timings.infer_ms > 0
    assert timings.decode_ms >= 0


def test_colours_that_contradict_the_channels() -> None:
    with pytest.raises(ModelError, match="takes 1 channels, but its pre-processing makes rgb images of 3"):
        Predictor(FakeRunner(make_spec(input=InputSpec(height=8, width=8, channels=1)), mean_colour))


def test_closing() -> None:
    runner = FakeRunner(make_spec(), mean_colour)
    with Predictor(runner) as predictor:
        assert predictor.runner is runner
        assert predictor.spec is runner.spec
        assert predictor.placement().engine == "fake"
    assert runner.closed
    with pytest.raises(InputError, match="closed"):
        predictor.predict(RED)


def test_the_fake_runner_checks_its_feeds() -> None:
    runner = FakeRunner(make_spec(), mean_colour)
    with pytest.raises(InputError, match="float64"):
        runner.infer({"images": np.zeros((1, 3, 8, 8))})
    assert [str(info) for info in runner.inputs] == ["images float32 [batch, 3, 8, 8]"]
    assert [info.name for info in runner.outputs] == ["logits"]


def test_threads_do_not_share_their_input_tensors() -> None:
    import threading

    model = Predictor(FakeRunner(make_spec(), mean_colour))
    shades = range(0, 240, 30)
    images = {shade: np.full((40, 40, 3), shade, np.uint8) for shade in shades}
    expected = {shade: model.predict(image).to_dict() for shade, image in images.items()}
    wrong: list[int] = []

    def work(shade: int) -> None:
        answers = [model.predict(images[shade]).to_dict() for _ in range(40)]
        wrong.extend(shade for answer in answers if answer != expected[shade])

    threads = [threading.Thread(target=work, args=(shade,)) for shade in shades]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("batch", [UP_TO_16, None])
def test_the_two_halves_give_the_whole(batch: AxisRange | None) -> None:
    predictor = Predictor(FakeRunner(make_spec(batch), mean_colour))
    prepared = [predictor.prepare(image, top_k=2) for image in (RED, GREEN)]
    outputs = [predictor.runner.infer(each.feeds) for each in prepared]
    results = [predictor.read(each, output) for each, output in zip(prepared, outputs, strict=True)]
    assert [result.to_dict() for result in results] == [
        result.to_dict() for result in predictor.predict([RED, GREEN], top_k=2)
    ]
    assert all(each.decode_ms >= 0 and each.preprocess_ms > 0 for each in prepared)


def test_what_is_prepared_stays_as_it_is() -> None:
    predictor = Predictor(FakeRunner(make_spec(), mean_colour))
    first = predictor.prepare(RED).feeds["images"].copy()
    prepared = predictor.prepare(RED)
    predictor.prepare(BLUE)
    predictor.predict(GREEN)
    np.testing.assert_array_equal(prepared.feeds["images"], first)


@pytest.mark.parametrize("option", [{"top_k": 0}, {"conf": 1.5}, {"imgsz": 64}])
def test_options_are_checked_before_an_image_is_prepared(option: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Predictor(FakeRunner(make_spec(), mean_colour)).prepare(RED, **option)


def test_pre_processing_of_infinite_numbers_is_refused() -> None:
    spec = make_spec(preprocess=Preprocess(resize="stretch", resize_to=(8, 8), mean=(np.inf, 0.0, 0.0)))
    with pytest.raises(ModelError, match="finite"):
        Predictor(FakeRunner(spec, mean_colour)).predict(RED)


def test_calling_the_model_is_predicting(tmp_path: Path) -> None:
    model = Predictor(FakeRunner(make_spec(), mean_colour))
    assert model(RED).to_dict() == model.predict(RED).to_dict()
    assert [result.label for result in model([RED, BLUE], top_k=1)] == ["red", "blue"]


def test_a_folder_a_pattern_and_what_they_show(tmp_path: Path) -> None:
    for name, pixels in (("10.png", GREEN), ("9.png", RED), ("b.png", BLUE)):
        Image.fromarray(pixels).save(tmp_path / name)
    model = Predictor(FakeRunner(make_spec(), mean_colour))
    results = model(tmp_path)
    assert [result.label for result in results] == ["red", "green", "blue"]
    assert [result.source for result in results] == [str(tmp_path / f"{name}.png") for name in (9, 10, "b")]
    assert [result.label for result in model(str(tmp_path / "*0.png"))] == ["green"]
    for result, pixels in zip(results, (RED, GREEN, BLUE), strict=True):
        np.testing.assert_array_equal(result.plot(), result.plot(pixels))


def test_results_remember_their_pictures_across_groups() -> None:
    wide, tall = np.zeros((40, 80, 3), np.uint8), np.zeros((80, 40, 3), np.uint8)
    model = Predictor(FakeRunner(make_detector(), whole_tensor))
    for result, picture in zip(model([wide, tall, wide]), (wide, tall, wide), strict=True):
        assert result.picture.source() is picture


def test_the_two_halves_remember_it_too() -> None:
    model = Predictor(FakeRunner(make_spec(), mean_colour))
    prepared = model.prepare(RED)
    result = model.read(prepared, model.runner.infer(prepared.feeds))
    np.testing.assert_array_equal(result.plot(), result.plot(RED))


def test_opencv_arrays_are_bgr_where_that_is_said(tmp_path: Path) -> None:
    model = Predictor(FakeRunner(make_spec(), mean_colour))
    flipped = np.ascontiguousarray(RED[..., ::-1])
    assert model(flipped).label == "blue"
    result = model(flipped, bgr=True)
    assert result.label == "red"
    np.testing.assert_array_equal(result.plot(), result.plot(RED))
    Image.fromarray(RED).save(tmp_path / "red.png")
    assert [one.label for one in model([flipped, tmp_path / "red.png"], bgr=True)] == ["red", "red"]
    prepared = model.prepare(flipped, bgr=True)
    assert model.read(prepared, model.runner.infer(prepared.feeds)).label == "red"
    with pytest.raises(OptionError, match="bgr wants True or False"):
        model(flipped, bgr="yes")


def test_a_model_of_other_channels_has_no_order_of_colours() -> None:
    spec = make_spec(
        input=InputSpec(height=8, width=8, channels=4),
        preprocess=Preprocess(
            resize="stretch", resize_to=(8, 8), color="as_is", mean=(0.0,) * 4, std=(1.0,) * 4
        ),
    )
    model = Predictor(FakeRunner(spec, lambda images: {"logits": images.mean((2, 3))[:, :3]}))
    pixels = np.zeros((8, 8, 4), np.uint8)
    assert model(pixels) is not None
    for call in (model, model.prepare):
        with pytest.raises(OptionError, match="not reordered"):
            call(pixels, bgr=True)


def test_progress() -> None:
    seen: list[tuple[int, int]] = []
    model = Predictor(FakeRunner(make_spec(), mean_colour))
    model([RED] * 5, batch=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_a_predictor_says_what_it_is() -> None:
    assert repr(Predictor(FakeRunner(make_spec(), mean_colour))) == (
        "Predictor(any: classify, 3 classes, 8x8, FakeRunner)"
    )
    assert "64x64 or other sizes" in repr(Predictor(FakeRunner(make_detector(), whole_tensor)))
