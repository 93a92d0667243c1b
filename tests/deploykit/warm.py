"""A process that has imported what ``export`` imports, and forks a command whenever it is asked to.

Run as a script, it is that process: its argument is the number of a socket, from which it takes requests
until the other end is closed.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

_LARGEST = 1 << 16
"""Bytes of a request."""


class Warm:
    """The process, seen from the tests. One command runs at a time."""

    def __init__(self, folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> None:
        """Commands run in the folder, or where the test is."""
        self._folder = folder
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.pid = self._process.pid
        self.seconds: float = self._answer(None)
        """How long the imports took."""

    def start(self, *arguments: object, **environment: str) -> Forked:
        """Start a command, with variables added to the environment."""
        out, error = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 - closed with the answer
        message = json.dumps(
            [list(map(str, arguments)), environment, str(self._folder or Path.cwd())]
        ).encode()
        assert len(message) < _LARGEST
        socket.send_fds(self._requests, [message], [out.fileno(), error.fileno()])
        return Forked(self, int(self._answer(None)), (out, error))

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        command = self.start(*arguments, **environment)
        out, error = command.communicate()
        return subprocess.CompletedProcess(arguments, command.returncode, out, error)

    def _answer(self, timeout: float | None) -> float:
        self._requests.settimeout(timeout)
        told = self._requests.recv(1 << 10)
        assert told, "the process has ended"
        return float(told)

    def close(self) -> None:
        self._requests.close()
        self._process.wait()


class Forked:
    """A command that runs, with what of subprocess.Popen the tests use."""

    def __init__(self, warm: Warm, pid: int, files: tuple) -> None:
        self.pid, self._warm, self._files = pid, warm, files
        self.returncode: int | None = None

    def poll(self) -> int | None:
        try:
            return self._wait(0)
        except subprocess.TimeoutExpired:
            return None

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        self._wait(timeout)
        texts = []
        for file in self._files:
            with file:
                file.seek(0)
                texts.append(file.read())
        return texts[0], texts[1]

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            try:
                self.returncode = int(self._warm._answer(timeout))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("deploykit", timeout or 0) from None
        return self.returncode


def _serve(requests: socket.socket) -> None:
    while True:
        message, files, _, _ = socket.recv_fds(requests, _LARGEST, 2)
        if not message:
            return
        child = os.fork()
        if child == 0:
            os.setsid()
            requests.close()
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
            arguments, environment, folder = json.loads(message)
            os.chdir(folder)
            os.environ.update(environment)
            sys.argv = ["deploykit", *arguments]
            from deploykit.__main__ import run

            sys.exit(run())
        for file in files:
            os.close(file)
        requests.sendall(str(child).encode())
        _, status = os.waitpid(child, 0)
        requests.sendall(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    started = time.monotonic()
    for name in ("deploykit.cli", "deploykit_exporters.export", "timm", "onnxsim", "onnxruntime"):
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as mine:
        mine.sendall(str(time.monotonic() - started).encode())
        _serve(mine)
