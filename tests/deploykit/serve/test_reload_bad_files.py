"""Model files of every kind that go bad under load: the old version stays until a good one comes."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper
from watched_models import Clients, Watched, put, remove, replaced, spoiled


def without_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def failing_when_run(model: onnx.ModelProto) -> None:
    """The last node becomes one that only a run can find at fault."""
    graph = model.graph
    [name] = [output.name for output in graph.output]
    for node in graph.node:
        node.output[:] = ["inner" if output == name else output for output in node.output]
    graph.initializer.append(helper.make_tensor("seven", TensorProto.INT64, [1], [7]))
    graph.node.append(helper.make_node("Shape", ["inner"], ["sizes"]))
    graph.node.append(helper.make_node("Add", ["sizes", "seven"], ["wrong"]))
    graph.node.append(helper.make_node("Reshape", ["inner", "wrong"], [name]))


def asking_for_a_terabyte(model: onnx.ModelProto) -> None:
    graph = model.graph
    [name] = [output.name for output in graph.output]
    for node in graph.node:
        node.output[:] = ["inner" if output == name else output for output in node.output]
    # Of a size that only a run knows, so that nothing is computed ahead.
    graph.initializer.append(helper.make_tensor("huge", TensorProto.INT64, [1], [1 << 20]))
    graph.node.append(helper.make_node("Shape", ["inner"], ["sizes"]))
    graph.node.append(helper.make_node("Mul", ["sizes", "huge"], ["terabytes"]))
    graph.node.append(helper.make_node("ConstantOfShape", ["terabytes"], ["zeros"]))
    graph.node.append(helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["inner", "sum"], [name]))


def damaged_metadata(model: onnx.ModelProto) -> None:
    for entry in model.metadata_props:
        entry.value = "\x1b]0;title\x07" * 100


def other_weights(model: onnx.ModelProto) -> None:
    """Weights of another shape than the graph wants."""
    largest = max(model.graph.initializer, key=lambda weights: len(weights.raw_data))
    largest.dims[:] = [*reversed(largest.dims), 1]


def cut_off(path: Path) -> None:
    replaced(path, path.read_bytes()[: path.stat().st_size // 2])


def with_weights_beside_that_are_too_short(path: Path) -> None:
    model = onnx.load(path)
    folder = path.parent / "draft-weights"
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "x.onnx", save_as_external_data=True, location="a.weights", size_threshold=1024)
    (path.parent / "a.weights").write_bytes((folder / "a.weights").read_bytes()[:1000])
    put(folder / "x.onnx", path)
    shutil.rmtree(folder)


def made_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something that is not a model, made beside the path and then put there."""

    def spoil(path: Path) -> None:
        draft = path.with_name("bad")
        make(draft)
        put(draft, path)

    return spoil


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def a_terabyte_of_nothing(path: Path) -> None:
    """A file without blocks, which takes no room, and an hour to read."""
    path.touch()
    os.truncate(path, 1 << 40)


def of_rank_two(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[2:]


def with_endless_metadata(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="note", value="x" * (20 << 20))


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (lambda path: replaced(path, os.urandom(1000)), "a.onnx"),
    "empty": (lambda path: replaced(path, b""), "empty"),
    "cut off": (cut_off, "a.onnx"),
    "gone": (remove, "does not exist"),
    "a folder": (made_by(Path.mkdir), "is a folder"),
    "a pipe": (made_by(os.mkfifo), "pipe"),
    "a device": (made_by(lambda path: path.symlink_to("/dev/zero")), "device"),
    "a circle of links": (made_by(lambda path: path.symlink_to("a.onnx")), "cannot be read"),
    "forbidden": (made_by(lambda path: path.touch(0)), "ermission denied"),
    "a checkpoint": (lambda path: replaced(path, b"PK\3\4" + bytes(100)), "checkpoint"),
    "no outputs": (spoiled(without_outputs), "output"),
    "fails in its first run": (spoiled(failing_when_run), "Reshape"),
    "a terabyte in its first run": (spoiled(asking_for_a_terabyte), "memory"),
    "damaged metadata": (spoiled(damaged_metadata), "metadata"),
    "weights of another shape": (spoiled(other_weights), "Conv"),
    "a socket": (made_by(a_socket), "socket"),
    "a terabyte of nothing": (made_by(a_terabyte_of_nothing), "a.onnx"),
    "no image as input": (spoiled(of_rank_two), "a.onnx"),
    "endless metadata": (spoiled(with_endless_metadata), "metadata"),
    "weights beside that are too short": (with_weights_beside_that_are_too_short, "a.onnx"),
}


def obeying_permissions(command: list[str]) -> list[str]:
    """A command as a process for which permissions hold, which for root they do not."""
    if os.geteuid():
        return command
    assert shutil.which("setpriv"), "as root this test wants setpriv, of util-linux"
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]


def test_bad_files_of_every_kind_under_load(
    folder: Path, classifier: Path, other_classifier: Path, start: Callable[..., Any]
) -> None:
    served = start(
        *(str(folder / f"{name}.onnx") for name in ("a", "b")), "--poll", "0.05", wrap=obeying_permissions
    )
    port = int(served.ready()["url"].rpartition(":")[2])
    log: list[str] = []
    reading = threading.Thread(target=lambda: log.extend(served.process.stderr))
    reading.start()
    watched = Watched(port, folder, (classifier, other_classifier))
    clients = Clients(port, ("a", "b"))
    try:
        for spoil, words in BAD.values():
            watched.breaks(spoil, words)
            watched.mend("b")
            watched.mend()
    finally:
        clients.end()
    assert clients.lost == []
    assert min(clients.answers.values()) > len(BAD)
    assert watched.failures("b") == 0
    served.process.terminate()
    served.process.wait(300)
    reading.join(300)
    assert served.process.returncode == 0
    text = "".join(log)
    # Once each: what failed is tried again when it changes, not at every look.
    assert text.count("cannot be loaded, version") == len(BAD)
    for version in range(1, len(BAD) + 1):
        assert text.count(f"cannot be loaded, version {version} stays: ") == 1
    assert all(sign.isprintable() for sign in text.replace("\n", ""))
