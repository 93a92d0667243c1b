from __future__ import annotations

import numpy as np
import torch
from deploykit_runtimes.answers.masks import decode_masks, encode_rle
from deploykit_runtimes.contract.spec import InputSpec, Preprocess
from deploykit_runtimes.pixels.geometry import Geometry, plan_geometry
from hypothesis import given, settings
from hypothesis.extra import numpy as st_numpy


def head(size: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prototypes with smooth blobs, coefficients, and boxes, some reaching out of the tensor."""
    generator = np.random.default_rng(0)
    noise = torch.from_numpy(generator.normal(size=(1, 8, size[0] // 32 + 2, size[1] // 32 + 2)))
    prototypes = torch.nn.functional.interpolate(noise, (size[0] // 4, size[1] // 4), mode="bicubic")
    corner = generator.uniform(-20, max(size), (count, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(1, 200, (count, 2))], axis=1)
    coefficients = generator.normal(size=(count, 8))
    return prototypes[0].numpy().astype(np.float32), coefficients.astype(np.float32), boxes.astype(np.float32)


def as_it_is(size: tuple[int, int]) -> Geometry:
    return Geometry(image_size=size, input_size=size, region=(0, 0, *size), resized=size, offset=(0, 0))


def test_at_the_size_of_the_tensor_they_are_those_of_ultralytics() -> None:
    from ultralytics.utils.ops import process_mask

    for size in ((320, 320), (192, 320), (352, 96)):
        prototypes, coefficients, boxes = head(size, 40)
        tensors = (torch.from_numpy(array) for array in (prototypes, coefficients, boxes))
        wanted = process_mask(*tensors, size, upsample=True).numpy().astype(bool)
        found = decode_masks(prototypes, coefficients, boxes, as_it_is(size))
        assert found.any((1, 2)).sum() > 10
        assert (found != wanted).sum() <= 2e-5 * wanted.size  # logits within rounding of 0


def test_at_the_size_of_the_image_they_are_those_of_ultralytics() -> None:
    from ultralytics.utils.ops import process_mask, scale_masks

    how = Preprocess(resize="letterbox", resize_to=(320, 320), resampler="opencv")
    for image_size in ((427, 640), (640, 427), (1080, 810), (200, 100), (90, 700)):
        geometry = plan_geometry(image_size, how, InputSpec(height=320, width=320))
        prototypes, coefficients, boxes = head((320, 320), 30)
        tensors = (torch.from_numpy(array) for array in (prototypes, coefficients, boxes))
        masks = process_mask(*tensors, (320, 320), upsample=True)
        wanted = scale_masks(masks[None].float(), image_size)[0].numpy() > 0.5
        found = decode_masks(prototypes, coefficients, boxes, geometry)
        assert wanted.any((1, 2)).sum() > 5
        assert (found != wanted).sum() <= 1e-3 * wanted.sum()


def test_cropped_and_moved_regions() -> None:
    """A pre-crop shifts the mask; nothing may appear outside of the region."""
    geometry = Geometry(
        image_size=(100, 120), input_size=(64, 64), region=(18, 28, 64, 64), resized=(64, 64), offset=(0, 0)
    )
    prototypes = np.ones((1, 16, 16), np.float32)
    boxes = np.array([[8, 16, 24, 32], [-50, -50, 500, 500]], np.float32)
    found = decode_masks(prototypes, np.ones((2, 1), np.float32), boxes, geometry)
    wanted = np.zeros((2, 100, 120), bool)
    wanted[0, 18 + 16 : 18 + 32, 28 + 8 : 28 + 24] = True
    wanted[1, 18:82, 28:92] = True
    np.testing.assert_array_equal(found, wanted)


def test_boxes_without_pixels_and_no_boxes() -> None:
    prototypes = np.ones((1, 16, 16), np.float32)
    boxes = np.array([[70, 0, 90, 64], [10.2, 5, 10.8, 60], [30, 30, 20, 40]], np.float32)
    assert not decode_masks(prototypes, np.ones((3, 1), np.float32), boxes, as_it_is((64, 64))).any()
    none = decode_masks(prototypes, np.ones((0, 1), np.float32), boxes[:0], as_it_is((64, 64)))
    assert none.shape == (0, 64, 64)


@settings(max_examples=100, deadline=None)
@given(mask=st_numpy.arrays(bool, st_numpy.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12)))
def test_run_lengths(mask) -> None:
    code = encode_rle(mask)
    assert code["size"] == list(mask.shape)
    values = np.arange(len(code["counts"])) % 2 == 1
    np.testing.assert_array_equal(np.repeat(values, code["counts"]), mask.ravel(order="F"))
