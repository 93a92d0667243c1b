"""Commands as processes on bad days: where they work, what they leave, and who of them is still there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from warm import Forked, Warm


class Bed:
    """Folders of its own for the commands of a test: ``out`` for what they write, ``tmp`` for the rest.

    ``warm`` is the process from which commands are forked, where the test wants one: ``warm_up``.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.out, self.tmp = root, root / "out", root / "tmp"
        self.out.mkdir()
        self.tmp.mkdir()
        self.environment = {
            **os.environ,
            "TMPDIR": str(self.tmp),
            "DEPLOYKIT_CACHE": str(root / "cache"),
            "HF_HUB_OFFLINE": "1",
        }
        self.warm: Warm | None = None

    def warm_up(self) -> float:
        """From now on ``run``, ``seconds`` and ``signalled`` fork commands from a process that has imported
        torch; returns how many seconds that took."""
        self.warm = Warm(self.root, self.environment)
        return self.warm.seconds

    def cool_down(self) -> None:
        """From now on every command is a new process again."""
        if self.warm is not None:
            self.warm.close()
        self.warm = None

    def _command(
        self, arguments: Sequence[object], before: Sequence[str] = ()
    ) -> subprocess.Popen[str] | Forked:
        if self.warm is not None and not before:
            return self.warm.start(*arguments)
        return self.start(*arguments, before=before)

    def start(self, *arguments: object, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start the command in a session of its own, behind a command such as prlimit."""
        return subprocess.Popen(
            [*before, sys.executable, "-m", "deploykit", *map(str, arguments)],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        process = self._command(arguments, before)
        out, error = map(_text, process.communicate(timeout=300))
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def seconds(self, *arguments: object) -> float:
        """How long the command takes, which must succeed."""
        started = time.monotonic()
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return time.monotonic() - started

    def signalled(
        self, number: signal.Signals, after: float, *arguments: object
    ) -> subprocess.CompletedProcess[str]:
        """Run the command, and send its session a signal after a time, as a terminal does.

        A Ctrl-C waits until the interpreter answers one: before that, the system ends the process.
        """
        process = self._command(arguments)
        try:
            out, error = map(_text, process.communicate(timeout=after))
        except subprocess.TimeoutExpired:
            while number == signal.SIGINT and process.poll() is None and not handles(process.pid, number):
                time.sleep(0.001)
            if process.poll() is None:
                os.killpg(process.pid, number)
            out, error = map(_text, process.communicate(timeout=300))
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def left(self) -> list[str]:
        """Everything in both folders."""
        return sorted(
            str(path.relative_to(self.root)) for top in (self.out, self.tmp) for path in top.rglob("*")
        )

    def processes(self) -> list[str]:
        """Processes that were started here and still run, without the one that commands are forked from."""
        mark, found = f"TMPDIR={self.tmp}".encode(), []
        for folder in Path("/proc").iterdir():
            try:
                ours = self.warm is not None and folder.name == str(self.warm.pid)
                if folder.name.isdecimal() and not ours and mark in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it ended meanwhile, or is another user's
        return [command for command in found if command]

    def clear(self) -> None:
        """Empty both folders."""
        for top in (self.out, self.tmp):
            shutil.rmtree(top)
            top.mkdir()


def _text(said: str | bytes) -> str:
    return said if isinstance(said, str) else said.decode()


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal, or ignores it."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("Sig")
    )
    return bool((int(status["SigCgt"], 16) | int(status["SigIgn"], 16)) >> (number - 1) & 1)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    yield made
    made.cool_down()


@pytest.fixture
def moments() -> Callable[[float, int], list[float]]:
    """Random moments of a lifetime, one in each part of it. The seed is printed; DEPLOYKIT_SEED sets it."""
    seed = int(os.environ.get("DEPLOYKIT_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"DEPLOYKIT_SEED={seed}")  # noqa: T201 - a failure shows it
    chance = random.Random(seed)
    return lambda life, count: [life * (part + chance.random()) / count for part in range(count)]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, perturb: Callable[..., nn.Module]) -> list[Path]:
    """Two tiny ViTs that differ in their weights."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 1):
        torch.save(perturb(model, seed).state_dict(), folder / f"vit{seed}.pth")
    return [folder / "vit0.pth", folder / "vit1.pth"]


@pytest.fixture(scope="session")
def models(weights: list[Path]) -> list[Path]:
    """What both are exported to."""
    from deploykit_exporters.export import export
    from deploykit_exporters.options import ExportOptions

    options = ExportOptions(dynamic=("batch",), witness=False)
    return [export(path, options).path for path in weights]
