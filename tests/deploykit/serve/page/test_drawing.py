"""What the page draws for each task, looked up in the pixels of its canvas."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from deploykit.serve.server import Server

DESKTOP = {"width": 1280, "height": 900}
TILT = 12
SIDES = ((255, 255, 255), (64, 200, 255), (255, 190, 40))
FIRST_CLASS = (255, 64, 38)
CONFIGS = {"pose": "yolo11n-pose", "obb": "yolo11n-obb", "segment": "yolo11n-seg"}
BATCH_NORM_MOMENTUM = 0.1

COUNT_TEXTS = """
const fill = CanvasRenderingContext2D.prototype.fillText;
window.texts = [];
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  if (this.canvas.id === "canvas") {
    window.texts.push({ text, x, y, width: this.measureText(text).width });
  }
  fill.call(this, text, x, y);
};
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Iterator[Server]:
    """One model of each task; the masks come out of the graph."""
    from deploykit.api import export

    folder = tmp_path_factory.mktemp("tasks")
    for task, config in CONFIGS.items():
        checkpoint = _untrained(config, folder / f"{task}.pt")
        finished = {"preprocess": True, "postprocess": True, "masks": True, "conf": 0.01}
        export(checkpoint, output=folder / f"{task}.onnx", **(finished if task == "segment" else {}))
    _features(folder / "features.onnx")
    files = [f"{task}={folder / task}.onnx" for task in (*CONFIGS, "features")]
    with serve(*files, max_body_mb=1.0) as server:
        yield server


