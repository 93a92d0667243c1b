"""What can be written to: files, links, devices and pipes; and what is refused."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from deploykit_runtimes.errors import DeploykitError, OptionError
from deploykit_runtimes.files import atomic_path, write_target
from deploykit_runtimes.targets import check_alone, check_target, is_standard_output, is_stream

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make device files")


@pytest.fixture
def null(tmp_path: Path) -> Path:
    """A device that may be lost: as root one of the test's own."""
    if os.geteuid() != 0:
        return Path(os.devnull)
    path = tmp_path / "null"
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return path


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_device_is_written_and_stays(null: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    write_target(null, b"x" * 100_000)
    link = tmp_path / "link.onnx"
    link.symlink_to(null)
    write_target(link, b"data")
    assert stat.S_ISCHR(null.stat().st_mode)
    assert link.is_symlink()
    assert tree(tmp_path) == before | {"link.onnx"}
    assert is_stream(link)


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    source = tmp_path / "weights.pth"
    source.write_bytes(b"weights")
    for name in ("link", "far"):
        (tmp_path / name).symlink_to({"link": "weights.pth", "far": "link"}[name])
        with pytest.raises(OptionError, match=r"which leads to .*weights\.pth, is an input here"):
            check_target(tmp_path / name, reads=[source])
    with pytest.raises(OptionError, match=r"^\S*weights\.pth is an input here"):
        check_target(source, reads=[tmp_path / "other", tmp_path / "far"])
    (tmp_path / "second").hardlink_to(source)  # of a second name of the file only the name is replaced
    for allowed in ("second", "new"):
        check_target(tmp_path / allowed, reads=[source])


def test_a_full_device_is_a_full_disk() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_target("/dev/full", b"data")
    assert caught.value.filename == "/dev/full"
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_pipe_gets_the_bytes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_target(pipe, b"model" * 50_000)
    reader.join()
    assert found == [b"model" * 50_000]
    assert tree(tmp_path) == {"pipe"}


def test_the_reader_of_a_pipe_is_not_left_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    with pytest.raises(ValueError, match="no"), atomic_path(pipe) as draft:
        draft.write_bytes(b"half")
        raise ValueError("no")
    assert os.read(reading, 10) == b"", "the end, and not a byte of what failed"
    os.close(reading)
    with pytest.raises(ValueError, match="no"), atomic_path(pipe):
        raise ValueError("no")  # nobody reads: nobody is waited for


def test_a_pipe_whose_reader_goes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def read_a_little() -> None:
        with pipe.open("rb", buffering=0) as stream:
            stream.read(10)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    with pytest.raises(DeploykitError, match="its reader closed it"):
        write_target(pipe, b"x" * (1 << 20))
    reader.join()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("to", ["file", "pipe"])
def test_what_is_open_is_written_at_its_end(name: str, to: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = (
        "import sys; from deploykit_runtimes.files import write_target; "
        "from deploykit_runtimes.targets import is_standard_output; print('before'); "
        f"assert is_standard_output({name!r}); write_target({name!r}, 'data\\n'); print('after')"
    )
    out = tmp_path / "out"
    done = subprocess.run(
        [
            "sh",
            "-c",
            '"$@" ' + ("> out" if to == "file" else "| cat > out"),
            "sh",
            sys.executable,
            "-c",
            code,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert out.read_text() == "before\ndata\nafter\n"
    assert tree(tmp_path) == {"link", "out"}


def test_another_descriptor(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.write(b"first ")
        log.flush()
        name = f"/dev/fd/{log.fileno()}"
        write_target(name, b"second")
        assert not is_standard_output(name)
    assert (tmp_path / "log").read_bytes() == b"first second"


def test_links_stay_and_the_file_behind_them_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "v1.onnx").write_bytes(b"old")
    (tmp_path / "second.onnx").symlink_to("real/v1.onnx")  # relative to where it lies
    (tmp_path / "model.onnx").symlink_to(tmp_path / "second.onnx")
    write_target(tmp_path / "model.onnx", b"new")
    assert (tmp_path / "real" / "v1.onnx").read_bytes() == b"new"
    assert not (tmp_path / "real" / "v1.onnx").is_symlink()
    assert (tmp_path / "second.onnx").readlink() == Path("real/v1.onnx")
    assert tree(tmp_path) == {"real", "real/v1.onnx", "second.onnx", "model.onnx"}
    with pytest.raises(ValueError, match="no"), atomic_path(tmp_path / "model.onnx") as draft:
        draft.write_bytes(b"half")
        raise ValueError("no")
    assert (tmp_path / "model.onnx").read_bytes() == b"new"


def test_a_link_to_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").symlink_to("later/v1.onnx")
    write_target(tmp_path / "model.onnx", b"new")
    assert (tmp_path / "later" / "v1.onnx").read_bytes() == b"new"
    assert (tmp_path / "model.onnx").is_symlink()


def test_a_link_in_the_way_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    write_target(tmp_path / "folder" / "model.onnx", b"new")
    assert tree(tmp_path) == {"real", "real/model.onnx", "folder"}


def test_what_cannot_be_written_is_refused_with_its_reason(tmp_path: Path, null: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "to-folder").symlink_to("folder")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "self").symlink_to("self")
    # A path to a socket may have 107 bytes.
    here, listening = Path.cwd(), socket.socket(socket.AF_UNIX)
    os.chdir(tmp_path)
    try:
        listening.bind("socket")
    finally:
        os.chdir(here)
        listening.close()
    before = tree(tmp_path)
    for name, reason in {
        "folder": "is a folder",
        "to-folder": "leads to .*folder, is a folder",
        "one": "symbolic links",
        "self/model.onnx": "symbolic links",
        "socket": "is a socket",
        "folder/../socket/model.onnx": "not a folder",
    }.items():
        for refuse in (check_target, lambda target: write_target(target, b"data")):
            with pytest.raises(OptionError, match=reason):
                refuse(tmp_path / name)
    with pytest.raises(OptionError, match="is a file, not a folder"):
        check_target(null / "model.onnx")
    assert tree(tmp_path) == before


@root_only
def test_a_disk_is_not_overwritten(tmp_path: Path) -> None:
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    with pytest.raises(OptionError, match="is a disk"):
        write_target(tmp_path / "disk", b"data")


@root_only
def test_a_file_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"precious")
    target.chmod(0o444)
    tmp_path.chmod(0o777)
    tmp_path.parent.chmod(0o755)
    code = (
        "import os, sys; from deploykit_runtimes.targets import check_target; "
        "from deploykit_runtimes.errors import OptionError\n"
        f"os.setuid(12345)\ntry: check_target({str(target)!r})\n"
        "except OptionError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Other people's folders above it may hide it from that user altogether.
    assert "is not writable" in done.stdout or "Permission denied" in done.stdout


def test_what_needs_a_second_file_is_not_written_alone(tmp_path: Path, null: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "away.onnx").symlink_to("deep/model.onnx")
    (tmp_path / "here.onnx").symlink_to("v1.onnx")
    with pytest.raises(OptionError, match=r"device or pipe\. Two files\."):
        check_alone(null, needs="Two files.")
    with pytest.raises(OptionError, match=r"link into another folder.*Two files\."):
        check_alone(tmp_path / "away.onnx", needs="Two files.")
    check_alone(tmp_path / "here.onnx", needs="Two files.")
    check_alone(tmp_path / "new.onnx", needs="Two files.")
