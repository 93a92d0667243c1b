"""Every kind of result: drawn, shown, saved, as rows, as a table and in a notebook."""

from __future__ import annotations

import base64
import builtins
import copy
import io
import pickle
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes.answers.displayed import Displayed
from deploykit_runtimes.answers.results import (
    Classification,
    ClassScore,
    Detections,
    Features,
    OrientedDetections,
    Poses,
    Segmentation,
)
from deploykit_runtimes.errors import DependencyError, InputError, OptionError, RuntimeUnavailableError
from deploykit_runtimes.pixels.picture import Picture
from PIL import Image, ImageShow

SIZE = (60, 80)
PIXELS = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def boxes(count: int, name: str = "cat") -> dict[str, Any]:
    rows = np.tile(np.array([[5, 10, 45, 50]], np.float32), (count, 1))
    return {
        "boxes": rows,
        "scores": np.linspace(0.9, 0.5, count, dtype=np.float32),
        "class_ids": np.arange(count),
        "names": (name,) * count,
        "image_size": SIZE,
        "picture": Picture(PIXELS),
    }


def every_result(count: int = 2, name: str = "cat") -> list[Displayed]:
    top = tuple(ClassScore(class_id=k, name=name, score=1 / (k + 2)) for k in range(count))
    rotated = np.tile(np.array([[40, 30, 20, 10, np.pi / 2]], np.float32), (count, 1))
    corners = np.tile(np.array([[[50, 35], [50, 25], [30, 25], [30, 35]]], np.float32), (count, 1, 1))
    masks = np.zeros((count, *SIZE), bool)
    masks[:, 10:20, 10:20] = True
    maps = tuple(np.arange(24, dtype=np.float32).reshape(1, 4, 6) for _ in range(count))
    picture = Picture(PIXELS)
    return [
        Classification(top=top, image_size=SIZE, picture=picture),
        Detections(**boxes(count, name)),
        Segmentation(**boxes(count, name), masks=masks),
        Poses(**boxes(count, name), keypoints=np.full((count, 2, 3), 20, np.float32)),
        OrientedDetections(**boxes(count, name), rotated=rotated, corners=corners),
        Features(maps=maps, names=(name,) * count, image_size=SIZE, picture=picture),
    ]


each = pytest.mark.parametrize("result", every_result(), ids=lambda result: type(result).__name__)


@each
def test_a_result_is_drawn_into_its_own_picture(result: Displayed) -> None:
    np.testing.assert_array_equal(result.plot(), result.plot(PIXELS))
    assert (result.plot() != PIXELS).any()


@each
def test_without_a_picture_one_is_asked_for(result: Any) -> None:
    bare = replace(result, picture=None)
    with pytest.raises(InputError, match="does not know its picture"):
        bare.plot()
    assert bare.plot(PIXELS).shape == PIXELS.shape
    assert bare.source == ""


@each
def test_a_result_is_a_sequence(result: Any) -> None:
    entries = list(result)
    assert len(entries) == len(result) == 2
    assert repr(result[0]) == repr(entries[0])
    assert repr(result[-1]) == repr(entries[1])
    with pytest.raises(IndexError):
        result[2]


@pytest.mark.parametrize("count", [0, 3])
def test_rows_are_flat_and_have_the_columns(count: int) -> None:
    for result in every_result(count):
        rows = result.rows()
        assert len(rows) == count
        for row in rows:
            assert list(row) == result.columns()
            assert all(type(value) in (str, int, float) for value in row.values()), row


def test_rows_of_each_kind() -> None:
    classes, plain, masks, poses, turned, maps = (result.rows()[1] for result in every_result())
    assert classes == {"image": "", "rank": 2, "class_id": 1, "name": "cat", "score": 1 / 3}
    assert [plain[key] for key in ("x1", "y1", "x2", "y2", "score")] == [5, 10, 45, 50, 0.5]
    assert masks["mask_pixels"] == 100
    assert poses["keypoint1_visibility"] == 20
    assert turned["angle"] == pytest.approx(np.pi / 2)
    assert (maps["shape"], maps["max"]) == ("1x4x6", 23)


def test_details_of_each_detection() -> None:
    _, plain, masks, poses, turned, _ = every_result()
    assert isinstance(plain, Detections)
    found = plain[0]
    assert (found.name, found.class_id, found.box, found.mask) == ("cat", 0, (5.0, 10.0, 45.0, 50.0), None)
    assert repr(found) == "Detection(cat 0.90 [5, 10, 45, 50])"
    assert repr(next(iter(masks))) == "Detection(cat 0.90 [5, 10, 45, 50], mask of 100 pixels)"  # type: ignore[call-overload]
    assert "2 keypoints" in repr(next(iter(poses)))  # type: ignore[call-overload]
    assert "turned by 90 degrees" in repr(next(iter(turned)))  # type: ignore[call-overload]


@each
def test_a_repr_is_one_short_line(result: Displayed) -> None:
    assert "\n" not in repr(result)
    assert len(repr(result)) < 200
    assert repr(result).startswith(type(result).__name__)
    assert repr(result).endswith("80x60 pixels")


