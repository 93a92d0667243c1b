"""Instance masks from the prototypes and coefficients of a YOLO segmentation head."""

from __future__ import annotations

import numpy as np

from deploykit_runtimes.pixels.geometry import Geometry

__all__ = ["decode_masks", "encode_rle", "paint_mask"]


def decode_masks(
    prototypes: np.ndarray, coefficients: np.ndarray, boxes: np.ndarray, geometry: Geometry
) -> np.ndarray:
    """Masks at the resolution of the original image.

    As Ultralytics' predict does it: the logits are enlarged to the size of the tensor (bilinear,
    half-pixel centres), cut at 0 and cropped to their boxes; that mask is then carried over to the
    image, bilinear again and cut at one half. Only the window of each box is computed.

    Args:
        prototypes: float32 [M, h, w].
        coefficients: float32 [n, M].
        boxes: xyxy in pixels of the tensor, float32 [n, 4].
        geometry: How the image lies in the tensor.

    Returns:
        bool [n, H, W]; all False where nothing of a mask lies inside its box.
    """
    masks = np.zeros((len(boxes), *geometry.image_size), bool)
    for mask, weights, box in zip(masks, coefficients, boxes, strict=True):
        paint_mask(mask, prototypes, weights, box, geometry)
    return masks


def paint_mask(
    mask: np.ndarray, prototypes: np.ndarray, weights: np.ndarray, box: np.ndarray, geometry: Geometry
) -> bool:
    """Fill in one of the masks of ``decode_masks``.

    Args:
        mask: bool [H, W], all False; changed in place.
        prototypes, geometry: As there.
        weights: float32 [M].
        box: float32 [4].

    Returns:
        Whether the mask has a pixel in the tensor, by which Ultralytics keeps a detection. The image may
        show none of it: where the pixel lies in the padding, or the image is smaller than the tensor.
    """
    window = _window(box, geometry.input_size)
    if window[2] <= window[0] or window[3] <= window[1]:
        return False
    inside = _tensor_mask(prototypes, weights, window, geometry.input_size)
    _paste(mask, inside, window, geometry)
    return bool(inside.any())


def _window(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the whole pixels p with x1 <= p < x2 that the tensor has."""
    left, top, right, bottom = np.ceil(box).astype(int).tolist()
    return max(left, 0), max(top, 0), min(right, size[1]), min(bottom, size[0])


def _tensor_mask(
    prototypes: np.ndarray, weights: np.ndarray, window: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    left, top, right, bottom = window
    rows = _interpolation(np.arange(top, bottom), prototypes.shape[1] / size[0], prototypes.shape[1])
    columns = _interpolation(np.arange(left, right), prototypes.shape[2] / size[1], prototypes.shape[2])
    y, x = rows[0][0], columns[0][0]
    part = prototypes[:, y : rows[1][-1] + 1, x : columns[1][-1] + 1]
    logits = np.tensordot(weights, part, axes=1)
    return _bilinear(logits, _shifted(rows, y), _shifted(columns, x)) > 0


def _paste(
    mask: np.ndarray, inside: np.ndarray, window: tuple[int, int, int, int], geometry: Geometry
) -> None:
    """Carry a mask over ``window`` of the tensor into the image-sized ``mask``, in place."""
    left, top, right, bottom = window
    rows = _image_axis(top, bottom, geometry, 0)
    columns = _image_axis(left, right, geometry, 1)
    if not (rows[0].size and columns[0].size):
        return
    bordered = np.pad(inside, 1).astype(np.float32)
    values = _bilinear(bordered, _shifted(rows[1:], top - 1), _shifted(columns[1:], left - 1))
    mask[np.ix_(rows[0], columns[0])] = values > 0.5


def _image_axis(start: int, stop: int, geometry: Geometry, axis: int) -> tuple[np.ndarray, ...]:
    """The image pixels that sample the tensor between start - 1 and stop + 1, and how they sample it."""
    gain, offset, origin = geometry.gain[axis], geometry.offset[axis], geometry.region[axis]
    low = int(np.floor((start - offset) / gain - 0.5)) - 1
    high = int(np.ceil((stop - offset) / gain + 0.5)) + 1
    length = geometry.region[axis + 2]
    pixels = np.arange(max(low, 0), min(high, length))
    position = np.clip((pixels + 0.5) * gain - 0.5, 0, geometry.resized[axis] - 1) + offset
    before = np.clip(np.floor(position).astype(int), start - 1, stop)
    after = np.minimum(before + 1, stop)
    share = np.where((position >= start - 1) & (position <= stop), position - before, 0).astype(np.float32)
    return pixels + origin, before, after, share


def _interpolation(pixels: np.ndarray, scale: float, length: int) -> tuple[np.ndarray, ...]:
    """Bilinear samples with half-pixel centres: position before, position after, share of the latter."""
    position = np.maximum((pixels + 0.5) * scale - 0.5, 0)
    before = np.minimum(position.astype(int), length - 1)
    return before, np.minimum(before + 1, length - 1), (position - before).astype(np.float32)


def _shifted(samples: tuple[np.ndarray, ...], start: int) -> tuple[np.ndarray, ...]:
    before, after, share = samples
    return before - start, after - start, share


def _bilinear(
    values: np.ndarray, rows: tuple[np.ndarray, ...], columns: tuple[np.ndarray, ...]
) -> np.ndarray:
    upper, lower, down = rows
    left, right, across = columns
    lines = values[:, left] * (1 - across) + values[:, right] * across
    result: np.ndarray = lines[upper] * (1 - down[:, None]) + lines[lower] * down[:, None]
    return result


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths: ``size`` [H, W], ``counts`` of 0s, 1s, 0s... down the columns."""
    pixels = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
    if pixels.size and pixels[0]:
        counts.insert(0, 0)
    return {"size": list(mask.shape), "counts": counts}
