from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from deploykit_runtimes.contract.spec import AxisRange, CropOffset, InputSpec, Preprocess
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.pixels.geometry import plan_geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SIDES = st.integers(1, 4000)
FREE = {
    "height": AxisRange(min=32, max=4096, step=32),
    "width": AxisRange(min=32, max=4096, step=32),
}
DETECTOR = InputSpec(height=640, width=640, dynamic=FREE)
CROPPED = Preprocess(resize="none", crop=(224, 224))
FIXED = InputSpec(height=640, width=640)
LETTERBOX = Preprocess(resize="letterbox", resize_to=(640, 640), resampler="opencv", stride=32)


@settings(max_examples=300, deadline=None)
@given(height=SIDES, width=SIDES, dynamic=st.booleans(), scale_up=st.booleans())
def test_letterbox_is_that_of_ultralytics(height, width, dynamic, scale_up) -> None:
    from ultralytics.data.augment import LetterBox

    how = Preprocess(
        resize="letterbox", resize_to=(640, 640), resampler="opencv", stride=32, scale_up=scale_up
    )
    found = plan_geometry((height, width), how, DETECTOR if dynamic else FIXED)
    box = LetterBox((640, 640), auto=dynamic, scaleup=scale_up, stride=32)
    wanted = box.get_params({"img": np.empty((height, width, 3), np.uint8)})
    assert found.resized == wanted["new_unpad"][::-1]
    assert found.offset == (wanted["top"], wanted["left"])
    assert found.input_size == (
        wanted["new_unpad"][1] + wanted["top"] + wanted["bottom"],
        wanted["new_unpad"][0] + wanted["left"] + wanted["right"],
    )


@settings(max_examples=200, deadline=None)
@given(height=SIDES, width=SIDES, x=st.floats(0, 1), y=st.floats(0, 1))
def test_points_come_back(height, width, x, y) -> None:
    geometry = plan_geometry((height, width), LETTERBOX, DETECTOR)
    point = np.array([x * width, y * height, 0.5], np.float32)
    mapped = np.array(
        [
            point[0] * geometry.gain[1] + geometry.offset[1],
            point[1] * geometry.gain[0] + geometry.offset[0],
            0.5,
        ]
    )
    error = np.abs(geometry.points_to_image(mapped) - point)[:2]
    assert (error <= 1e-3 * max(1 / geometry.gain[0], 1 / geometry.gain[1], 1)).all()


@settings(max_examples=100, deadline=None)
@given(height=SIDES, width=SIDES)
def test_boxes_are_scaled_as_ultralytics_scales_them(height, width) -> None:
    """Given the true gain and padding: what it derives from the sizes alone can be a pixel off."""
    import torch
    from ultralytics.utils import ops

    geometry = plan_geometry((height, width), LETTERBOX, DETECTOR)
    placed = geometry.gain, geometry.offset[::-1]
    boxes = np.random.default_rng(0).uniform(-50, 700, (20, 4)).astype(np.float32)
    wanted = ops.scale_boxes(geometry.input_size, torch.from_numpy(boxes.copy()), (height, width), placed)
    np.testing.assert_allclose(geometry.boxes_to_image(boxes), wanted.numpy(), rtol=1e-5, atol=1e-3)


@settings(max_examples=200, deadline=None)
@given(height=SIDES, width=SIDES, edge=st.integers(1, 600))
def test_short_edge_is_that_of_torchvision(height, width, edge) -> None:
    from torchvision.transforms.functional import _compute_resized_output_size

    how = Preprocess(resize="short", resize_to=(edge,), crop=(640, 640))
    found = plan_geometry((height, width), how, FIXED)
    wanted = _compute_resized_output_size((height, width), [edge])
    assert found.resized == tuple(max(1, side) for side in wanted)
    assert found.input_size == (640, 640)


@settings(max_examples=300, deadline=None)
@given(height=SIDES, width=SIDES, high=st.integers(1, 700), wide=st.integers(1, 700))
def test_covering_is_that_of_timm(height, width, high, wide) -> None:
    from timm.data.transforms import ResizeKeepRatio

    how = Preprocess(resize="cover", resize_to=(high, wide), crop=(640, 640))
    found = plan_geometry((height, width), how, FIXED).resized
    wanted = ResizeKeepRatio.get_params(Image.new("L", (width, height)), (high, wide), 0.0)
    exact = Fraction(max(height * wide, width * high), height if height * wide <= width * high else width)
    # Half-way between two sizes timm goes by an error of float64; here halves go to even.
    slack = int(exact.denominator == 2)
    assert all(abs(ours - max(1, theirs)) <= slack for ours, theirs in zip(found, wanted, strict=True))


def test_halves_of_a_covering_size_go_to_even_and_another_size_keeps_the_share() -> None:
    how = Preprocess(resize="cover", resize_to=(73, 146), crop=(64, 128))
    tensor = InputSpec(height=64, width=128, dynamic=FREE)
    assert plan_geometry((2, 5), how, tensor).resized == (73, 182)
    assert plan_geometry((100, 100), how, tensor, imgsz=(128, 64)).resized == (146, 146)


