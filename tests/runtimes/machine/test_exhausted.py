"""What ran out, from the errors that libraries really raise."""

from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from deploykit_runtimes.errors import DependencyError
from deploykit_runtimes.machine.exhausted import exhausted
from deploykit_runtimes.optional import require
from onnx import TensorProto, helper


def raised(work) -> BaseException:
    with pytest.raises(BaseException) as caught:
        work()
    return caught.value


def bomb() -> None:
    """A graph of a hundred bytes that asks for 2**46 floats."""
    size = helper.make_tensor("size", TensorProto.INT64, [2], [1 << 23, 1 << 23])
    nodes = [helper.make_node("ConstantOfShape", ["given"], ["y"])]
    shape = helper.make_tensor_value_info("given", TensorProto.INT64, [2])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])
    graph = helper.make_graph(nodes, "bomb", [shape], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    session.run(None, {"given": np.array(list(size.int64_data) or [1 << 23, 1 << 23], np.int64)})


def torch_tensor() -> None:
    import torch

    torch.empty(1 << 46)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: np.empty(1 << 46), "numpy asked for 512. TiB"),
        (torch_tensor, "asked for 281474.98 GB"),
        (bomb, "onnxruntime asked for 281474.98 GB"),
        (lambda: bytearray(1 << 60), "asked for more than there is"),
    ],
)
def test_memory(work, said: str) -> None:
    problem = exhausted(raised(work))
    assert problem is not None
    assert problem.startswith("out of memory: ")
    assert said in problem


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory: Cannot allocate memory"),
        (OSError(errno.EMFILE, "Too many open files", "a.onnx"), "(ulimit -n): a.onnx"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "out of processes or threads"),
        (RuntimeError("can't start new thread"), "out of threads: can't start new thread"),
        (RuntimeError("unable to open file <w.bin>: Too many open files (24)"), "too many open files"),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            "libtorch_cpu.so does not fit",
        ),
        (MemoryError(), "asked for more than there is"),
        (MemoryError("out of memory: told before"), "out of memory: told before"),
    ],
)
def test_other_words(error: BaseException, said: str) -> None:
    assert said in str(exhausted(error))


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), KeyError("memory"), OSError(errno.ENOENT, "No such file"), RuntimeError("shape")],
)
def test_what_is_a_bug_stays_one(error: BaseException) -> None:
    assert exhausted(error) is None


def test_any_error_where_a_limited_address_space_is_used_up() -> None:
    code = (
        "import mmap, resource; from deploykit_runtimes.machine.exhausted import exhausted\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "print(exhausted(SystemError('odd')))\n"
        "taken = mmap.mmap(-1, 950 << 20)\n"
        "print(exhausted(SystemError('odd')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert before == "None"
    assert "when it failed: SystemError: odd; this process may have 1.07 GB (ulimit -v)" in after


def test_a_library_that_does_not_fit_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise ImportError("libx.so: failed to map segment from shared object", name="x")

    monkeypatch.setattr("deploykit_runtimes.optional.import_module", fail)
    with pytest.raises(MemoryError, match=r"libx\.so does not fit"):
        require("x", extra="cpu")
    monkeypatch.undo()
    with pytest.raises(DependencyError):
        require("no_such_module_here", extra="cpu")
