"""What the server and its parts write to stderr."""

from __future__ import annotations

import json
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploykit.serve.logs import start_log

LOGGERS = ("deploykit.serve", "python_multipart", "uvicorn.error", "asyncio", "grpc")


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        logger = start_log(as_json=as_json)
        logger.info("loaded %s", "a\nb\x1b[31m")
        try:
            raise ValueError("inside")  # noqa: TRY301
        except ValueError:
            logger.exception("failed")
        lines = capsys.readouterr().err.splitlines()
        if as_json:
            entries = [json.loads(line) for line in lines]
            assert [entry["level"] for entry in entries] == ["info", "error"]
            assert entries[0]["message"] == "loaded a\nb\x1b[31m"
            assert "ValueError: inside" in entries[1]["exception"]
        else:
            assert lines[0].endswith("loaded a b\\x1b[31m")
            assert "ValueError: inside" in lines[-1]


@pytest.mark.parametrize("name", LOGGERS[2:])
def test_the_server_s_parts_write_as_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    start_log(as_json=True, level="debug")
    logging.getLogger("python_multipart.multipart").warning("what the client already knows")
    logging.getLogger(name).info("too much")
    logging.getLogger(name).warning("an odd thing")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["logger"] == name
    assert json.loads(line)["level"] == "warning"


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    for level, lines in (("debug", 4), ("info", 3), ("warning", 2), ("error", 1)):
        start_log(as_json=False, level=level)
        part = logging.getLogger("deploykit.serve.http")
        for write in (part.debug, part.info, part.warning, part.error):
            write("a line")
        assert len(capsys.readouterr().err.splitlines()) == lines


def test_a_server_s_log_is_json_to_the_last_line(
    classifier: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    """Requests over HTTP and gRPC, a broken form, and a broken file, at the level ``debug``."""
    import tritonclient.grpc

    path = tmp_path / "tiny.onnx"
    shutil.copy(classifier, path)
    server = start(str(path), "--log-json", "--log-level", "debug", "--poll", "0.05")
    ready = server.ready()
    model = f"{ready['url']}/v2/models/tiny"
    urllib.request.urlopen(model, timeout=300).close()
    form = {"Content-Type": "multipart/form-data; boundary=cut"}
    broken = urllib.request.Request(f"{model}/predict", b"--cut\r\nA\r\n: b\r\n", form)
    for wrong in (f"{model}%0Ax", broken):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(wrong, timeout=300)
        caught.value.close()
    with tritonclient.grpc.InferenceServerClient(ready["grpc"]) as client:
        assert client.is_server_ready()
    (tmp_path / "draft").write_bytes(b"broken")
    os.replace(tmp_path / "draft", path)
    lines = [server.line()]
    while "cannot be loaded" not in lines[-1]:
        lines.append(server.line())
    code, rest = server.end()
    assert code == 0
    entries = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    requests = [entry for entry in entries if entry["level"] == "debug"]
    http = [entry for entry in requests if entry["logger"] == "deploykit.serve.http"]
    told = [(entry["route"], entry["status"]) for entry in http]
    assert told == [("model", 200), ("model", 404), ("predict", 400)]
    assert http[1]["message"].startswith("GET /v2/models/tiny%0Ax 404 ")
    assert http[0]["ms"] > 0
    [call] = [entry for entry in requests if entry["logger"] == "deploykit.serve.grpc"]
    assert (call["route"], call["status"]) == ("ServerReady", "OK")
    [warning] = [entry for entry in entries if entry["level"] == "warning"]
    assert "version 1 stays" in warning["message"]