def test_long_edge_and_rounding() -> None:
    how = Preprocess(resize="long", resize_to=(100,), crop=(100, 100))
    tensor = InputSpec(height=100, width=100)
    assert plan_geometry((667, 1000), how, tensor).resized == (66, 100)
    rounded = Preprocess(resize="long", resize_to=(100,), rounding="round", crop=(100, 100))
    assert plan_geometry((667, 1000), rounded, tensor).resized == (67, 100)


def test_yolox_floors_and_anchors_top_left() -> None:
    how = Preprocess(resize="letterbox", resize_to=(416, 416), anchor="top_left", resampler="opencv")
    found = plan_geometry((333, 500), how, InputSpec(height=416, width=416))
    assert (found.resized, found.offset, found.input_size) == ((277, 416), (0, 0), (416, 416))


@pytest.mark.parametrize(
    ("offset", "size", "corner"),
    [("up", (300, 451), (19, 95)), ("down", (300, 451), (19, 94)), ("even", (300, 451), (19, 94))],
)
def test_half_a_pixel_of_the_crop_goes_as_the_origin_has_it(
    offset: CropOffset, size: tuple[int, int], corner: tuple[int, int]
) -> None:
    how = Preprocess(pre_crop=224 / 256, pre_crop_offset=offset, resize="stretch", resize_to=(224, 224))
    geometry = plan_geometry(size, how, InputSpec(height=224, width=224))
    assert geometry.region[:2] == corner
    assert geometry.region[2:] == (262, 262)


@pytest.mark.parametrize(
    ("offset", "corner"), [("even", (-6, -194)), ("down", (-6, -193)), ("up", (-7, -194))]
)
def test_half_a_pixel_of_the_last_crop_goes_as_the_origin_has_it(
    offset: CropOffset, corner: tuple[int, int]
) -> None:
    how = Preprocess(crop=(64, 64), crop_offset=offset)
    assert plan_geometry((77, 451), how, InputSpec(height=64, width=64)).offset == corner
    # What is smaller is padded, the smaller half first.
    assert plan_geometry((61, 64), how, InputSpec(height=64, width=64)).offset == (1, 0)


def test_pre_crop_of_tensorflow() -> None:
    how = Preprocess(pre_crop=224 / 256, resize="stretch", resize_to=(224, 224))
    found = plan_geometry((427, 640), how, InputSpec(height=224, width=224))
    assert found.region == ((427 - 373 + 1) // 2, (640 - 373 + 1) // 2, 373, 373)


def test_another_size_keeps_the_share_of_the_crop() -> None:
    how = Preprocess(resize="short", resize_to=(256,), crop=(224, 224))
    tensor = InputSpec(height=224, width=224, dynamic=FREE)
    found = plan_geometry((427, 640), how, tensor, (288, 288))
    assert found.resized == (329, int(329 * 640 / 427))
    assert found.input_size == (288, 288)


def test_a_range_above_the_rectangle_is_padded_up_to() -> None:
    dynamic = {
        "height": AxisRange(min=320, max=640, step=32),
        "width": AxisRange(min=320, max=640, step=32),
    }
    found = plan_geometry((60, 640), LETTERBOX, InputSpec(height=640, width=640, dynamic=dynamic))
    assert found.input_size == (320, 640)
    assert found.offset == (130, 0)


@pytest.mark.parametrize(
    ("tensor", "imgsz", "message"),
    [(FIXED, (320, 320), "height of 640"), (DETECTOR, (330, 320), "steps of 32")],
)
def test_sizes_that_the_model_does_not_take_are_refused(tensor, imgsz, message) -> None:
    how = Preprocess(resize="letterbox", resize_to=(640, 640), resampler="opencv")
    with pytest.raises(InputError, match=message):
        plan_geometry((480, 640), how, tensor, imgsz)


def test_empty_images_are_refused() -> None:
    with pytest.raises(InputError, match="0x10"):
        plan_geometry((0, 10), LETTERBOX, DETECTOR)


@pytest.mark.parametrize(
    ("size", "how", "inside", "visible"),
    [
        ((256, 384), CROPPED, (slice(0, 224), slice(0, 224)), (16, 80, 240, 304)),
        ((100, 150), CROPPED, (slice(62, 162), slice(37, 187)), (0, 0, 100, 150)),
    ],
)
def test_what_is_visible_and_where(size, how, inside, visible) -> None:
    geometry = plan_geometry(size, how, InputSpec(height=224, width=224))
    assert geometry.inside == inside
    assert geometry.visible == visible


@pytest.mark.parametrize(
    ("tensor", "imgsz", "hint"),
    [
        (FIXED, None, "resize them before"),
        (DETECTOR, None, "resize them before"),
        (FIXED, (320, 320), "Leave out --imgsz"),
        (DETECTOR, (20, 20), "Choose another size with --imgsz"),
    ],
)
def test_the_hint_follows_from_what_was_given(tensor, imgsz, hint) -> None:
    how = Preprocess() if imgsz is None else Preprocess(resize="stretch", resize_to=(640, 640))
    with pytest.raises(InputError) as caught:
        plan_geometry((48, 65), how, tensor, imgsz)
    assert hint in caught.value.hint
