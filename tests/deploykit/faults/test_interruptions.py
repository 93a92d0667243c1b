"""Ctrl-C at moments all over a command's lifetime: one line, exit code 130, and nothing left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploykit.process.supervision import decodes_images

BEGUN = re.compile(
    r'deploykit/(__main__|cli|process/\w+)\.py", line \d+, in (?!<module>$|run$)', re.MULTILINE
)
"""Functions of the command's own process in a traceback: what they do may be interrupted without one."""

Moments = Callable[[float, int], list[float]]


def interrupted(bed, moments: Moments, count: int, *command: object) -> None:
    life = bed.seconds(*command)
    interrupted_at(bed, moments(life, count), bed.left(), *command)


def interrupted_at(bed, moments: list[float], whole: list[str], *command: object) -> None:
    for moment in moments:
        bed.clear()
        done = bed.signalled(signal.SIGINT, moment, *command)
        if "Traceback" in done.stderr and not BEGUN.search(done.stderr):
            continue  # the interpreter was starting, importing the package or entering ``run``
        assert bed.processes() == []
        if done.returncode == 0:
            assert "interrupted" not in done.stderr
            continue  # it was done already
        assert done.returncode == 130, done.stderr
        assert done.stderr.endswith("interrupted\n")
        assert done.stderr.count("interrupted") == 1
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        assert bed.left() in ([], whole), "what was finished when the signal came stays"


def test_export(bed, weights: list[Path], moments: Moments) -> None:
    """Five times in its work, and once while torch may still be loading."""
    target = bed.out / "new" / "model.onnx"
    command = ("export", weights[0], "-o", target, "--preprocess", "--postprocess")
    loading = bed.warm_up()
    interrupted(bed, moments, 5, *command)
    bed.cool_down()
    bed.clear()
    interrupted_at(bed, moments(loading, 1), [], *command)


def test_build(bed, models: list[Path], moments: Moments) -> None:
    pytest.importorskip("openvino")
    interrupted(bed, moments, 4, "build", models[0], "--runtime", "ov-cpu", "-o", bed.out / "built")


def test_package(bed, models: list[Path], moments: Moments) -> None:
    interrupted(bed, moments, 4, "package", "triton", models[0], "-o", bed.out / "deep" / "repository")


def test_bench_in_processes_of_their_own(bed, models: list[Path], moments: Moments) -> None:
    pytest.importorskip("openvino")
    engines = ("--runtime", "ort-cpu,ov-cpu", "--seconds", "0.3", "--html", bed.out / "page.html")
    interrupted(bed, moments, 4, "bench", models[0], *engines)


def test_doctor(bed, moments: Moments) -> None:
    interrupted(bed, moments, 4, "doctor")


def test_predict(bed, golden: Path, photos: dict[str, np.ndarray], moments: Moments) -> None:
    Image.fromarray(photos["cat"]).save(bed.root / "cat.png")
    model = golden / "cpp" / "yolo.onnx"
    interrupted(bed, moments, 4, "predict", model, bed.root / "cat.png", "--save", bed.out / "drawn")


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("again", [True, False])
def test_compiled_code_that_does_not_return(tmp_path: Path, again: bool) -> None:
    """Python's handlers wait for it; the command does not. A second Ctrl-C changes nothing about that."""
    done = run(f"""
import ctypes, os, signal, threading, time
from deploykit.process.interruption import ending_signals
from deploykit_runtimes.files import atomic_path

def press():
    os.kill(os.getpid(), signal.SIGINT)
    if {again}:
        time.sleep(0.8)
        os.kill(os.getpid(), signal.SIGINT)

with ending_signals(), atomic_path({str(tmp_path / "new" / "deep" / "model.onnx")!r}) as draft:
    draft.write_bytes(b"half")
    threading.Timer(0.2, press).start()
    # Another thread takes the signals, so that the call is not even cut short by them.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGURG])
    ctypes.CDLL(None).sleep(600)
""")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_a_signal_during_an_import_waits_for_its_end(
    tmp_path: Path, number: signal.Signals, code: int, words: str
) -> None:
    """Libraries abort the process where the Python code that they run in their import raises."""
    (tmp_path / "imported.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {int(number)})\nexcept BaseException:\n    os.abort()\n"
    )
    done = run(f"""
import sys, time
sys.path.insert(0, {str(tmp_path)!r})
from deploykit.process.interruption import ending_signals
try:
    with ending_signals():
        import imported
        time.sleep(600)
except KeyboardInterrupt:
    sys.stderr.write("interrupted\\n")
    sys.exit(130)
""")
    assert (done.returncode, done.stderr) == (code, words)


