"""A served detector and classifier, and a real headless Chromium."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from deploykit.serve.server import Server

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
_GIVE = """([event, data, name, type]) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  const given = event === "paste"
    ? new ClipboardEvent(event, { clipboardData: transfer, bubbles: true })
    : new DragEvent(event, { dataTransfer: transfer, bubbles: true });
  document.querySelector("#stage").dispatchEvent(given);
}"""


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> Path:
    """YOLOv5 with masks, written by its own trainer; it finds something from a score of 0.05."""
    from deploykit.api import export

    target = tmp_path_factory.mktemp("segmenter") / "segmenter.onnx"
    return export(fixtures / "yolov5_segment.pt", output=target).path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with a camera that shows a test picture.

    Not of the session: while Playwright runs, its loop is the thread's, and other tests need their own.
    """
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"none of {', '.join(_NAMES)} is installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def serving(*models: str | Path, **options: Any) -> Iterator[Server]:
    """A server run from another thread than Playwright's, in which a loop runs already."""
    from deploykit.serve import running

    context = running(models, port=0, grpc_port=None, **options)
    with ThreadPoolExecutor(1) as thread:
        server = thread.submit(context.__enter__).result()
        try:
            yield server
        finally:
            thread.submit(context.__exit__, None, None, None).result()


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Server]]:
    """Serves models: ``with serve(path, api_keys=...) as server``."""
    return serving


@pytest.fixture(scope="session")
def served(classifier: Path, segmenter: Path) -> Iterator[Server]:
    with serving(f"segmenter={segmenter}", f"classifier={classifier}") as server:
        yield server


@pytest.fixture(scope="session")
def photo(photos: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photos["astronaut"]).save(file, "JPEG", quality=92)
    return file.getvalue()


class Visitor:
    """A page that is open, and what went wrong on it.

    Attributes:
        page: Playwright's.
        problems: Errors of the console and of scripts.
        requests: Addresses that were asked for.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.set_default_timeout(300_000)  # milliseconds
        page.goto(url)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def give(self, event: str, data: bytes, name: str = "photo.jpg", kind: str = "image/jpeg") -> None:
        """Drop or paste a file."""
        text = base64.b64encode(data).decode()
        self.page.evaluate(_GIVE, [event, text, name, kind])

    def until(self, expression: str) -> None:
        """Wait until an expression is true. Playwright's own way evaluates text, which the page forbids."""
        for _ in range(6000):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"never true: {expression}; {self.problems}; {self.page.inner_text('#error')}")

    def wait(self) -> None:
        """Until the answer is there."""
        self.until(
            "document.querySelector('#times').children.length > 0"
            " && !document.querySelector('#stage').classList.contains('busy')"
        )

    def choose(self, model: str) -> None:
        self.page.wait_for_selector("#card dd")
        self.page.select_option("#model", model)
        self.until(f"document.title.startsWith('{model}')")

    def slide(self, slider: str, value: float) -> None:
        """Move a slider and wait for the answer to that."""
        with self.page.expect_response(lambda response: f"{slider}={value}" in response.url):
            self.page.eval_on_selector(
                f"#{slider}",
                "(input, value) => { input.value = value;"
                " for (const name of ['input', 'change']) input.dispatchEvent(new Event(name)); }",
                value,
            )
        self.wait()

    def colors(self, canvas: str) -> int:
        """How many different colours a canvas shows."""
        count: int = self.page.eval_on_selector(
            canvas,
            "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
            ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size",
        )
        return count


@pytest.fixture
def visit(browser: Browser) -> Iterator[Any]:
    """Opens pages: ``visit(url, viewport=..., color_scheme=...)``."""
    contexts = []

    def open_page(url: str, **options: Any) -> Visitor:
        contexts.append(browser.new_context(**options))
        return Visitor(contexts[-1].new_page(), url)

    yield open_page
    for context in contexts:
        context.close()
