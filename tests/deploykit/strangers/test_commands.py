"""Every command on files whose names are attacks: nothing of them reaches the terminal as it is."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from corpus_of_strangers import EVIL, HONEST, NAME, check_text, write_model
from deploykit_runtimes.text.printable import printable

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.mark.parametrize("color", [False, True])
def test_predict(run_on: Run, evil_model: Path, evil_picture: Path, tmp_path: Path, color: bool) -> None:
    done = run_on("predict", evil_model, evil_picture, "--save", tmp_path / EVIL, color=color)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert HONEST in text
    assert "\\x1b]0;owned\\x07" in text
    assert "\\udcff" in text
    assert ("\x1b[2m" in text) is color
    assert text.count("\n") == 2


def test_predict_as_json_is_exact(run_on: Run, evil_model: Path, evil_picture: Path) -> None:
    done = run_on("predict", evil_model, evil_picture, "--json")
    document = json.loads(done.stdout)
    assert document["model"] == str(evil_model)
    [result] = document["results"]
    assert result["image"] == str(evil_picture)
    # A line end separates the names in a file, so it is a space there.
    wanted = " ".join(EVIL.splitlines())
    assert sorted(entry["name"] for entry in result["top"]) == sorted([wanted, f"b{wanted}", HONEST])
    assert HONEST.encode() in done.stdout


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_inspect_a_model(run_on: Run, evil_model: Path, flags: tuple[str, ...]) -> None:
    done = run_on("inspect", evil_model, *flags)
    assert done.returncode == 0, done.stderr
    if flags:
        document = json.loads(done.stdout)
        assert document["inputs"][0]["name"] == f"in{NAME}"
        assert document["spec"]["variant"] == " ".join(EVIL.splitlines())


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)


def test_bench(run_on: Run, tmp_path: Path) -> None:
    html = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    path = write_model(tmp_path / f"{EVIL[:40]}<b>.onnx", ("a", "b"), f"{html}{EVIL}", NAME)
    page = tmp_path / "page.html"
    done = run_on("bench", path, "--runs", "2", "--warmup", "0", "--html", page)
    assert done.returncode == 0, done.stderr
    check_text(page.read_bytes())
    parsed = _Page()
    parsed.feed(page.read_text(encoding="utf-8"))
    assert not parsed.tags & {"script", "img", "b"}


def test_a_model_by_another_exporter(run_on: Run, evil_picture: Path, tmp_path: Path) -> None:
    names = repr({0: EVIL, 1: f"b{EVIL}", 2: HONEST})
    told = {"names": names, "task": "classify", "author": "Ultralytics", "description": EVIL, "version": EVIL}
    path = write_model(tmp_path / "foreign.onnx", ("a", "b", "c"), EVIL, NAME, **told)
    for command in (("predict", path, evil_picture), ("inspect", path), ("bench", path, "--runs", "1")):
        run_on(*command)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("deploykit.task", EVIL),
        ("deploykit.input.height", EVIL),
        ("deploykit.preprocess.mean", NAME),
        (f"deploykit.input.dynamic.{EVIL}", "1 2 1"),
        ("deploykit.output.names", f"{NAME} other"),
        ("deploykit.input.name", NAME),
        ("deploykit.format", EVIL),
    ],
    ids=["task", "number", "numbers", "axis", "outputs", "input", "format"],
)
def test_errors_of_metadata(run_on: Run, evil_picture: Path, tmp_path: Path, key: str, value: str) -> None:
    import onnx

    path = write_model(tmp_path / "model.onnx", ("a", "b"), "tiny", "")
    model = onnx.load(path)
    kept = [entry for entry in model.metadata_props if entry.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    done = run_on("predict", path, evil_picture)
    assert done.returncode in (5, 8)
    assert b"owned" in done.stderr


def test_what_the_engine_says(run_on: Run, evil_picture: Path, tmp_path: Path) -> None:
    """ONNX Runtime quotes operators, nodes and tensors, in its exceptions and in its log."""
    import onnx

    for change in ("operator", "input", "shape", "domain"):
        path = write_model(tmp_path / f"{change}.onnx", ("a", "b"), EVIL, NAME)
        model = onnx.load(path)
        node = model.graph.node[1]
        if change == "operator":
            node.op_type = EVIL
        elif change == "input":
            node.input[0] = EVIL
        elif change == "domain":
            node.domain = EVIL
        else:  # fails when it runs
            model.graph.node[0].attribute[0].i = 1
            model.graph.node[1].op_type = "Gemm"
        onnx.save(model, path)
        done = run_on("predict", path, evil_picture)
        assert done.returncode in (5, 7, 8), done.stderr
        assert b"owned" in done.stderr


@pytest.mark.parametrize("kind", ["triton", "ray", "docker", "kserve"])
def test_package(run_on: Run, evil_model: Path, tmp_path: Path, kind: str) -> None:
    more = ("--storage-uri", "s3://a/b", "--image", "i") if kind == "kserve" else ()
    assert run_on("package", kind, evil_model, "-o", tmp_path / "out", *more).returncode == 2
    done = run_on("package", kind, f"cat={evil_model}", "-o", tmp_path / f"o{EVIL}", *more)
    assert done.returncode == 0, done.stderr
    for file in (tmp_path / f"o{EVIL}").rglob("*"):
        ours = file.suffix == ".whl" or "source" in file.parts  # deploykit itself, for the package to install
        if file.is_file() and file.suffix != ".onnx" and not ours:
            text = file.read_bytes().decode("utf-8")
            for line in text.split("\n"):
                assert printable(line, len(line)) == line, file
    json_done = run_on(
        "package", kind, f"cat={evil_model}", "-o", tmp_path / f"o{EVIL}", "--force", "--json", *more
    )
    json.loads(json_done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        (EVIL,),
        ("predict", EVIL, EVIL),
        ("predict", "--runtime", EVIL, "a", "b"),
        ("predict", f"--{EVIL}", "a"),
        ("bench", "--goal", EVIL, "x"),
        ("bench", "--batch", EVIL, "x"),
        ("export", EVIL),
        ("export", f"timm:{EVIL}"),
        ("export", "a.pth", "--dynamic", EVIL),
        ("inspect", EVIL),
        ("inspect", "\udcff\udc9b31m"),
        ("verify", EVIL, EVIL),
        ("build", EVIL, "--runtime", EVIL),
        ("serve", EVIL),
        ("package", EVIL),
        ("package", "docker", f"{EVIL}={EVIL}", "-o", "out"),
        ("record", EVIL),
        ("cpp", f"--{EVIL}"),
        ("doctor", "--runtime", EVIL),
        ("demo", "-o", "/dev/null/" + EVIL),
    ],
    ids=lambda arguments: f"{len(arguments)}-{ascii(arguments[0])[1:9]}",
)
def test_what_is_typed_or_globbed(
    run_on: Run, tmp_path: Path, arguments: tuple[str, ...], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_on(*arguments, color=False)
    assert done.returncode not in (0, 70)
    assert done.stderr


def test_a_picture_that_is_none(run_on: Run, evil_model: Path, tmp_path: Path) -> None:
    (tmp_path / f"{EVIL}.jpg").write_bytes(b"no picture")
    for flags in ((), ("--json",)):
        assert run_on("predict", evil_model, tmp_path / f"{EVIL}.jpg", *flags).returncode == 8


def test_debug_shows_a_traceback(run_on: Run, tmp_path: Path) -> None:
    done = run_on("--debug", "predict", tmp_path / EVIL, "a")
    assert done.returncode == 2
    (tmp_path / EVIL).write_text("no model")
    done = run_on("--debug", "predict", tmp_path / EVIL, "a")
    assert b"Traceback" in done.stderr


def test_long_names_are_shortened(run_on: Run, evil_picture: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "long.onnx", ("c" * 1_000_000, "d"), "-" * 60_000, "")
    done = run_on("inspect", path)
    assert b"1,000,000 characters" in done.stdout
    assert b"60,000 characters" in done.stdout
    assert len(done.stdout) < 40_000
    done = run_on("predict", path, evil_picture)
    assert b"1,000,000 characters" in done.stdout
    assert len(done.stdout) < 2_000
    done = run_on("inspect", path, "--json")
    assert json.loads(done.stdout)["spec"]["classes"][0] == "c" * 1_000_000


def test_a_terminal(evil_model: Path, evil_picture: Path) -> None:
    """On a terminal, progress moves by our own control sequences, and by no others."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "deploykit", "predict", str(evil_model), str(evil_picture)]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        data = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            data += part
    os.close(master)
    assert process.returncode == 0
    check_text(re.sub(rb"\r\x1b\[K|\r\n|\r(?=[|/\\-])|\x1b\[K", b"\n", data))
    assert HONEST.encode() in data
