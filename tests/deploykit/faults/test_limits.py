"""Little memory and few files: a command does its work, or says what was short."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

GB = 1 << 30


def short_of_memory(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether a command said that memory was short; if not, it did its work."""
    for word in ("Traceback", "bug in deploykit"):
        assert word not in done.stderr, done.stderr
    if done.returncode == 0:
        return False
    assert done.returncode == 1, done.stderr
    assert "error: out of memory: " in done.stderr
    assert "(ulimit -v)" in done.stderr
    return True


@pytest.mark.parametrize("gigabytes", [1, 2, 3, 4])
def test_export(bed, weights: list[Path], gigabytes: int) -> None:
    """torch alone takes more than three gigabytes of address space."""
    target = bed.out / "model.onnx"
    done = bed.run("export", weights[0], "-o", target, before=["prlimit", f"--as={gigabytes * GB}"])
    assert short_of_memory(done) == (not target.exists())
    assert bed.left() == (["out/model.onnx"] if target.exists() else [])
    assert target.exists() or gigabytes >= 3 or "libtorch" in done.stderr


@pytest.mark.parametrize("megabytes", [130, 200, 1024, 2048, 4096])
def test_what_needs_no_torch(bed, models: list[Path], megabytes: int) -> None:
    limit = ["prlimit", f"--as={megabytes << 20}"]
    done = bed.run("bench", models[0], "--runs", "3", "--warmup", "0", before=limit)
    assert not short_of_memory(done) or megabytes < 1024
    assert bed.left() == []


def test_a_library_that_ends_the_process() -> None:
    code = "import os; from deploykit.process.supervision import supervised; raise SystemExit(supervised({}))"
    limited = ["prlimit", f"--as={GB}", sys.executable, "-c"]

    def run(function: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*limited, code.format(function)], capture_output=True, text=True, check=False)

    done = run("os.abort")
    assert done.returncode == 1
    assert "error: out of memory: a library ended the process (SIGABRT)" in done.stderr
    assert "1.07 GB (ulimit -v)" in done.stderr
    assert run("lambda: 7").returncode == 7
    assert run("lambda: os.kill(os.getpid(), 15)").returncode == 143
    assert run("lambda: exec('raise SystemExit(3)')").returncode == 3


def test_signals_reach_a_supervised_command() -> None:
    code = (
        "import time, sys; from deploykit.process.supervision import supervised\n"
        "from deploykit.process.interruption import ending_signals\n"
        "def command():\n"
        "    with ending_signals():\n"
        "        print('started', flush=True); time.sleep(600)\n"
        "sys.exit(supervised(command))"
    )
    for name, expected in (("SIGTERM", 143), ("SIGINT", 130)):
        process = subprocess.Popen(
            ["prlimit", f"--as={GB}", sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        subprocess.run(["kill", f"-{name}", str(process.pid)], check=True)
        process.communicate()
        assert process.returncode == expected


@pytest.mark.parametrize("files", [16, 64])
def test_few_files(bed, weights: list[Path], models: list[Path], files: int) -> None:
    limit = ["prlimit", f"--nofile={files}"]
    done = bed.run("bench", models[0], "--runs", "3", "--warmup", "0", before=limit)
    assert done.returncode == 0, done.stderr
    if files == 64:
        done = bed.run("export", weights[0], "-o", bed.out / "model.onnx", before=limit)
        assert done.returncode == 0, done.stderr


FEW_FILES = """
import os, resource, sys
from deploykit.cli import main
code = main(sys.argv[1:])
open_files = len(os.listdir("/proc/self/fd")) - 1
for more in range(8):
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files + more, 4096))
    found = main(sys.argv[1:])
    print("code", code, found, flush=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
"""


@pytest.mark.parametrize(
    "command",
    ["inspect", "inspect checkpoint", "inspect keras", "predict", "build", "package", "export"],
)
def test_too_few_files(bed, weights: list[Path], models: list[Path], fixtures: Path, command: str) -> None:
    """What cannot be opened because too many files are open is not damaged, and no other target would do."""
    picture = bed.root / "p.png"
    Image.new("RGB", (40, 50)).save(picture)
    line = {
        "inspect": ["inspect", models[0]],
        "inspect checkpoint": ["inspect", weights[0]],
        "inspect keras": ["inspect", fixtures / "keras_efficientnet.h5"],
        "predict": ["predict", models[0], picture, "--save", bed.out],
        "build": ["build", models[0], "--runtime", "ov-cpu", "-o", bed.out / "built", "--force"],
        "package": ["package", "docker", models[0], "-o", bed.out / "image", "--force"],
        "export": ["export", weights[0], "-o", bed.out / "model.onnx", "--no-witness"],
    }[command]
    if command == "build":
        pytest.importorskip("openvino")
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, *map(str, line)],
        capture_output=True,
        text=True,
        check=False,
        env=bed.environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("code 0 ") == 8
    assert set(re.findall(r"^code 0 (\d+)$", done.stdout, re.MULTILINE)) <= {"0", "1"}, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors, "some limit is too low"
    for line in errors:
        assert line.startswith("error: too many open files: this process may have "), line
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_with_more_clients_than_files(bed, models: list[Path]) -> None:
    """Those beyond the limit wait or are turned away; when they are gone, everybody is answered again."""
    command = ["serve", f"m={models[0]}", "--port", "0", "--no-grpc", "--json"]
    process = bed.start(*command, before=["prlimit", "--nofile=64"])
    assert process.stdout is not None
    text = ""
    while text.count("{") != text.count("}") or not text:
        text += process.stdout.readline()
        assert process.poll() is None, process.communicate()[1]
    url = json.loads(text)["url"]
    port = int(url.rpartition(":")[2])
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for client in clients:
        client.close()
    for _ in range(100):  # until the server has noticed that they are gone
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=300) as answer:
                status = answer.status
                break
        except ConnectionError:
            time.sleep(0.2)
    assert status == 200
    process.terminate()
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    assert "Traceback" not in log
