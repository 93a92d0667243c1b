from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploykit_exporters.ingraph.preprocess import MAX_SIDE, InGraphPreprocess, preprocess_module
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.ort.late_cast import cast_late
from deploykit_runtimes.pixels.geometry import plan_geometry
from deploykit_runtimes.pixels.preprocess import preprocess
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
YOLO = Preprocess(resize="letterbox", resize_to=(640, 640), resampler="opencv", pad_value=114, stride=32)
YOLOX = replace(YOLO, anchor="top_left", color="bgr", scale=1.0, stride=0)
KINDS = {
    "short_bicubic": Preprocess(
        resize="short", resize_to=(256,), crop=(224, 224), interpolation="bicubic", **IMAGENET
    ),
    "short_bilinear": Preprocess(
        resize="short", resize_to=(129,), rounding="round", crop=(128, 112), color="bgr", **IMAGENET
    ),
    "short_opencv": Preprocess(
        resize="short",
        resize_to=(73,),
        crop=(64, 64),
        interpolation="bicubic",
        resampler="opencv",
        **IMAGENET,
    ),
    "cover": Preprocess(
        resize="cover", resize_to=(146, 91), crop=(128, 80), interpolation="bicubic", **IMAGENET
    ),
    "tensorflow": Preprocess(
        pre_crop=224 / 256, resize="stretch", resize_to=(224, 224), interpolation="bicubic", **IMAGENET
    ),
    "mmpretrain": Preprocess(
        pre_crop=300 / 332,
        pre_crop_offset="even",
        resize="stretch",
        resize_to=(300, 300),
        interpolation="bicubic",
        resampler="opencv",
        **IMAGENET,
    ),
    "stretch": Preprocess(resize="stretch", resize_to=(96, 160), mean=(0.5,), std=(0.5,)),
    "long": Preprocess(
        resize="long", resize_to=(150,), crop=(160, 120), interpolation="lanczos", pad_value=7
    ),
    "crop_only": Preprocess(crop=(60, 90), pad_value=99),
    "nothing": Preprocess(),
    "border": Preprocess(
        resize="letterbox", resize_to=(160, 192), interpolation="bicubic", pad_value=124, **IMAGENET
    ),
    "yolo_rectangle": YOLO,
    "yolo_square": replace(YOLO, resize_to=(320, 256), scale_up=False),
    "yolox": replace(YOLOX, resize_to=(416, 416)),
}
SIZES = [
    *[
        (1, 1),
        (1, 9),
        (9, 1),
        (2, 3),
        (1, 4000),
        (4000, 1),
        (5, 4000),
        (4000, 7),
        (31, 1200),
        (1200, 33),
        (64, 64),
        (63, 65),
    ],
    *[(100, 257), (128, 128), (129, 500), (224, 224), (240, 320), (256, 256), (256, 342), (299, 301)],
    *[(320, 256), (333, 500), (480, 640), (512, 512), (600, 400), (637, 411), (640, 480), (720, 1280)],
    *[(768, 1023), (810, 1080), (1080, 810), (1331, 1999), (1920, 1080), (2250, 4000)],
]


def spec_of(how: Preprocess) -> ModelSpec:
    """The contract of a network that takes what ``how`` makes."""
    size = how.crop or (how.resize_to if len(how.resize_to) == 2 else (640, 640))
    dynamic = how.stride > 0 or (how.crop is None and how.resize == "none")
    step = how.stride or 1
    sides = AxisRange(min=step, max=MAX_SIDE * step, step=step)
    return ModelSpec(
        task="features",
        family="any",
        variant="any",
        origin="any",
        input=InputSpec(
            height=size[0], width=size[1], dynamic={"height": sides, "width": sides} if dynamic else {}
        ),
        preprocess=how,
        output=OutputSpec(names=("tensor",), layout="features"),
    )


def module_of(spec: ModelSpec) -> InGraphPreprocess:
    return preprocess_module(spec, size_is_dynamic=bool(spec.input.dynamic))


def export(spec: ModelSpec, path: Path) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module_of(spec),
            (torch.zeros(2, 37, 53, 3, dtype=torch.uint8),),
            path,
            dynamo=False,
            opset_version=18,
            input_names=["images"],
            output_names=["tensor"],
            dynamic_axes={"images": {0: "batch", 1: "height", 2: "width"}, "tensor": {0: "batch"}},
        )
    return onnx.load(path)