def test_a_repr_names_few_of_many_and_the_source(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    Image.fromarray(PIXELS).save(path)
    result = Detections(**{**boxes(40), "picture": Picture(path)})
    assert "35 more" in repr(result)
    assert f"of {path}, 80x60" in repr(result)
    assert "nothing found" in repr(Detections(**boxes(0)))


def test_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, ...]] = []
    fake = SimpleNamespace(DataFrame=lambda rows, columns: made.append((rows, columns)) or "frame")
    monkeypatch.setitem(sys.modules, "pandas", fake)
    empty = Detections(**boxes(0))
    assert empty.to_pandas() == "frame"
    assert made == [([], empty.columns())]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DependencyError, match="needs the package pandas") as caught:
        empty.to_pandas()
    assert "result.rows()" in caught.value.hint


def test_a_real_table_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    for result in (*every_result(0), *every_result(2)):
        table = result.to_pandas()
        assert isinstance(table, pandas.DataFrame)
        assert list(table.columns) == result.columns()
        assert len(table) == len(result)


@pytest.mark.parametrize("ending", ["png", "jpg", "JPEG", "webp", "bmp", "tif", "gif"])
def test_saving(tmp_path: Path, ending: str) -> None:
    target = tmp_path / "new" / f"drawn.{ending}"
    result = every_result()[1]
    assert result.save(str(target)) == target
    with Image.open(target) as saved:
        assert saved.size == (80, 60)
        if ending == "png":
            np.testing.assert_array_equal(np.asarray(saved), result.plot())
    result.save(target)  # again, over it


@pytest.mark.parametrize("name", ["drawn", "drawn.pdf", "drawn.txt", ".png", "drawn.eps"])
def test_endings_that_are_no_picture(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="with the suffix of a picture format"):
        every_result()[1].save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_picture_is_never_replaced_by_its_own_drawing(tmp_path: Path) -> None:
    path, link = tmp_path / "cat.png", tmp_path / "link.png"
    Image.fromarray(PIXELS).save(path)
    link.symlink_to(path)
    before = path.read_bytes()
    for source, target in ((path, path), (path, link), (link, path)):
        result = Detections(**{**boxes(1), "picture": Picture(source)})
        with pytest.raises(OptionError, match="would replace the picture itself"):
            result.save(target)
    assert path.read_bytes() == before


def test_nothing_half_written_where_the_picture_is_gone(tmp_path: Path) -> None:
    result = Detections(**{**boxes(1), "picture": Picture(tmp_path / "gone.png")})
    with pytest.raises(InputError, match="does not exist"):
        result.save(tmp_path / "drawn.png")
    assert not list(tmp_path.iterdir())


def test_show_hands_the_drawing_to_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(ImageShow, "show", lambda image, title: shown.append(np.asarray(image)) or True)
    result = every_result()[1]
    result.show()
    np.testing.assert_array_equal(shown[0], result.plot())
    monkeypatch.setattr(ImageShow, "show", lambda image, title: False)
    with pytest.raises(RuntimeUnavailableError, match="no viewer") as caught:
        result.show()
    assert "result.save(" in caught.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_show_without_a_display_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "")
    with pytest.raises(RuntimeUnavailableError, match="no display") as caught:
        every_result()[1].show()
    assert 'result.save("result.jpg")' in caught.value.hint


def test_show_in_a_notebook_is_output_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=shown.append))
    every_result()[1].show()
    assert shown[0].size == (80, 60)


ALLOWED = {"div", "p", "b", "img", "table", "thead", "tbody", "tr", "th", "td"}


class Checker(HTMLParser):
    """Collects elements and attributes, and whether what is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@each
def test_notebooks_show_the_drawing_and_a_table(result: Displayed) -> None:
    page = Checker(result._repr_html_())
    (image,) = [attrs["src"] or "" for tag, attrs in page.found if tag == "img"]
    data = base64.b64decode(image.removeprefix("data:image/png;base64,"))
    assert data == result._repr_png_()
    with Image.open(io.BytesIO(data)) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), result.plot())
    assert len([tag for tag, _ in page.found if tag == "tr"]) == 1 + len(result)


def test_notebooks_get_a_small_picture_of_a_large_one() -> None:
    large = np.zeros((1500, 3000, 3), np.uint8)
    result = Detections(**{**boxes(1), "image_size": (1500, 3000), "picture": Picture(large)})
    with Image.open(io.BytesIO(result._repr_png_() or b"")) as drawn:
        assert drawn.size == (1024, 512)


def test_notebooks_never_see_an_exception(tmp_path: Path) -> None:
    result = Detections(**{**boxes(30), "picture": Picture(tmp_path / "gone.png")})
    assert result._repr_png_() is None
    page = result._repr_html_()
    assert "does not exist" in page
    assert "10 more" in page
    Checker(page)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[2J\u202e"]
)
def test_names_of_strangers_are_text(name: str) -> None:
    for result in every_result(2, name):
        page = Checker(result._repr_html_())
        assert {tag for tag, _ in page.found} <= ALLOWED
        assert not re.search("[\x00-\x1f\u202e]", result._repr_html_())


def test_results_travel_without_the_pixels() -> None:
    for result in every_result():
        there = pickle.loads(pickle.dumps(result))
        assert there.rows() == result.rows()
        with pytest.raises(InputError, match="did not come along"):
            there.plot()
        assert copy.deepcopy(result).plot().shape == PIXELS.shape


def test_no_optional_package_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **keywords: Any) -> Any:
        assert name.partition(".")[0] not in ("pandas", "matplotlib", "IPython", "cv2", "torch")
        return real(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for result in every_result():
        assert result.rows() and result._repr_html_() and repr(result)
