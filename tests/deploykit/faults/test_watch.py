"""`deploykit predict --watch` as a process, over a folder that fills, breaks and goes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploykit.checkup.tiny import tiny_model


class Watched:
    """A watch over ``folder``, and what it said so far."""

    def __init__(self, bed, *options: str) -> None:
        model = bed.root / "tiny.onnx"
        model.write_bytes(tiny_model())
        self.folder = bed.root / "incoming"
        self.folder.mkdir(exist_ok=True)
        self.options = ("predict", model, "--watch", self.folder, *options)
        self.bed = bed

    def start(self) -> subprocess.Popen[str]:
        self.process = self.bed.start(*self.options)
        return self.process

    def answer(self) -> dict[str, object]:
        """The next line of JSON."""
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def said(self, text: str) -> None:
        """Wait for a line on stderr."""
        assert self.process.stderr is not None
        while text not in (line := self.process.stderr.readline()):
            assert line, "it ended"

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        os.killpg(self.process.pid, number)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err


@pytest.fixture
def png(photos: dict[str, np.ndarray]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(photos["cat"]).save(data, "PNG")
    return data.getvalue()


def test_each_picture_once_whatever_happens_to_the_folder(bed, png: bytes, tmp_path: Path) -> None:
    watched = Watched(bed, "--json", "--save", str(bed.out))
    folder = watched.folder
    (folder / "first.png").write_bytes(png)
    watched.start()
    first = watched.answer()
    assert (first["image"], first["task"]) == (str(folder / "first.png"), "classify")
    assert first["saved"] == str(bed.out / "first.png")

    # A slow copy, which stands still in between.
    (folder / "slow.png").write_bytes(png[: len(png) // 2])
    (folder / ".renamed.png").write_bytes(png)
    (folder / ".renamed.png").rename(folder / "renamed.png")
    assert watched.answer()["image"] == str(folder / "renamed.png")
    with (folder / "slow.png").open("ab") as rest:
        rest.write(png[len(png) // 2 :])
    slow = watched.answer()
    assert (slow["image"], "error" in slow) == (str(folder / "slow.png"), False)

    away = folder.rename(tmp_path / "away")
    watched.said("is gone; waiting for it")
    away.rename(folder)
    watched.said("is there again")

    (folder / "broken.png").write_bytes(png[:300])
    (folder / "deleted.png").write_bytes(png)
    (folder / "deleted.png").unlink()
    broken = watched.answer()
    assert "damaged" in str(broken["error"])
    (folder / "last.png").write_bytes(png)
    assert watched.answer()["image"] == str(folder / "last.png")

    code, out, err = watched.end()
    assert (code, out) == (8, "")
    assert "4 pictures answered, 1 could not be" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in bed.out.iterdir()) == [
        *("first.png", "last.png", "renamed.png", "slow.png")
    ]
    assert list(bed.tmp.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(bed, png: bytes, number: signal.Signals) -> None:
    watched = Watched(bed)
    (watched.folder / "a.png").write_bytes(png)
    process = watched.start()
    assert process.stdout is not None
    assert "class " in process.stdout.readline()
    code, _, err = watched.end(number)
    assert code == 0, err
    assert err.rstrip().endswith("1 picture answered")
    assert "interrupted" not in err


def test_what_is_there_can_be_left_out(bed, png: bytes) -> None:
    watched = Watched(bed, "--json", "--only-new")
    (watched.folder / "old.png").write_bytes(png)
    watched.start()
    watched.said("Watching")
    # Until the first look is over nothing tells old from new: what is written again is always new.
    while not select_line(watched):
        (watched.folder / "new.png").write_bytes(png)
    code, _, _ = watched.end()
    assert code == 0


def select_line(watched: Watched) -> bool:
    """Whether an answer came within two seconds; it must not be for the old picture."""
    import select

    assert watched.process.stdout is not None
    ready, _, _ = select.select([watched.process.stdout], [], [], 2.0)
    if ready:
        assert str(watched.answer()["image"]).endswith("new.png")
    return bool(ready)