def _untrained(config: str, path: Path) -> Path:
    """A file of Ultralytics whose random network depends on the picture and finds something."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    yolo = YOLO(f"{config}.yaml", verbose=False)
    model = yolo.model
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    head = model.model[-1]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        model.train()(torch.rand(2, 3, 160, 160))
        for norm in norms:
            norm.momentum = BATCH_NORM_MOMENTUM
            norm.running_var.mul_(1.5)  # With a gain of 1 a random network amplifies rounding.
        for branch in head.cv3:
            branch[-1].weight.mul_(4)
            branch[-1].bias.fill_(-8)
            branch[-1].bias[0] = -0.5
        for branch in head.cv2:  # Distances to the sides, as a distribution: small ones.
            branch[-1].bias.copy_(-0.4 * torch.arange(head.reg_max).repeat(4))
        for branch in getattr(head, "cv4", ()):
            branch[-1].weight.mul_(4)
    model.eval()
    model.args = {**model.args, "imgsz": 160}
    yolo.save(path)
    return path


def _features(path: Path) -> None:
    import timm
    import torch

    from deploykit.api import export

    torch.manual_seed(0)
    weights = timm.create_model("efficientnet_lite0", num_classes=3).state_dict()
    torch.save(weights, path.with_suffix(".pth"))
    export(path.with_suffix(".pth"), output=path, variant="efficientnet_lite0", features=True, imgsz=(64, 64))


def found(visitor: Any, server: Server, task: str, photo: bytes, conf: float = 0.05) -> list[dict[str, Any]]:
    """What the server finds, with the picture of it on the page."""
    visitor.choose(task)
    visitor.give("drop", photo)
    visitor.wait()
    with visitor.page.expect_response(lambda response: f"conf={conf}" in response.url) as caught:
        visitor.slide("conf", conf)
    visitor.wait()
    detections: list[dict[str, Any]] = caught.value.json()["results"][0]["detections"]
    assert detections
    return detections


def pixels(visitor: Any) -> np.ndarray:
    """The canvas, int [H, W, 3]."""
    url = visitor.page.eval_on_selector("#canvas", "canvas => canvas.toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.array(picture.convert("RGB"), dtype=int)


def distance(canvas: np.ndarray, points: np.ndarray, color: tuple[int, ...], side: int = 512) -> np.ndarray:
    """How far off ``color`` the nearest of the pixels around each point of the picture is."""
    places = np.rint(points * (canvas.shape[1] / side)).astype(int)
    around = [canvas[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].reshape(-1, 3) for x, y in places.tolist()]
    return np.array([np.abs(area - color).max(1).min() for area in around])


def inside(points: np.ndarray, side: int = 512) -> Any:
    return np.all((points > 4) & (points < side - 4), axis=-1)


def test_a_rotated_box_is_drawn_rotated(tasks, visit, photo) -> None:
    visitor = visit(tasks.url, viewport=DESKTOP)
    detections = found(visitor, tasks, "obb", photo)
    index, corners = next(
        (index, corners)
        for index, corners in enumerate(np.array(entry["corners"]) for entry in detections)
        if inside(corners).all() and min(abs(corners[0] - corners[1])) > TILT
    )
    visitor.page.locator("#found button").nth(index).click()
    canvas = pixels(visitor)
    middles = (corners + np.roll(corners, -1, 0)) / 2
    assert (distance(canvas, middles, FIRST_CLASS) < 40).all()
    assert (distance(canvas, corners, FIRST_CLASS) < 40).sum() >= 3  # The label may lie on one.
    low, high = corners.min(0), corners.max(0)
    upright = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    assert (distance(canvas, upright, FIRST_CLASS) > 40).any()


def test_keypoints_are_joined_left_and_right_apart(tasks, visit, photo) -> None:
    visitor = visit(tasks.url, viewport=DESKTOP)
    detections = found(visitor, tasks, "pose", photo)
    index, points = max(
        ((index, np.array(entry["keypoints"])) for index, entry in enumerate(detections)),
        key=lambda entry: (inside(entry[1][:, :2]) & (entry[1][:, 2] >= 0.5)).sum(),
    )
    shown = np.flatnonzero(inside(points[:, :2]) & (points[:, 2] >= 0.5))
    assert len(shown) > 5
    visitor.page.locator("#found button").nth(index).click()
    canvas = pixels(visitor)
    sides = [0 if number == 0 else 2 - number % 2 for number in range(17)]
    # A dot may lie under a later one.
    near = [distance(canvas, points[[n], :2], SIDES[sides[n]])[0] < 40 for n in shown]
    assert np.mean(near) > 0.8
    limbs = ((7, 9), (8, 10), (13, 15), (14, 16), (5, 7), (6, 8), (11, 13), (12, 14))
    joined = [limb for limb in limbs if {*limb} <= {*shown}]
    assert joined
    for start, end in joined:
        middle = points[[start, end], :2].mean(0, keepdims=True)
        assert distance(canvas, middle, SIDES[sides[start]])[0] < 60


def test_a_mask_is_translucent_and_has_a_rim(tasks, visit, photo) -> None:
    visitor = visit(tasks.url, viewport=DESKTOP)
    detections = found(visitor, tasks, "segment", photo)
    masks = [decoded(entry["mask"]) for entry in detections]
    index = int(np.argmax([mask.sum() for mask in masks]))
    visitor.page.locator("#found button").nth(index).click()
    canvas = pixels(visitor)
    visitor.page.locator("#found button").nth((index + 1) % len(masks)).click()
    body, rim = parts(masks[index])
    other = masks[(index + 1) % len(masks)]
    elsewhere = pixels(visitor)
    scale = canvas.shape[1] / 512
    alone = np.argwhere(body & ~other)
    picked = np.rint(alone[:: max(len(alone) // 200, 1)] * scale).astype(int)
    tinted = canvas[picked[:, 0], picked[:, 1]]
    plain = elsewhere[picked[:, 0], picked[:, 1]]
    mixed = 0.6 * plain + 0.4 * np.array(FIRST_CLASS)
    assert np.median(np.abs(tinted - mixed).max(1)) < 8
    edges = np.argwhere(rim)[:, ::-1]
    assert (distance(canvas, edges[:: max(len(edges) // 200, 1)], FIRST_CLASS) < 60).mean() > 0.9


def decoded(mask: dict[str, Any]) -> np.ndarray:
    """COCO's run lengths as bool [H, W]."""
    counts = mask["counts"]
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(mask["size"], order="F")


def parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inside of a mask, some pixels off its edge, and the edge."""
    deep = shrunk(mask, 6)
    return deep, mask & ~shrunk(mask, 1)


def shrunk(mask: np.ndarray, by: int) -> np.ndarray:
    padded = np.pad(mask, by)
    shifts = [np.roll(padded, shift, axis) for axis in (0, 1) for shift in (-by, by)]
    kept: np.ndarray = np.logical_and.reduce([padded, *shifts])[by:-by, by:-by]
    return kept


def test_feature_maps_are_listed(tasks, visit, photo) -> None:
    visitor = visit(tasks.url, viewport=DESKTOP)
    visitor.choose("features")
    visitor.give("drop", photo)
    visitor.wait()
    maps = visitor.page.locator("#found .map")
    assert maps.count() == 5
    assert maps.first.inner_text().split()[1:6:2] == ["16", "32", "32"]
    assert "0.0000" not in visitor.page.inner_text("#found")
    assert visitor.page.inner_text("#summary") == "5 feature maps"


def test_labels_lie_inside_of_the_picture_and_apart(tasks, visit, photo) -> None:
    boxes = [[40, 80, 90, 400], [60, 82, 110, 400], [70, 84, 130, 380], [480, 0, 512, 60], [-9, 0, 40, 30]]
    entries = [
        {"class_id": 0, "name": "person", "score": 0.9 - index / 10, "box": box}
        for index, box in enumerate(boxes)
    ]

    def replace(route: Any) -> None:
        result = {"task": "detect", "image_size": [512, 512], "detections": entries}
        route.fulfill(json={**route.fetch().json(), "results": [result]})

    visitor = visit("about:blank", viewport={"width": 390, "height": 844})
    visitor.page.add_init_script(COUNT_TEXTS)
    visitor.page.route("**/predict*", replace)
    visitor.page.goto(tasks.url)
    visitor.choose("pose")
    visitor.give("drop", photo)
    visitor.wait()
    texts = visitor.page.evaluate("window.texts.slice(-5)")
    assert texts[-1]["text"] == "person 0.90"  # On top of the others, where there is no room.
    width, height = visitor.page.eval_on_selector("#canvas", "c => [c.clientWidth, c.clientHeight]")
    half = 8
    spots = np.array([(t["x"] - 4, t["y"] - half, t["x"] + t["width"] + 4, t["y"] + half) for t in texts])
    assert (spots[:, :2] >= -1).all()
    assert (spots[:, 2] <= width + 1).all()
    assert (spots[:, 3] <= height + 1).all()
    for index, one in enumerate(spots):
        for other in spots[index + 1 :]:
            apart = (one[2:] <= other[:2] + 1).any() or (other[2:] <= one[:2] + 1).any()
            assert apart, (one, other)


def test_a_picture_that_fails_shows_nothing_of_the_last(tasks, visit, photo) -> None:
    visitor = visit(tasks.url, viewport=DESKTOP)
    found(visitor, tasks, "pose", photo)
    visitor.give("drop", photo + bytes(1_500_000), name="large.jpg")
    visitor.page.wait_for_selector("#error:visible")
    assert "--max-body" in visitor.page.inner_text("#error")
    assert visitor.page.locator("#found button").count() == 0
    assert visitor.page.inner_text("#summary") == "Nothing yet."


def test_a_file_that_is_no_picture_leaves_the_last_in_use(tasks, visit, photo) -> None:
    visitor = visit(tasks.url, viewport=DESKTOP)
    found(visitor, tasks, "pose", photo)
    visitor.give("drop", b"no picture", name="notes.txt", kind="text/plain")
    visitor.page.wait_for_selector("#error:visible")
    visitor.slide("conf", 0.1)
    assert not visitor.page.is_visible("#error")
    assert visitor.page.locator("#found button").count() > 0


def test_another_model_clears_what_the_last_one_found(tasks, visit, photo) -> None:
    visitor = visit(tasks.url, viewport=DESKTOP)
    found(visitor, tasks, "pose", photo)
    visitor.page.route("**/features/predict*", lambda route: route.abort())
    visitor.choose("features")
    visitor.page.wait_for_selector("#error:visible")
    assert visitor.page.inner_text("#error") == "The server cannot be reached."
    assert visitor.page.locator("#found button").count() == 0


def test_the_picture_comes_into_view_with_a_chosen_detection(tasks, visit, photo) -> None:
    visitor = visit(tasks.url, viewport={"width": 390, "height": 844})
    found(visitor, tasks, "pose", photo)
    button = visitor.page.locator("#found button").first
    button.scroll_into_view_if_needed()
    visitor.page.evaluate("scrollTo(0, document.querySelector('#found').getBoundingClientRect().top - 40)")
    button.click()
    assert visitor.page.eval_on_selector("#stage", "stage => stage.getBoundingClientRect().top") >= -1
