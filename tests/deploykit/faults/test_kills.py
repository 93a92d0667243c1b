"""SIGKILL at random moments: every target is the old one or the new one, whole, and the next run clears up.

Fifty moments over the four commands; DEPLOYKIT_KILLS=N takes N for each.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from deploykit_runtimes.builds.caches import cache_beside
from deploykit_runtimes.onnx.file import read_onnx

Moments = Callable[[float, int], list[float]]


def kills(usually: int) -> int:
    return int(os.environ.get("DEPLOYKIT_KILLS") or usually)


def contents(folder: Path) -> dict[str, str]:
    """The digest of every file by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ours(folder: Path) -> set[str]:
    """Names in a folder without the unfinished work of those that were killed."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".part")}


def test_export(bed, weights: list[Path], models: list[Path], moments: Moments) -> None:
    target = bed.out / "model.onnx"
    command = ("export", weights[1], "-o", target, "--preprocess")
    bed.warm_up()  # while torch loads nothing is written
    life = bed.seconds(*command)
    finished = onnx.load(target)
    old = models[0].read_bytes()
    for moment in moments(life, kills(12)):
        target.write_bytes(old)
        bed.signalled(signal.SIGKILL, moment, *command)
        assert ours(bed.out) == {"model.onnx"}
        if target.read_bytes() != old:
            found = onnx.load(target)
            onnx.checker.check_model(found)
            assert found.graph == finished.graph
    assert bed.run(*command).returncode == 0
    assert bed.left() == ["out/model.onnx"]


def test_build(bed, models: list[Path], moments: Moments) -> None:
    pytest.importorskip("openvino")
    folder = bed.out / "built"
    command = ("build", models[1], "--runtime", "ov-cpu", "-o", folder, "--force")
    place = folder / models[1].name
    life = bed.seconds(*command)
    for moment in moments(life, kills(12)):
        old = contents(cache_beside(place, "ov-cpu"))
        bed.signalled(signal.SIGKILL, moment, *command)
        assert place.read_bytes() == models[1].read_bytes()
        new = contents(cache_beside(place, "ov-cpu"))
        assert new.keys() == old.keys(), "a cache is whole"
        assert ours(folder) == {place.name, cache_beside(place, "ov-cpu").name}
    assert bed.run(*command).returncode == 0
    assert ours(folder) == {path.name for path in folder.iterdir()}
    assert bed.left() == sorted(f"out/{path.relative_to(bed.out)}" for path in bed.out.rglob("*"))


def test_package(bed, models: list[Path], moments: Moments) -> None:
    folder = bed.out / "image"
    old, new = (("package", "docker", f"m={model}", "-o", folder, "--force") for model in models)
    bed.seconds(*old)
    before = contents(folder)
    life = bed.seconds(*new)
    after = contents(folder)
    assert before.keys() == after.keys()
    assert before != after
    for moment in moments(life, kills(18)):
        assert bed.run(*old).returncode == 0
        assert contents(folder) == before
        bed.signalled(signal.SIGKILL, moment, *new)
        assert contents(folder) in (before, after)
        assert ours(bed.out) == {"image"}
    assert bed.run(*new).returncode == 0
    assert contents(folder) == after
    assert {path.name for path in bed.out.iterdir()} == {"image"}
    assert list(bed.tmp.iterdir()) == []


def test_reload_of_a_server(bed, models: list[Path], moments: Moments) -> None:
    """A model is replaced under a server that loads it, and the server is killed about then."""
    target = bed.out / "model.onnx"
    shutil.copyfile(models[0], target)
    command = ("serve", target, "--port", "0", "--no-grpc", "--json", "--poll", "0.05")
    for moment in moments(0.4, kills(8)):
        process = bed.start(*command)
        assert process.stdout is not None
        while process.stdout.readline().rstrip() != "}":
            assert process.poll() is None, process.communicate()[1]
        other = models[1] if target.read_bytes() == models[0].read_bytes() else models[0]
        draft = target.with_name("draft")
        shutil.copyfile(other, draft)
        draft.replace(target)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        assert process.poll() is None, process.communicate()[1]
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert target.read_bytes() == other.read_bytes()
        assert read_onnx(target).spec().task == "classify"
        assert ours(bed.out) == {"model.onnx"}
    done = bed.run("inspect", target)
    assert done.returncode == 0, done.stderr
    assert bed.left() == ["out/model.onnx"]