def session(path: Path | bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("graphs")
    paths = {name: folder / f"{name}.onnx" for name in KINDS}
    for name, path in paths.items():
        export(spec_of(KINDS[name]), path)
    return paths


@pytest.fixture(scope="module")
def originals(photos) -> list[np.ndarray]:
    import ultralytics

    assets = Path(ultralytics.__file__).parent / "assets"
    return [
        *list(photos.values())[:6],
        *(np.asarray(Image.open(path)) for path in sorted(assets.glob("*.jpg"))),
    ]


@pytest.fixture(scope="module")
def album(originals) -> list[np.ndarray]:
    """Real photos of all sizes and orientations."""
    resized = [
        np.asarray(
            Image.fromarray(originals[i % len(originals)]).resize(size[::-1], Image.Resampling.LANCZOS)
        )
        for i, size in enumerate(SIZES)
    ]
    return [*originals, *resized]


@pytest.fixture(autouse=True)
def width_first(monkeypatch) -> None:
    """Pillow's order up to version 12, which later ones keep for most sizes only."""
    resize = Image.Image.resize

    def two_passes(self, size, resample=None, box=None, reducing_gap=None):
        if box is not None:
            return resize(self, size, resample, box, reducing_gap)
        return resize(resize(self, (size[0], self.height), resample), size, resample)

    monkeypatch.setattr(Image.Image, "resize", two_passes)


def levels(found: np.ndarray, wanted: np.ndarray, how: Preprocess) -> np.ndarray:
    """Difference in grey levels."""
    assert found.dtype == wanted.dtype == np.float32
    assert found.shape == wanted.shape
    unit = how.scale / np.broadcast_to(how.std, 3).reshape(3, 1, 1)
    return np.abs(found - wanted) / unit


@pytest.mark.parametrize("name", KINDS)
def test_equals_the_host(graphs, album, name) -> None:
    spec, graph = spec_of(KINDS[name]), session(graphs[name])
    assert len(album) >= 30
    for photo in album:
        found = graph.run(None, {"images": photo[None]})[0]
        error = levels(found[0], preprocess(photo, spec)[0], spec.preprocess)
        assert error.max() < 1.01, photo.shape
        assert np.mean(error < 0.01) > 0.9998, photo.shape


@pytest.mark.parametrize("name", ["short_bilinear", "tensorflow", "yolo_rectangle"])
def test_a_large_photo_equals_the_host(graphs, originals, name) -> None:
    spec, photo = spec_of(KINDS[name]), originals[0]
    repeats = [-(-4096 // side) for side in photo.shape[:2]]
    photo = np.tile(photo, (*repeats, 1))[:4096, :4096]
    found = session(graphs[name]).run(None, {"images": photo[None]})[0]
    error = levels(found[0], preprocess(photo, spec)[0], spec.preprocess)
    assert error.max() < 1.01
    assert np.mean(error < 0.01) > 0.9998


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_is_its_images(graphs, originals, name) -> None:
    graph = session(graphs[name])
    batch = np.stack([photo[:250, :300] for photo in originals[:3]])
    together = graph.run(None, {"images": batch})[0]
    for found, photo in zip(together, batch, strict=True):
        alone = graph.run(None, {"images": photo[None]})[0][0]
        np.testing.assert_allclose(found, alone, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_operators_that_every_engine_takes(graphs, name) -> None:
    graph = onnx.load(graphs[name]).graph
    assert not {node.domain for node in graph.node} - {""}
    assert not {node.op_type for node in graph.node} & {"NonZero", "Loop", "If", "Scan", "Resize"}
    users = [node.op_type for node in graph.node if "images" in node.input]
    assert set(users) <= {"Cast", "Shape"}
    made = {tensor.type.tensor_type.elem_type for tensor in graph.value_info}
    assert onnx.TensorProto.DOUBLE not in made


@pytest.mark.parametrize("name", KINDS)
def test_bytes_moved_before_the_cast_give_the_same(graphs, album, name) -> None:
    rewritten = cast_late(graphs[name].read_bytes(), "images")
    assert rewritten is not None
    first, late = session(graphs[name]), session(rewritten)
    for photo in album[::5]:
        wanted = first.run(None, {"images": photo[None]})[0]
        np.testing.assert_array_equal(late.run(None, {"images": photo[None]})[0], wanted)


@pytest.mark.parametrize("name", KINDS)
def test_openvino(graphs, album, name) -> None:
    """Which divides whole numbers in float32, and rounds, where a graph is not careful."""
    import openvino

    model = openvino.Core().compile_model(graphs[name], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    how, graph = KINDS[name], session(graphs[name])
    crops = [photo[:height, :width] for photo in album[:3] for height, width in ((99, 101), (226, 37))]
    for photo in [*crops, *(photo for photo in album[::3] if photo.size < 2e6)]:
        wanted = graph.run(None, {"images": photo[None]})[0]
        error = levels(model({"images": photo[None]})[0][0], wanted[0], how)
        assert error.max() < 1.01, photo.shape
        assert np.mean(error < 0.01) > 0.998, photo.shape


@lru_cache
def cached_module(how: Preprocess) -> InGraphPreprocess:
    return module_of(spec_of(how))


def placement(how: Preprocess, height: int, width: int) -> tuple[tuple[int, ...], ...]:
    place = cached_module(how).place(torch.empty(0, height, width, 3, dtype=torch.uint8))
    return tuple(tuple(values.tolist()) for values in place)


def planned(how: Preprocess, height: int, width: int) -> tuple[tuple[int, ...], ...]:
    plan = plan_geometry((height, width), how, spec_of(how).input)
    return plan.region[:2], plan.region[2:], plan.resized, plan.offset, plan.input_size


SIDE = st.integers(1, 5000) | st.sampled_from([1280, 1920, 2560, 3840, 4032]) | st.integers(1, MAX_SIDE - 1)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=60, deadline=None)
@given(height=SIDE, width=SIDE)
def test_sizes_are_those_of_the_host(name, height, width) -> None:
    assert placement(KINDS[name], height, width) == planned(KINDS[name], height, width)


@settings(max_examples=300, deadline=None)
@given(
    target=st.tuples(st.integers(1, 1300), st.integers(1, 1300)),
    parts=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    unit=st.integers(1, 120),
    scale_up=st.booleans(),
    floor=st.booleans(),
)
@example(target=(640, 640), parts=(49, 49), unit=1, scale_up=True, floor=True)
@example(target=(640, 640), parts=(3, 768), unit=1, scale_up=True, floor=False)
def test_letterbox_rounds_as_float64_does(target, parts, unit, scale_up, floor) -> None:
    """Sides in simple ratios to each other and the target, where products are whole or half numbers."""
    how = replace(YOLOX if floor else YOLO, resize_to=target, stride=0, scale_up=scale_up)
    multiple = min(parts[0], MAX_SIDE // target[0]) * target[0]
    for sides in ((parts[0] * unit, parts[1] * unit), (multiple, parts[1] * unit)):
        assert placement(how, *sides) == planned(how, *sides)


@pytest.mark.parametrize("fraction", [224 / 256, 300 / 332, 456 / 488, 1 / 49, 0.1, 0.87654, 1.0])
@pytest.mark.parametrize("offset", ["up", "down", "even"])
def test_fractions_of_a_side_round_as_float64_does(fraction, offset) -> None:
    how = Preprocess(pre_crop=fraction, pre_crop_offset=offset, resize="stretch", resize_to=(8, 8))
    for side in (*range(1, 400, 7), 49, 98, 147, 1000, 4095):
        assert placement(how, side, 2 * side) == planned(how, side, 2 * side)


@pytest.mark.parametrize("offset", ["up", "down", "even"])
def test_halves_of_the_last_crop_go_as_on_the_host(offset) -> None:
    how = Preprocess(resize="short", resize_to=(9,), crop=(8, 8), crop_offset=offset)
    for side in range(9, 60):
        assert placement(how, side, 47) == planned(how, side, 47)
    padded = replace(how, resize_to=(7,))
    for side in range(9, 60):
        assert placement(padded, side, 47) == planned(padded, side, 47)


@pytest.mark.parametrize("name", ["yolo_rectangle", "yolox", "border", "tensorflow", "short_bicubic"])
def test_boxes_map_back_as_on_the_host(name) -> None:
    how = KINDS[name]
    for height, width in ((1080, 810), (427, 640), (50, 3000)):
        images = torch.empty(0, height, width, 3, dtype=torch.uint8)
        scale, pad_x, pad_y = module_of(spec_of(how)).letterbox_geometry(images)
        geometry = plan_geometry((height, width), how, spec_of(how).input)
        top, left, tall, wide = geometry.region
        corners = np.array([[left + 1, top + 2], [left + wide - 1, top + tall - 2]], np.float32)
        there = corners * scale.numpy() + np.array([pad_x, pad_y])
        np.testing.assert_allclose(geometry.points_to_image(there), corners, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    "how",
    [
        Preprocess(resize="stretch", resize_to=(8, 8), interpolation="nearest"),
        Preprocess(resize="stretch", resize_to=(8, 8), interpolation="area", resampler="opencv"),
        Preprocess(resize="stretch", resize_to=(8, 8), std=(0.0, 1.0, 1.0)),
        Preprocess(pre_crop=math.pi / 4, resize="stretch", resize_to=(8, 8)),
    ],
)
def test_what_cannot_be_in_a_graph_is_refused(how) -> None:
    with pytest.raises(ModelError):
        module_of(spec_of(how))


def test_other_numbers_of_channels_are_refused() -> None:
    spec = spec_of(YOLO)
    with pytest.raises(ModelError, match="4 channels"):
        module_of(replace(spec, input=replace(spec.input, channels=4)))
