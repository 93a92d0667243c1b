"""Model files that attack whoever reads them, written when a test asks: ``python hostile_models.py FOLDER``.

Each is small for what it asks: a graph that computes gigabytes, metadata that is nothing but names, sizes
whose product does not fit into 64 bits. All but a few carry a contract that is valid, so a reader goes on to
what is wrong. The bytes are put together by hand: the official library refuses to write most of it, and
takes minutes for a million nodes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from hostile_bytes import CONTRACT, FLOAT, INT64, contract_with, function, int64s, model, node
from hostile_contracts import CONTRACTS, FORGED_VALUES, YOLO, forged
from hostile_graphs import GRAPHS

__all__ = ["CONTRACT", "FORGED_VALUES", "HONEST", "HOSTILE", "YOLO", "at_run", "forged", "model", "node"]

HOSTILE: dict[str, Callable[[], bytes]] = {**CONTRACTS, **GRAPHS}
"""Attacks by name; each makes the bytes of its file."""


def _grid() -> bytes:
    """What exporters write of positions: 4 MB made of constants, at a size that depends on the image."""
    return model(
        nodes=[
            node("Shape", ["images"], ["s"]),
            node("Gather", ["s", "side"], ["n"]),
            node("Range", ["zero", "n", "unit"], ["row"]),
            node("ConstantOfShape", ["shape"], ["plane"]),
            node("Cast", ["row"], ["steps"], to=FLOAT),
            node("Add", ["plane", "steps"], ["bomb"]),
        ],
        initializers=[
            int64s("side", [3], scalar=True),
            int64s("zero", [0], scalar=True),
            int64s("unit", [1], scalar=True),
            int64s("shape", [1024, 32, 32]),
        ],
    )


def _deep_chain() -> bytes:
    """As many nodes as a model of 3,000 layers."""
    chain = [node("Relu", [f"n{i}"], [f"n{i + 1}"]) for i in range(3000)]
    return model(nodes=[node("Identity", ["images"], ["n0"]), *chain, node("Identity", ["n3000"], ["bomb"])])


def _functions() -> bytes:
    calls = [node("f", [f"n{i}"], [f"n{i + 1}"], domain="f") for i in range(100)]
    return model(
        nodes=[node("Identity", ["images"], ["n0"]), *calls, node("Identity", ["n100"], ["bomb"])],
        functions=[function("f", [node("Relu", ["x"], ["t"]), node("Neg", ["t"], ["y"])])],
        domains=["f"],
    )


def _many_names() -> bytes:
    """All classes of ImageNet-21k, ten times."""
    names = 218_410
    return model(
        metadata=contract_with(
            classes="\n".join(f"class number {i}" for i in range(names)), num_classes=str(names)
        ),
    )


HONEST: dict[str, Callable[[], bytes]] = {
    "plain": model,
    "grid": _grid,
    "deep_chain": _deep_chain,
    "functions": _functions,
    "many_names": _many_names,
}
"""What must go on working."""


def at_run() -> bytes:
    """A tensor whose sides are the largest value that the caller feeds."""
    return model(
        nodes=[
            node("ReduceMax", ["images"], ["largest"], keepdims=0),
            node("Cast", ["largest"], ["side"], to=INT64),
            node("Reshape", ["side", "one"], ["sides"]),
            node("Concat", ["sides", "sides"], ["shape"], axis=0),
            node("ConstantOfShape", ["shape"], ["bomb"]),
        ],
        initializers=[int64s("one", [1])],
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or [*HONEST, *HOSTILE]:
        (folder / f"{name}.onnx").write_bytes({**HONEST, **HOSTILE}[name]())
