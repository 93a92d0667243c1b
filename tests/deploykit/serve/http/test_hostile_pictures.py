"""A corpus of hostile and odd pictures, posted to a server: reasons, bounded memory, and it stays."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploykit_runtimes import load
from deploykit_runtimes.errors import InputError
from deploykit_runtimes.machine.cores import usable_cores
from deploykit_runtimes.pixels.images import read_image
from PIL import Image


def _corpus() -> Any:
    path = Path(__file__).with_name("hostile_pictures.py")
    spec = importlib.util.spec_from_file_location("hostile_pictures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CORPUS = _corpus()

MEMORY = 600 << 20
"""What a request may add: twice a picture of 50 M pixels, as it is decoded and as it is converted."""


class Posts:
    """A server in a process of its own, whose memory is watched."""

    def __init__(self, served: Any) -> None:
        self._served = served
        self._port = int(served.ready()["url"].rpartition(":")[2])
        self._status = Path(f"/proc/{served.process.pid}/status")
        self._forget = Path(f"/proc/{served.process.pid}/clear_refs")

    def __call__(self, body: bytes, kind: str = "image/png", query: str = "") -> tuple[int, Any, int]:
        """Status, answer, and the most memory that it took beyond what there was."""
        self._forget.write_text("5")  # the peak starts anew
        before = self._memory("VmRSS")
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            path = f"/v2/models/tiny/predict{query}"
            connection.request("POST", path, body, {"Content-Type": kind})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        assert self._served.process.poll() is None
        answer = json.loads(content) if response.headers["Content-Type"] == "application/json" else content
        return response.status, answer, self._memory("VmHWM") - before

    def _memory(self, name: str) -> int:
        [line] = [text for text in self._status.read_text().splitlines() if text.startswith(f"{name}:")]
        return int(line.split()[1]) << 10


@pytest.fixture(scope="module")
def post(classifier: Path, served_once: Callable[..., Any]) -> Iterator[Posts]:
    posts = Posts(served_once(f"tiny={classifier}", "--instances", "1"))
    assert posts(CORPUS.saved("PNG"))[0] == 200
    yield posts
    assert posts(CORPUS.saved("PNG"))[0] == 200


def of(group: Callable[[], Iterator[tuple[str, Callable[[], bytes]]]]) -> Any:
    return pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in group()])


def same(found: Any, wanted: Any) -> None:
    assert [each["name"] for each in found["top"]] == [each["name"] for each in wanted["top"]]
    scores = [[each["score"] for each in answer["top"]] for answer in (found, wanted)]
    np.testing.assert_allclose(*scores, atol=1e-5)


@of(CORPUS.refused)
def test_bombs_get_a_reason(post: Posts, make: Callable[[], bytes]) -> None:
    status, answer, memory = post(make())
    assert status in (400, 413, 415), answer
    assert list(answer) == ["error"]
    assert 20 < len(answer["error"]) < 500
    assert memory < 200 << 20


@of(CORPUS.survived)
def test_what_costs_most_costs_bounded_memory(post: Posts, make: Callable[[], bytes]) -> None:
    status, answer, memory = post(make())
    assert status in (200, 400), answer
    assert memory < MEMORY


@of(CORPUS.honest)
def test_odd_pictures_are_answered(post: Posts, classifier: Path, make: Callable[[], bytes]) -> None:
    picture = make()
    status, answer, _ = post(picture)
    assert status == 200, answer
    with load(classifier) as model:
        same(answer["results"][0], model.predict(picture).to_dict())
    shown = read_image(picture).astype(int)
    assert shown.shape == (CORPUS.SIDE, CORPUS.SIDE, 3)
    # Whatever the file: dark at the top left, bright at the bottom right.
    assert shown[:8, :8].mean() + 60 < shown[-8:, -8:].mean()


def test_a_request_full_of_bombs_takes_the_memory_of_a_few(post: Posts) -> None:
    """32 pictures of 49 million pixels each, in 2 MB: 6 GB, were they all kept."""
    bomb = CORPUS.png_rows(7000, 7000, kind=0)
    part = b'--cut\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + bomb + b"\r\n"
    status, answer, memory = post(part * 32 + b"--cut--\r\n", "multipart/form-data; boundary=cut")
    assert status == 200, answer
    assert len(answer["results"]) == 32
    assert memory < MEMORY * max(2, usable_cores() // 4)


ORIENTATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: shown.swapaxes(0, 1)[:, ::-1],
    7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),
    8: lambda shown: shown.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_photos_are_turned_upright(post: Posts, classifier: Path, orientation: int, order: str) -> None:
    plain = read_image(CORPUS.saved("JPEG", quality=95))
    photo = CORPUS.jpeg_with_exif(CORPUS.exif_block(orientation, order=order))
    wanted = ORIENTATIONS[orientation](plain)
    np.testing.assert_array_equal(read_image(photo), wanted)
    status, answer, _ = post(photo)
    assert status == 200
    with load(classifier) as model:
        same(answer["results"][0], model.predict(np.ascontiguousarray(wanted)).to_dict())
    # Also where the answer is drawn into it.
    status, drawn, _ = post(photo, query="?format=image")
    assert status == 200
    assert Image.open(io.BytesIO(drawn)).size == wanted.shape[1::-1]


FORGED = {
    "none": b"",
    "another name": b"Exof\0\0" + bytes(40),
    "no header": b"Exif\0\0" + bytes(100),
    "cut": CORPUS.exif_block(6)[:-9],
    "orientation 0": CORPUS.exif_block(0),
    "orientation 9": CORPUS.exif_block(9),
    "orientation 65535": CORPUS.exif_block(65_535),
    "as a long": CORPUS.exif_block(70_000, kind=4),
    "as text": CORPUS.exif_block(6, kind=2),
    "as a fraction": CORPUS.exif_block(6, kind=5),
    "of an unknown type": CORPUS.exif_block(6, kind=99),
    "four thousand million of them": CORPUS.exif_block(6, count=(1 << 32) - 1),
    "none of them": CORPUS.exif_block(6, count=0),
    "a directory that follows itself": CORPUS.exif_block(1)[:-4] + b"\x08\0\0\0",
    "a directory beyond the end": b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(20),
    "65535 entries": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(500),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of a damaged block
@pytest.mark.parametrize("block", FORGED.values(), ids=FORGED)
def test_forged_exif_leaves_the_picture_as_it_is(post: Posts, block: bytes) -> None:
    photo = CORPUS.jpeg_with_exif(block)
    np.testing.assert_array_equal(read_image(photo), read_image(CORPUS.saved("JPEG", quality=95)))
    assert post(photo)[0] == 200


def test_no_other_program_is_run_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript, where that is installed."""
    called = tmp_path / "called"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {called}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "picture.eps").write_bytes(CORPUS.EPS)
    for source in (CORPUS.EPS, tmp_path / "picture.eps"):
        with pytest.raises(InputError, match="not an image of a known format"):
            read_image(source)
    assert not called.exists()


def test_scans_are_counted_where_a_decoder_sees_them() -> None:
    from deploykit.protocol.errors import TooLargeError
    from deploykit.protocol.picture_cost import check_picture

    scans = CORPUS.jpeg_with_scans(100, side=64)
    with pytest.raises(TooLargeError, match="at most 100 scans"):
        check_picture(scans, 10_000)
    assert check_picture(CORPUS.jpeg_with_scans(99, side=64), 10_000) == 64 * 64
    # What looks like a scan in the head, in another picture behind the end or in a preview is not one.
    fakes = b"\xff\xda\0\2" * 200
    plain = CORPUS.saved("JPEG")
    assert check_picture(CORPUS.jpeg_with_exif(b"note" + fakes), 10_000) == 64 * 64
    assert check_picture(plain + scans, 10_000) == 64 * 64
