"""The page of the server in a real browser, against the real server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


def _is_clean(visitor, url: str) -> bool:
    hosts = {urlsplit(address).netloc for address in visitor.requests} - {""}
    return visitor.problems == [] and hosts == {urlsplit(url).netloc}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_dropped_photo_shows_its_boxes(served, visit, photo, scheme, tmp_path: Path) -> None:
    visitor = visit(served.url, viewport=DESKTOP, color_scheme=scheme, device_scale_factor=2)
    visitor.choose("segmenter")
    visitor.give("drop", photo)
    visitor.wait()
    assert visitor.page.inner_text("#summary") == "Nothing above the threshold."
    plain = visitor.page.eval_on_selector("#canvas", "canvas => canvas.toDataURL()")

    visitor.slide("conf", 0.05)
    entries = visitor.page.locator("#found .entry")
    assert entries.count() > 0
    assert visitor.page.eval_on_selector("#canvas", "canvas => canvas.toDataURL()") != plain
    assert visitor.colors("#canvas") > 1000
    assert visitor.page.eval_on_selector("#canvas", "c => c.width / c.clientWidth") == pytest.approx(
        2, rel=0.02
    )
    times = visitor.page.inner_text("#times")
    assert all(name in times for name in ("decode", "preprocess", "queue", "infer", "postprocess", "total"))
    assert "2 answers" in visitor.page.inner_text("#latency")
    assert "conf=0.05" in visitor.page.inner_text("#curl")
    visitor.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert _is_clean(visitor, served.url)


def test_a_chosen_detection_is_shown_alone(served, visit, photo) -> None:
    visitor = visit(served.url, viewport=DESKTOP)
    visitor.choose("segmenter")
    visitor.give("drop", photo)
    visitor.wait()
    visitor.slide("conf", 0.05)
    every = visitor.page.eval_on_selector("#canvas", "canvas => canvas.toDataURL()")
    first = visitor.page.locator("#found button").first
    first.focus()
    visitor.page.keyboard.press("Enter")
    assert first.get_attribute("aria-pressed") == "true"
    assert visitor.page.eval_on_selector("#canvas", "canvas => canvas.toDataURL()") != every
    visitor.page.keyboard.press("Enter")
    assert visitor.page.eval_on_selector("#canvas", "canvas => canvas.toDataURL()") == every


def test_a_pasted_photo_is_classified(served, visit, photo) -> None:
    visitor = visit(served.url, viewport=DESKTOP)
    visitor.choose("classifier")
    visitor.give("paste", photo)
    visitor.wait()
    found = visitor.page.inner_text("#found")
    assert all(name in found for name in ("cat", "dog", "bird"))
    visitor.slide("top_k", 1)
    assert visitor.page.locator("#found .entry").count() == 1
    assert _is_clean(visitor, served.url)


def test_the_card_tells_of_the_model(served, visit) -> None:
    visitor = visit(served.url, viewport=DESKTOP)
    visitor.choose("classifier")
    card = visitor.page.inner_text("#card")
    assert "float32 NCHW [any, 3, 32, 32]" in card
    assert "batch 1.." in card
    assert "largest difference" in card
    assert "onnxruntime" in card
    assert visitor.page.inner_text("#classes summary") == "3 classes"


def test_the_keyboard_alone_is_enough(served, visit, photo) -> None:
    picture = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": photo}
    visitor = visit(served.url, viewport=DESKTOP)
    # Registered early: the browser takes a moment until it hands its file dialogs to the test.
    visitor.page.on("filechooser", lambda chooser: chooser.set_files(picture))
    visitor.page.wait_for_selector("#thresholds:not([hidden])")
    reached = []
    for _ in range(9):
        visitor.page.keyboard.press("Tab")
        reached.append(visitor.page.evaluate("document.activeElement.id"))
        outline = visitor.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or reached[-1] == ""
    assert {"model", "choose", "camera", "conf", "copy"} <= set(reached)
    visitor.page.focus("#choose")
    visitor.page.keyboard.press("Enter")
    visitor.wait()
    visitor.page.focus("#conf")
    before = visitor.page.input_value("#conf")
    visitor.page.keyboard.press("ArrowRight")
    assert visitor.page.input_value("#conf") != before


@pytest.mark.parametrize("model", ["segmenter", "classifier"])
def test_a_phone_needs_no_sideways_scrolling(served, visit, photo, model, tmp_path: Path) -> None:
    visitor = visit(served.url, viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
    visitor.choose(model)
    visitor.give("drop", photo)
    visitor.wait()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    visitor.page.screenshot(path=tmp_path / "phone.png", full_page=True)


def test_the_camera_answers_frame_after_frame(served, visit) -> None:
    visitor = visit(served.url, viewport=PHONE)
    visitor.choose("classifier")
    visitor.page.click("#camera")
    visitor.page.click("#live")
    visitor.until("parseInt(document.querySelector('#latency').textContent.split('·')[2]) >= 3")
    visitor.page.click("#live")
    visitor.page.click("#shoot")
    visitor.until("document.querySelector('#camera').textContent === 'Camera'")
    visitor.page.wait_for_selector("#canvas:visible")
    visitor.wait()
    assert visitor.page.eval_on_selector("#video", "video => video.srcObject") is None
    assert _is_clean(visitor, served.url)


def test_errors_are_told(served, visit) -> None:
    visitor = visit(served.url, viewport=DESKTOP)
    visitor.choose("classifier")
    visitor.give("drop", b"no picture", name="notes.txt", kind="text/plain")
    visitor.page.wait_for_selector("[role=alert]:visible")
    assert "notes.txt" in visitor.page.inner_text("#error")


def test_an_error_is_in_view_wherever_the_page_is_scrolled_to(served, visit) -> None:
    visitor = visit(served.url, viewport=PHONE)
    visitor.choose("classifier")
    visitor.page.evaluate("scrollTo(0, 600)")
    visitor.give("drop", b"no picture", name="notes.txt", kind="text/plain")
    visitor.page.wait_for_selector("[role=alert]:visible")
    box = visitor.page.eval_on_selector(
        "#error", "error => [error.getBoundingClientRect().top, scrollY, innerHeight]"
    )
    assert box[1] > 100
    assert 0 <= box[0] < box[2]


def test_another_model_leaves_the_viewfinder_open(served, visit, photo) -> None:
    visitor = visit(served.url, viewport=DESKTOP)
    visitor.choose("classifier")
    visitor.give("drop", photo)
    visitor.wait()
    visitor.page.click("#camera")
    visitor.page.wait_for_selector("#video:visible")
    visitor.choose("segmenter")
    visitor.page.wait_for_timeout(500)
    assert visitor.page.is_visible("#video")
    assert not visitor.page.is_visible("#canvas")


def test_names_of_classes_are_no_markup(served, visit, photo) -> None:
    visitor = visit("about:blank", viewport=DESKTOP)
    hostile = "<img src=x onerror=alert(1)>"

    def rename(route) -> None:
        answer = route.fetch().json()
        for entry in answer["results"][0]["top"]:
            entry["name"] = hostile
        route.fulfill(json=answer)

    visitor.page.route("**/predict*", rename)
    visitor.page.goto(served.url)
    visitor.choose("classifier")
    visitor.give("drop", photo)
    visitor.wait()
    assert hostile in visitor.page.inner_text("#found")
    assert visitor.page.locator("#found img").count() == 0


def test_a_key_is_asked_for_and_kept_in_the_tab_only(classifier: Path, serve, visit, photo) -> None:
    with serve(classifier, api_keys=("open-sesame",)) as server:
        visitor = visit(server.url, viewport=DESKTOP)
        visitor.page.wait_for_selector("#key:visible")
        rim = 5  # Of the focus.
        label, field = (visitor.page.locator(name).bounding_box() for name in ("label[for=key]", "#key"))
        assert label["y"] + label["height"] + rim <= field["y"]
        assert not visitor.page.is_visible("#model")
        visitor.page.keyboard.type("wrong")
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_selector("#error:visible")
        visitor.page.fill("#key", "open-sesame")
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_selector("#card dd")
        visitor.give("drop", photo)
        visitor.wait()
        assert not visitor.page.is_visible("#key")
        assert "$KEY" in visitor.page.inner_text("#curl")
        assert "sesame" not in visitor.page.content()
        assert visitor.page.evaluate("localStorage.length + document.cookie.length") == 0
