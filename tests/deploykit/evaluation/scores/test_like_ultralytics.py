"""Each step of the numbers against Ultralytics' own function, on random pictures, boxes and outlines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deploykit_runtimes.answers.nms import box_iou
from hypothesis import given, settings
from hypothesis import strategies as st

from deploykit.evaluation.scores.average_precision import class_curves, match
from deploykit.evaluation.scores.confusion import confused, confusion_matrix
from deploykit.evaluation.scores.detection import COCO_SIGMAS, keypoint_similarity
from deploykit.evaluation.scores.geometry import rectangles, val_geometry
from deploykit.evaluation.scores.masks import mask_overlaps, network_masks, outline_masks
from deploykit.evaluation.scores.rotated import smallest_rectangles

SIZES = st.tuples(st.integers(8, 700), st.integers(8, 700))


def boxes_near(generator: np.random.Generator, boxes: np.ndarray, count: int) -> np.ndarray:
    """Boxes that overlap the given ones more or less."""
    chosen = boxes[generator.integers(0, len(boxes), count)]
    return (chosen + generator.normal(0, 6, chosen.shape)).astype(np.float32)


def some_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    corner = generator.uniform(0, 100, (count, 2))
    return np.concatenate([corner, corner + generator.uniform(10, 60, (count, 2))], 1).astype(np.float32)


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 30), objects=st.integers(1, 8), found=st.integers(1, 30))
def test_matches_are_those_of_its_validator(seed: int, objects: int, found: int) -> None:
    from ultralytics.engine.validator import BaseValidator

    generator = np.random.default_rng(seed)
    wanted = some_boxes(generator, objects)
    overlaps = box_iou(wanted, boxes_near(generator, wanted, found))
    classes = generator.integers(0, 3, objects), generator.integers(0, 3, found)

    class Thresholds:
        iouv = torch.linspace(0.5, 0.95, 10)

    theirs = BaseValidator.match_predictions(
        Thresholds(), torch.from_numpy(classes[1]), torch.from_numpy(classes[0]), torch.from_numpy(overlaps)
    )
    assert np.array_equal(match(overlaps, classes[1], classes[0]), theirs.numpy())


@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 30), found=st.integers(1, 200))
def test_curves_are_those_of_its_metrics(seed: int, found: int) -> None:
    from ultralytics.utils.metrics import ap_per_class

    generator = np.random.default_rng(seed)
    wanted = generator.integers(0, 4, 60)
    scores = generator.permutation(np.linspace(0.002, 0.98, found)).astype(np.float32)
    classes = generator.integers(0, 5, found)
    certain = np.sort(generator.random((found, 10)) < 0.5, axis=1)[:, ::-1]
    ours = class_curves(certain, scores, classes, wanted)
    theirs = ap_per_class(certain, scores, classes, wanted)
    assert np.array_equal(ours.class_ids, theirs[6])
    assert ours.average == pytest.approx(theirs[5], abs=1e-9)
    assert ours.precision == pytest.approx(theirs[2], abs=1e-9)
    assert ours.recall == pytest.approx(theirs[3], abs=1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 30), objects=st.integers(0, 6), found=st.integers(0, 12))
def test_confusion_is_that_of_its_matrix(seed: int, objects: int, found: int) -> None:
    from ultralytics.utils.metrics import ConfusionMatrix

    generator = np.random.default_rng(seed)
    wanted = some_boxes(generator, objects)
    near = boxes_near(generator, wanted, found) if objects else some_boxes(generator, found)
    scores = generator.random(found).astype(np.float32)
    classes = generator.integers(0, 3, objects), generator.integers(0, 3, found)
    theirs = ConfusionMatrix(names={0: "a", 1: "b", 2: "c"})
    theirs.process_batch(
        {
            "bboxes": torch.from_numpy(near),
            "conf": torch.from_numpy(scores),
            "cls": torch.from_numpy(classes[1]),
        },
        {"bboxes": torch.from_numpy(wanted), "cls": torch.from_numpy(classes[0])},
        conf=0.25,
    )
    pairs = confused(box_iou(wanted, near), scores, classes[1], classes[0])
    assert np.array_equal(confusion_matrix(np.where(pairs < 0, 3, pairs), 4), theirs.matrix)


def test_keypoints_are_as_similar() -> None:
    from ultralytics.utils.metrics import OKS_SIGMA, kpt_iou

    generator = np.random.default_rng(4)
    assert pytest.approx(OKS_SIGMA) == COCO_SIGMAS
    wanted = generator.uniform(0, 100, (5, 17, 3)).astype(np.float32)
    wanted[..., 2] = generator.integers(0, 3, (5, 17))
    wanted[4, :, 2] = 0
    found = (wanted[generator.integers(0, 5, 9)] + generator.normal(0, 2, (9, 17, 3))).astype(np.float32)
    areas = generator.uniform(50, 5000, 5).astype(np.float32)
    theirs = kpt_iou(
        torch.from_numpy(wanted), torch.from_numpy(found), torch.from_numpy(areas), OKS_SIGMA.tolist()
    )
    ours = keypoint_similarity(wanted, found, areas, COCO_SIGMAS)
    assert ours == pytest.approx(theirs.numpy(), abs=1e-6)


@settings(max_examples=15)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 4))
def test_outlines_become_its_masks(seed: int, count: int) -> None:
    """Pillow and OpenCV fill polygons alike but for a pixel in ten thousand."""
    from ultralytics.data.utils import polygons2masks_overlap
    from ultralytics.utils.ops import resample_segments

    generator = np.random.default_rng(seed)
    outlines = [star(generator) for _ in range(count)]
    geometry = val_geometry((120, 200), (160, 160))
    (high, wide), (down, across) = geometry.resized, geometry.offset
    dense = np.stack(resample_segments([each.copy() for each in outlines], 1000))
    placed = dense * np.float32([wide, high]) + np.float32([across, down])
    theirs, order = polygons2masks_overlap((160, 160), placed, downsample_ratio=4)
    ours, own_order = outline_masks(outlines, geometry, reduced=4)
    assert sorted(own_order) == sorted(order)
    wanted = np.stack([theirs == place + 1 for place in range(count)])
    by_outline = [dict(zip(list(n), masks, strict=True)) for n, masks in ((own_order, ours), (order, wanted))]
    different = sum(int((by_outline[0][n] != by_outline[1][n]).sum()) for n in range(count))
    assert different <= 2 * count


def star(generator: np.random.Generator) -> np.ndarray:
    """A polygon around a centre, in shares of the picture."""
    angles = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(5, 30)))
    reach = generator.uniform(0.08, 0.2) * generator.uniform(0.6, 1, len(angles))
    points = generator.uniform(0.25, 0.75, 2) + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
    return points.astype(np.float32)


def test_networks_masks_and_overlaps_are_its_own() -> None:
    from ultralytics.utils.metrics import mask_iou
    from ultralytics.utils.ops import process_mask

    generator = np.random.default_rng(6)
    prototypes = generator.normal(0, 1, (8, 40, 40)).astype(np.float32)
    weights = generator.normal(0, 1, (6, 8)).astype(np.float32)
    boxes = some_boxes(generator, 6)
    ours = network_masks(prototypes, weights, boxes, (160, 160))
    theirs = process_mask(
        torch.from_numpy(prototypes), torch.from_numpy(weights), torch.from_numpy(boxes), (160, 160)
    )
    assert np.array_equal(ours, theirs.numpy().astype(bool))
    overlaps = mask_iou(theirs[:3].flatten(1).float(), theirs.flatten(1).float())
    assert mask_overlaps(ours[:3], ours) == pytest.approx(overlaps.numpy(), abs=1e-6)
    assert mask_overlaps(ours[:0], ours).shape == (0, 6)
    assert mask_overlaps(ours, ours[:0]).shape == (6, 0)


@settings(max_examples=40)
@given(
    centre=st.tuples(st.floats(0, 500), st.floats(0, 500)),
    sides=st.tuples(st.floats(4, 200), st.floats(4, 200)),
    angle=st.floats(-3, 3),
)
def test_rotated_boxes_are_those_of_opencv(
    centre: tuple[float, float], sides: tuple[float, float], angle: float
) -> None:
    """As Gaussians, in which width and height are exchanged by a quarter turn."""
    from ultralytics.utils.metrics import batch_probiou
    from ultralytics.utils.ops import xywhr2xyxyxyxy, xyxyxyxy2xywhr

    corners = xywhr2xyxyxyxy(torch.tensor([[*centre, *sides, angle]]))
    theirs = xyxyxyxy2xywhr(corners).float()
    ours = torch.from_numpy(smallest_rectangles([corners[0].numpy()]))
    assert ours[0, :2].numpy() == pytest.approx(np.array(centre), abs=0.01)
    assert float(batch_probiou(theirs, ours)) > 0.99


@settings(max_examples=60)
@given(size=SIZES, side=st.sampled_from([160, 320, 640]))
def test_pictures_lie_where_its_dataset_puts_them(size: tuple[int, int], side: int) -> None:
    from ultralytics.data.augment import LetterBox

    ratio = side / max(size)
    resized = tuple(min(int(np.ceil(length * ratio)), side) for length in size)
    placed = LetterBox((side, side), auto=False, scaleup=False)(
        {"img": np.full((*resized, 3), 255, np.uint8)}
    )["img"]
    rows, columns = (np.flatnonzero((placed[..., 0] == 255).any(axis)) for axis in (1, 0))
    geometry = val_geometry(size, (side, side))
    assert geometry.resized == (len(rows), len(columns))
    assert geometry.offset == (rows[0], columns[0])


@settings(max_examples=25)
@given(sizes=st.lists(SIZES, min_size=1, max_size=40))
def test_rectangles_are_those_of_its_batches(sizes: list[tuple[int, int]]) -> None:
    from ultralytics.data.base import BaseDataset

    dataset = BaseDataset.__new__(BaseDataset)
    dataset.ni, dataset.batch_size, dataset.imgsz, dataset.stride, dataset.pad = len(sizes), 16, 320, 32, 0.5
    dataset.labels = [{"shape": size, "place": place} for place, size in enumerate(sizes)]
    dataset.im_files = list(range(len(sizes)))
    dataset.set_rectangle()
    theirs = {
        label["place"]: tuple(int(side) for side in dataset.batch_shapes[batch])
        for label, batch in zip(dataset.labels, dataset.batch, strict=True)
    }
    ours = rectangles(sizes, 320)
    # Of pictures with one aspect ratio, either may stand on either side of the border of two batches.
    assert sorted(ours) == sorted(theirs.values())
