"""The host's pre-processing against the pipelines of the training codes, on real photos."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import InputError, ModelError, OptionError
from deploykit_runtimes.pixels.preprocess import preprocess
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
ONE_LEVEL = 1 / 255


def spec(how: Preprocess, size: tuple[int, int], *, dynamic: bool = False) -> ModelSpec:
    side = AxisRange(min=1, max=4096)
    return ModelSpec(
        task="classify",
        family="any",
        variant="any",
        origin="any",
        input=InputSpec(
            height=size[0], width=size[1], dynamic={"height": side, "width": side} if dynamic else {}
        ),
        preprocess=how,
        output=OutputSpec(names=("logits",), layout="logits"),
    )


def levels(found: np.ndarray, wanted: np.ndarray, how: Preprocess) -> float:
    """The largest difference, in units of the pixel values before normalisation."""
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    scale = np.array(how.std)[:, None, None] * (ONE_LEVEL / how.scale)
    return float(np.abs((found - wanted) * scale).max())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "crop_pct"), [(224, 0.875), (240, 0.882), (288, 1.0)])
def test_timm_center(photos, interpolation, size, crop_pct) -> None:
    from timm.data import create_transform

    transform = create_transform(
        (3, size, size), interpolation=interpolation, crop_pct=crop_pct, crop_mode="center"
    )
    how = Preprocess(
        resize="short",
        resize_to=(int(size / crop_pct),),
        crop=(size, size),
        interpolation=interpolation,
        **IMAGENET,
    )
    for photo in photos.values():
        found, _ = preprocess(photo, spec(how, (size, size)))
        assert levels(found, transform(Image.fromarray(photo)).numpy(), how) < 1e-5


def test_timm_squash(photos) -> None:
    from timm.data import create_transform

    transform = create_transform((3, 224, 224), interpolation="bicubic", crop_pct=1.0, crop_mode="squash")
    how = Preprocess(resize="stretch", resize_to=(224, 224), interpolation="bicubic", **IMAGENET)
    for photo in photos.values():
        found, _ = preprocess(photo, spec(how, (224, 224)))
        assert levels(found, transform(Image.fromarray(photo)).numpy(), how) < 1e-5


@pytest.mark.parametrize(
    ("weights", "edge", "size", "interpolation"),
    [
        ("EfficientNet_B0_Weights", 256, 224, "bicubic"),
        ("EfficientNet_B1_Weights", 256, 240, "bicubic"),
        ("ViT_B_16_Weights", 256, 224, "bilinear"),
    ],
)
def test_torchvision_weights(photos, weights, edge, size, interpolation) -> None:
    import torchvision.models

    transform = getattr(torchvision.models, weights).IMAGENET1K_V1.transforms()
    assert (transform.resize_size, transform.crop_size) == ([edge], [size])
    how = Preprocess(
        resize="short", resize_to=(edge,), crop=(size, size), interpolation=interpolation, **IMAGENET
    )
    for photo in photos.values():
        found, _ = preprocess(photo, spec(how, (size, size)))
        assert levels(found, transform(Image.fromarray(photo)).numpy(), how) < 1e-5


@pytest.mark.parametrize("dynamic", [True, False])
def test_ultralytics_letterbox(photos, dynamic) -> None:
    from ultralytics.data.augment import LetterBox

    how = Preprocess(resize="letterbox", resize_to=(320, 320), resampler="opencv", pad_value=114, stride=32)
    letterbox = LetterBox((320, 320), auto=dynamic, stride=32)
    for photo in photos.values():
        found, _ = preprocess(photo, spec(how, (320, 320), dynamic=dynamic))
        bgr = letterbox(image=np.ascontiguousarray(photo[..., ::-1]))
        wanted = torch.from_numpy(np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1))).float() / 255
        assert levels(found, wanted.numpy(), how) < 1e-6


def test_ultralytics_classify(photos) -> None:
    from ultralytics.data.augment import classify_transforms

    how = Preprocess(resize="short", resize_to=(224,), crop=(224, 224))
    for photo in photos.values():
        found, _ = preprocess(photo, spec(how, (224, 224)))
        assert levels(found, classify_transforms(224)(Image.fromarray(photo)).numpy(), how) < 1e-6


def test_yolox(photos) -> None:
    import cv2

    how = Preprocess(
        color="bgr",
        resize="letterbox",
        resize_to=(416, 416),
        resampler="opencv",
        pad_value=114,
        anchor="top_left",
        scale=1.0,
    )
    for photo in photos.values():
        bgr = np.ascontiguousarray(photo[..., ::-1])
        ratio = min(416 / bgr.shape[0], 416 / bgr.shape[1])
        sides = int(bgr.shape[1] * ratio), int(bgr.shape[0] * ratio)
        wanted = np.full((416, 416, 3), 114, np.float32)
        wanted[: sides[1], : sides[0]] = cv2.resize(bgr, sides)
        found, _ = preprocess(photo, spec(how, (416, 416)))
        np.testing.assert_array_equal(found, wanted.transpose(2, 0, 1))


def test_tensorflow_pre_crop(photos) -> None:
    """What the TensorFlow EfficientNets were evaluated with, but for the resampler."""
    how = Preprocess(
        pre_crop=224 / 256,
        resize="stretch",
        resize_to=(224, 224),
        interpolation="bicubic",
        scale=1.0,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
    )
    for photo in photos.values():
        height, width = photo.shape[:2]
        side = int(224 / (224 + 32) * min(height, width))
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        cropped = Image.fromarray(np.ascontiguousarray(photo[top : top + side, left : left + side]))
        wanted = (np.asarray(cropped.resize((224, 224), Image.BICUBIC), np.float32) - 127) / 128
        found, _ = preprocess(photo, spec(how, (224, 224)))
        np.testing.assert_allclose(found, wanted.transpose(2, 0, 1), atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    edge=st.integers(1, 80),
    crop=st.tuples(st.integers(1, 96), st.integers(1, 96)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos", "box"]),
)
def test_resize_and_crop_of_any_size(height, width, edge, crop, interpolation) -> None:
    """Only what the crop keeps is computed; it must be the same to the bit."""
    from torchvision import transforms as T

    modes = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4}
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    how = Preprocess(resize="short", resize_to=(edge,), crop=crop, interpolation=interpolation, scale=1.0)
    if edge * max(height, width) // min(height, width) > 2000:
        return
    found, geometry = preprocess(image, spec(how, crop))
    resized = Image.fromarray(image).resize(geometry.resized[::-1], Image.Resampling(modes[interpolation]))
    wanted = np.asarray(T.CenterCrop(crop)(resized), np.float32)
    np.testing.assert_array_equal(found, wanted.transpose(2, 0, 1))


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_letterbox_takes_extreme_aspect_ratios(height, width) -> None:
    how = Preprocess(resize="letterbox", resize_to=(64, 64), resampler="opencv", pad_value=114, stride=32)
    image = np.zeros((height, width, 3), np.uint8)
    tensor, geometry = preprocess(image, spec(how, (64, 64), dynamic=True))
    assert tensor.shape == (3, *geometry.input_size)
    assert np.count_nonzero(tensor[0] == 0) == geometry.resized[0] * geometry.resized[1]


def test_pillow_images_and_arrays_give_the_same(photos) -> None:
    for resampler in ("pillow", "opencv"):
        how = Preprocess(resize="short", resize_to=(100,), crop=(90, 90), resampler=resampler)
        from_array, _ = preprocess(photos["cat"], spec(how, (90, 90)))
        from_image, _ = preprocess(Image.fromarray(photos["cat"]), spec(how, (90, 90)))
        np.testing.assert_array_equal(from_array, from_image)


def test_one_mean_serves_all_channels(photos) -> None:
    how = Preprocess(resize="stretch", resize_to=(32, 32), mean=(0.5,), std=(0.25,))
    full = Preprocess(resize="stretch", resize_to=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    found, _ = preprocess(photos["cat"], spec(how, (32, 32)))
    np.testing.assert_array_equal(found, preprocess(photos["cat"], spec(full, (32, 32)))[0])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (Preprocess(resize="stretch", resize_to=(8, 8), interpolation="area"), "area"),
        (Preprocess(resize="stretch", resize_to=(8, 8), std=(1.0, 0.0, 1.0)), "deviation of 0"),
    ],
)
def test_contradictory_specs_are_refused(photos, how, message) -> None:
    with pytest.raises(ModelError, match=message):
        preprocess(photos["cat"], spec(how, (8, 8)))


def test_wrong_sizes_are_refused(photos) -> None:
    with pytest.raises(InputError, match="would come to 300x451"):
        preprocess(photos["cat"], spec(Preprocess(), (224, 224)))


@pytest.mark.parametrize("imgsz", [0, -32, (1, 2, 3), (32.0, 32)])
def test_malformed_sizes_are_refused(photos, imgsz) -> None:
    with pytest.raises(OptionError, match="imgsz wants"):
        preprocess(photos["cat"], spec(Preprocess(), (224, 224)), imgsz)
