"""Predictor against Ultralytics' own predict: the same network, two pre- and post-processings."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from deploykit_runtimes.answers.results import Detections, OrientedDetections, Poses, Segmentation
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess, Task
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.testing import FakeRunner
from torch import nn

SIZE = 320
PHOTOS = ("cat", "china", "flower_portrait", "cat_wide", "cat_small")


def build(config: str, task: Task, perturb: Callable[[nn.Module, int], nn.Module]) -> object:
    """A small untrained network whose scores spread around the threshold."""
    from ultralytics import YOLO

    torch.manual_seed(0)
    yolo = YOLO(config, task=task, verbose=False)
    perturb(yolo.model, 1)
    head = yolo.model.model[-1]
    hooks = [branch[-1].register_forward_hook(spread(-4, 1.5)) for branch in head.cv3]
    for branches in (head.cv2, getattr(head, "cv4", ())):
        hooks += [branch[-1].register_forward_hook(spread(0, 2)) for branch in branches]
    with torch.no_grad():
        yolo.model(torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    for hook in hooks:
        hook.remove()
    return yolo


def spread(mean: float, std: float) -> Callable[[nn.Conv2d, object, torch.Tensor], None]:
    """Give the outputs of a convolution a distribution, so that boxes differ and some score well."""

    def hook(conv: nn.Conv2d, _: object, values: torch.Tensor) -> None:
        gain = std / values.std((0, 2, 3))
        conv.weight.mul_(gain[:, None, None, None])
        conv.bias.copy_((conv.bias - values.mean((0, 2, 3))) * gain + mean)

    return hook


def as_predictor(yolo: object, task: Task, output: OutputSpec) -> Predictor:
    """Ours over the very network that Ultralytics runs: its predict fuses a copy of it."""

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            # pixel / 255 and pixel * (1 / 255) differ in the last bit, which decides ties between boxes.
            prediction = yolo.predictor.model(torch.from_numpy(images * 255).round() / 255)[0]
        arrays = prediction if isinstance(prediction, tuple) else (prediction,)
        return {name: array.numpy() for name, array in zip(output.names, arrays, strict=True)}

    return Predictor(FakeRunner(make_spec(task, output, classes=len(yolo.names)), infer))


def make_spec(task: Task, output: OutputSpec, *, classes: int) -> ModelSpec:
    side = AxisRange(min=32, max=1280, step=32)
    return ModelSpec(
        task=task,
        family="yolo",
        variant="tiny",
        origin="ultralytics",
        input=InputSpec(
            height=SIZE,
            width=SIZE,
            dynamic={"batch": AxisRange(min=1, max=8), "height": side, "width": side},
        ),
        preprocess=Preprocess(
            resize="letterbox", resize_to=(SIZE, SIZE), resampler="opencv", pad_value=114, stride=32
        ),
        output=output,
        num_classes=classes,
    )


def theirs(yolo: object, photo: np.ndarray, conf: float) -> object:
    bgr = np.ascontiguousarray(photo[..., ::-1])
    return yolo.predict(bgr, imgsz=SIZE, conf=conf, device="cpu", verbose=False)[0]


def assert_same_boxes(ours: Detections, wanted: object) -> None:
    assert len(ours) == len(wanted) > 0
    np.testing.assert_allclose(ours.boxes, wanted.xyxy.numpy(), atol=2e-3)
    np.testing.assert_allclose(ours.scores, wanted.conf.numpy(), atol=1e-5)
    np.testing.assert_array_equal(ours.class_ids, wanted.cls.numpy().astype(int))


def test_detect(photos, perturb) -> None:
    yolo = build("yolo11n.yaml", "detect", perturb)
    predictor = as_predictor(yolo, "detect", OutputSpec(names=("predictions",), layout="yolo"))
    for name in PHOTOS:
        wanted = theirs(yolo, photos[name], 0.3)
        assert_same_boxes(predictor.predict(photos[name], conf=0.3), wanted.boxes)


def test_segment(photos, perturb) -> None:
    from ultralytics.utils import ops

    yolo = build("yolo11n-seg.yaml", "segment", perturb)
    output = OutputSpec(names=("predictions", "prototypes"), layout="yolo", mask_channels=32)
    predictor = as_predictor(yolo, "segment", output)
    for name in PHOTOS:
        wanted = theirs(yolo, photos[name], 0.3)
        ours = predictor.predict(photos[name], conf=0.3)
        assert isinstance(ours, Segmentation)
        assert_same_boxes(ours, wanted.boxes)
        masks = ops.scale_masks(wanted.masks.data[None].float(), photos[name].shape[:2])[0].numpy() > 0.5
        overlap = (masks & ours.masks).sum((1, 2)) / (masks | ours.masks).sum((1, 2))
        assert overlap.min() > (0.99 if min(photos[name].shape[:2]) > 50 else 0.9)  # one row more or less


def test_segments_of_which_the_image_shows_nothing(photos) -> None:
    """Ultralytics looks for a mask in the tensor: one in the padding, or one that a smaller image loses."""
    from ultralytics.models.yolo.segment.predict import SegmentationPredictor

    generator = np.random.default_rng(0)
    count, classes, kept_unseen, dropped = 300, 3, 0, 0
    head = np.zeros((1, 4 + classes + 2, count), np.float32)
    head[0, :2] = generator.uniform(0, SIZE, (2, count))
    head[0, 2:4] = generator.uniform(1, 30, (2, count))
    head[0, 4 + generator.integers(0, classes, count), np.arange(count)] = (
        generator.permutation(count) / count
    )
    head[0, -2:] = generator.normal(0, 1, (2, count))
    prototypes = generator.normal(0, 1, (1, 2, SIZE // 4, SIZE // 4)).astype(np.float32)
    output = OutputSpec(names=("predictions", "prototypes"), layout="yolo", mask_channels=2)
    spec = make_spec("segment", output, classes=classes)

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        height, width = (side // 4 for side in images.shape[2:])
        return {"predictions": head, "prototypes": prototypes[:, :, :height, :width]}

    predictor = Predictor(FakeRunner(spec, infer))
    for photo in (*(photos[name] for name in PHOTOS), photos["cat"][:20, :40], photos["cat"][:300, :12]):
        reference = SegmentationPredictor(overrides={"device": "cpu", "conf": 0.3, "verbose": False})
        reference.model = SimpleNamespace(names=dict(enumerate("abc")), end2end=False)
        reference.batch = [["photo"]]
        ours, images = predictor.predict(photo, conf=0.3), predictor.runner.feeds[-1]
        heads = tuple(torch.from_numpy(array.copy()) for array in infer(images).values())
        wanted = reference.postprocess((heads,), torch.from_numpy(images), [photo])[0]
        assert isinstance(ours, Segmentation)
        assert_same_boxes(ours, wanted.boxes)
        kept_unseen += int((~ours.masks.any((1, 2))).sum())
        dropped += len(ours) < count * 0.7
    assert kept_unseen > 10
    assert dropped


def test_pose(photos, perturb) -> None:
    yolo = build("yolo11n-pose.yaml", "pose", perturb)
    output = OutputSpec(names=("predictions",), layout="yolo", keypoints=(17, 3))
    predictor = as_predictor(yolo, "pose", output)
    for name in PHOTOS:
        wanted = theirs(yolo, photos[name], 0.01)
        ours = predictor.predict(photos[name], conf=0.01)
        assert isinstance(ours, Poses)
        assert_same_boxes(ours, wanted.boxes)
        np.testing.assert_allclose(ours.keypoints, wanted.keypoints.data.numpy(), atol=2e-3)


def test_oriented(photos) -> None:
    """From made-up outputs: an untrained network gives many boxes the same score, and then the order in
    which Ultralytics takes them is not defined."""
    from ultralytics.engine.results import OBB
    from ultralytics.utils import ops
    from ultralytics.utils.nms import non_max_suppression

    generator = np.random.default_rng(0)
    count = 400
    head = np.zeros((1, 4 + 15 + 1, count), np.float32)
    head[0, :2] = generator.uniform(0, SIZE, (2, count))
    head[0, 2:4] = generator.uniform(20, 120, (2, count))
    head[0, 4 + generator.integers(0, 15, count), np.arange(count)] = generator.permutation(count) / count
    head[0, -1] = generator.uniform(-np.pi / 4, 3 * np.pi / 4, count)
    output = OutputSpec(names=("predictions",), layout="yolo")
    spec = make_spec("obb", output, classes=15)
    predictor = Predictor(FakeRunner(spec, lambda _: {"predictions": head}))
    for name in PHOTOS:
        rows = non_max_suppression(torch.from_numpy(head.copy()), 0.3, 0.4, nc=15, rotated=True)[0]
        ours, shape = predictor.predict(photos[name], conf=0.3, iou=0.4), photos[name].shape
        boxes = ops.scale_boxes(predictor.runner.feeds[-1].shape[2:], rows[:, :4], shape, xywh=True)
        wanted = OBB(torch.cat([boxes, rows[:, 6:], rows[:, 4:6]], dim=-1), shape[:2]).numpy()
        assert isinstance(ours, OrientedDetections)
        assert 0 < len(ours) == len(wanted) < 280
        np.testing.assert_allclose(ours.rotated, wanted.xywhr, rtol=1e-5, atol=2e-3)
        np.testing.assert_allclose(ours.boxes, wanted.xyxy, rtol=1e-5, atol=5e-3)
        assert (ours.boxes.min(0) < 0).all() or (ours.boxes.max(0)[2:] > shape[1::-1]).any()
        np.testing.assert_allclose(ours.corners, wanted.xyxyxyxy, rtol=1e-5, atol=5e-3)
        np.testing.assert_array_equal(ours.scores, wanted.conf)
        np.testing.assert_array_equal(ours.class_ids, wanted.cls.astype(int))