@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_an_import_that_does_not_end(tmp_path: Path, number: signal.Signals, code: int, words: str) -> None:
    (tmp_path / "imported.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {int(number)})\nwhile True:\n    time.sleep(0.01)\n"
    )
    done = run(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from deploykit.process.interruption import ending_signals
from deploykit_runtimes.files import atomic_path
with ending_signals(), atomic_path({str(tmp_path / "model.onnx")!r}) as draft:
    draft.write_bytes(b"half")
    import imported
""")
    assert (done.returncode, done.stderr) == (code, words)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["imported.py"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_decoder_that_keeps_the_interpreter_to_itself(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """As Pillow's for JPEG 2000 does, for half a minute and more: no thread of the process can answer."""
    program = """
import ctypes, os, sys, threading
from deploykit.process.interruption import ending_signals
from deploykit.process.supervision import supervised
from deploykit_runtimes.machine.scratch import scratch_folder

def command():
    with ending_signals(), scratch_folder() as folder:
        (folder / "half").write_bytes(b"half")
        print("decoding", flush=True)
        ctypes.PyDLL(None).sleep(600)

sys.exit(supervised(command, impatient=True))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "decoding\n"
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (code, "interrupted\n" if number == signal.SIGINT else "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGSEGV, "a library ended it"), (signal.SIGKILL, "run out of memory")]
)
def test_a_child_that_crashes_is_told(number: signal.Signals, words: str) -> None:
    done = run(
        "import os, sys; from deploykit.process.supervision import supervised\n"
        f"sys.exit(supervised(lambda: os.kill(os.getpid(), {int(number)}), impatient=True))"
    )
    assert done.returncode == 128 + number
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_commands_that_decode_images_are_supervised() -> None:
    assert decodes_images(["predict", "model.onnx"])
    assert decodes_images(["--debug", "verify", "best.pt"])
    assert not decodes_images(["serve", "predict"])
    assert not decodes_images([])


def test_a_wish_that_comes_twice_ends_a_command_in_order(tmp_path: Path) -> None:
    """GNU timeout sends its signal twice: the second one must not break off the clearing up."""
    done = run(f"""
import os, signal, time
from deploykit.process.interruption import ending_signals
with ending_signals():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        open({str(tmp_path / "cleared")!r}, "w").close()
""")
    assert (done.returncode, done.stderr) == (143, "")
    assert (tmp_path / "cleared").exists()


def test_demo(bed, moments: Moments) -> None:
    """Its folder appears whole or not at all. A machine that is faster than this may be done before."""
    interrupted_at(
        bed, [1.0 + moment for moment in moments(12.0, 3)], [], "demo", "-o", bed.out / "deep" / "demo"
    )


def test_an_interruption_that_a_library_swallows(tmp_path: Path) -> None:
    done = run("""
import os, signal, time
from deploykit.process.interruption import ending_signals
with ending_signals():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except BaseException:
        time.sleep(600)
""")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_closed_terminal(bed, models: list[Path]) -> None:
    process = bed.start("bench", models[0], "--seconds", "600")
    assert process.stderr is not None
    while "Measuring" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGHUP)
    process.communicate(timeout=300)
    assert process.returncode == 129
    assert bed.left() == []
