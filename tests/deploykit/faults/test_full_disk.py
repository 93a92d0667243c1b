"""A full disk at each write: the target is as it was, nothing is left, the message says what was short."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Mounts a small disk over a folder, fills it from another, runs the command, and lists what is there then.
MOUNTED = """
mount -t tmpfs -o size="$1" none "$2" && cp -a "$3"/. "$2" || exit 99
place=$2
shift 3
"$@"
code=$?
cd "$place" && { find . -mindepth 1 -type d; find . -type f -exec sha256sum {} +; } | sort >&3
exit $code
"""


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What has to stand before a command that mounts."""
    folder = tmp_path_factory.mktemp("mount")
    for before in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        command = [*before, "mount", "-t", "tmpfs", "-o", "size=4k", "none", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("unshare (util-linux) is not installed: no small disk can be mounted")
        if done.returncode == 0:
            return before
    pytest.skip("this user may not mount, not even in a namespace: no small disk can be mounted")


class Disk:
    """Commands whose ``out`` or ``tmp`` is a small disk."""

    def __init__(self, bed, before: list[str]) -> None:
        self.bed, self.before = bed, before
        self.start = bed.root / "start"
        self.start.mkdir()
        self.listing = bed.root / "listing"

    def run(self, size: str, place: Path, *arguments: object) -> tuple[subprocess.CompletedProcess[str], str]:
        """The command behind a disk of a size over a folder; what it said, and what was there afterwards."""
        mount = ["sh", "-c", 'exec 3> "$0"; ' + MOUNTED, str(self.listing), size, str(place), str(self.start)]
        done = self.bed.run(*arguments, before=[*self.before, *mount])
        assert done.returncode != 99, done.stderr
        return done, self.listing.read_text()

    def untouched(self) -> str:
        """How the disk is listed as it was at the start."""
        digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.start.iterdir()}
        return "".join(sorted(f"{digest}  ./{path.name}\n" for path, digest in digests.items()))


@pytest.fixture
def disk(bed, disks: list[str]) -> Disk:
    return Disk(bed, disks)


def refused(
    done: subprocess.CompletedProcess[str], target: Path, wanted: str = r"[\d.]+ .B wanted, "
) -> None:
    """One clear error, which names the target and what was wanted."""
    assert done.returncode == 1, done.stderr
    said = done.stderr[done.stderr.index("error: ") :]
    assert re.match(
        rf"error: No space left on device, {wanted}[\d.]+ .B free: {re.escape(str(target))}", said
    )
    assert len(said.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_export(disk: Disk, weights: list[Path]) -> None:
    target = disk.bed.out / "model.onnx"
    (disk.start / "model.onnx").write_bytes(b"old")
    done, there = disk.run("1m", disk.bed.out, "export", weights[0], "-o", target)
    refused(done, target, r"2\.4 MB wanted, ")
    assert there == disk.untouched()
    assert disk.bed.left() == []


def test_export_where_the_temporary_files_are_full(disk: Disk, weights: list[Path]) -> None:
    target = disk.bed.out / "new" / "model.onnx"
    done, there = disk.run("16k", disk.bed.tmp, "export", weights[0], "-o", target)
    assert done.returncode == 1, done.stderr
    said = done.stderr[done.stderr.index("error: ") :]
    assert "No space left on device" in said
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr
    assert there == ""
    assert disk.bed.left() == []


@pytest.mark.parametrize("size", ["8k", "1m", "4m"])
def test_package(disk: Disk, models: list[Path], size: str) -> None:
    """Of its files the model is the first that does not fit, or, behind two models, one further on."""
    folder = disk.bed.out / "image"
    done, there = disk.run(
        size, disk.bed.out, "package", "docker", f"a={models[0]}", f"b={models[1]}", "-o", folder
    )
    refused(done, folder)
    assert there == ""


def test_build(disk: Disk, models: list[Path]) -> None:
    pytest.importorskip("openvino")
    folder = disk.bed.out / "built"
    done, there = disk.run("1m", disk.bed.out, "build", models[0], "--runtime", "ov-cpu", "-o", folder)
    refused(done, folder / models[0].name, r"2\.4 MB wanted, ")
    assert there == ""


def test_build_whose_engine_does_not_fit(disk: Disk, models: list[Path]) -> None:
    """OpenVINO says nothing of a cache that it could not write."""
    pytest.importorskip("openvino")
    folder = disk.bed.out / "built"
    done, there = disk.run("4m", disk.bed.out, "build", models[0], "--runtime", "ov-cpu", "-o", folder)
    refused(done, folder / f"{models[0].stem}.ov-cpu.cache")
    assert there == ""


def test_bench(disk: Disk, models: list[Path]) -> None:
    target = disk.bed.out / "page.html"
    command = ["bench", models[0], "--runs", "3", "--warmup", "0", "--html", target]
    done, there = disk.run("4k", disk.bed.out, *command)
    refused(done, target)
    assert "p99" in done.stdout, "the measurement is printed all the same"
    assert there == ""


def test_predict(disk: Disk, golden: Path, photos: dict[str, np.ndarray]) -> None:
    picture = disk.bed.root / "cat.png"
    Image.fromarray(photos["cat"]).save(picture)
    folder = disk.bed.out / "drawn"
    done, there = disk.run(
        "16k", disk.bed.out, "predict", golden / "cpp" / "yolo.onnx", picture, "--save", folder
    )
    refused(done, folder / "cat.png", "")
    assert there == ""


@pytest.mark.parametrize("command", ["inspect", "doctor"])
@pytest.mark.parametrize("json", [True, False])
def test_standard_output(bed, models: list[Path], command: str, json: bool) -> None:
    arguments = ["inspect", str(models[0])] if command == "inspect" else ["doctor"]
    shell = ["sh", "-c", '"$@" > /dev/full', "sh"]
    done = bed.run(*arguments, *["--json"] * json, before=shell)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("largest", [0, 4096, 1_000_000])
def test_the_largest_file_that_is_allowed(bed, models: list[Path], largest: int) -> None:
    """``ulimit -f``, which needs no rights."""
    folder = bed.out / "image"
    before = ["prlimit", f"--fsize={largest}"]
    done = bed.run("package", "docker", f"m={models[0]}", "-o", folder, before=before)
    assert done.returncode == 1, done.stderr
    assert re.search(rf"File too large, 2\.4 MB wanted, .*: {re.escape(str(folder))}", done.stderr)
    assert bed.left() == []
