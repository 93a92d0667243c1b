"""The golden vectors that C++ reads too (see tests/golden/make_selftest.py)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes.contract.metadata import spec_from_metadata
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.selftest import bits
from deploykit_runtimes.selftest.cases import Case, cases_from_keys
from deploykit_runtimes.selftest.compare import differences
from deploykit_runtimes.selftest.inputs import feeds_of, images_of
from deploykit_runtimes.selftest.measure import means

INDEX = Path(__file__).parents[1] / "golden" / "selftest" / "index.txt"
Block = dict[str, str]


def read_blocks() -> dict[str, list[Block]]:
    found, contract = defaultdict(list), {}
    for text in INDEX.read_text(encoding="utf-8").strip("\n").split("\n\n"):
        block = dict(line.split("\t", 1) for line in text.split("\n"))
        kind = block.pop("kind")
        if kind == "contract":
            contract = block
        found[kind].append({**contract, **block} if kind in ("case", "difference") else block)
    return found


BLOCKS = read_blocks()


def integers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def array(text: str) -> tuple[str, np.ndarray]:
    name, dtype, sides, *values = text.split(" ")
    shape = [] if sides == "-" else [int(side) for side in sides.split("x")]
    whole = np.dtype(dtype).kind in "iu"
    return name, np.array([int(v) if whole else float(v) for v in values if v], dtype).reshape(shape)


def test_every_kind_is_there() -> None:
    assert {kind: len(blocks) > 3 for kind, blocks in BLOCKS.items() if kind != "valid"} == dict.fromkeys(
        ("numbers", "positions", "images", "means", "contract", "case", "difference", "problem"), True
    )
    assert {block["ok"] for block in BLOCKS["difference"]} == {"True", "False"}


def test_numbers_and_positions() -> None:
    for block in BLOCKS["numbers"]:
        found = bits.random_numbers(int(block["seed"]), int(block["count"]))
        assert found.tolist() == integers(block["values"])
    for block in BLOCKS["positions"]:
        found = bits.positions(int(block["size"]), int(block["count"]))
        assert found.tolist() == integers(block["values"])


@pytest.mark.parametrize("block", BLOCKS["images"], ids=lambda block: block["shape"])
def test_images(block: Block) -> None:
    batch, height, width, channels = integers(block["shape"])
    picture = None
    if "picture" in block:
        *shape, rest = block["picture"].split(" ", 3)
        picture = np.array(integers(rest), np.uint8).reshape([int(side) for side in shape])
    case = Case(
        picture=picture,
        seed=int(block.get("noise", "0")),
        batch=batch,
        height=height,
        width=width,
        stage="image",
        soft=int(block["soft"]),
    )
    assert images_of(case, channels).reshape(-1).tolist() == integers(block["pixels"])


@pytest.mark.parametrize("block", BLOCKS["means"], ids=lambda block: block["shape"])
def test_means(block: Block) -> None:
    shape = integers(block["shape"])
    numbers = bits.random_numbers(int(block["seed"]), int(np.prod(shape)))
    values = ((numbers >> np.uint64(40)).astype(np.float64) / (1 << 24) - 0.5).reshape(shape)
    wanted = [float(word) for word in block["values"].split()]
    np.testing.assert_allclose(means(values), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("block", BLOCKS["case"], ids=lambda block: block["title"])
def test_feeds(block: Block) -> None:
    spec = spec_from_metadata(block)
    (case,) = cases_from_keys(block)
    assert case.title == block["title"]
    wanted = [text.split() for key, text in block.items() if key.startswith("feed.")]
    found = [
        [
            name,
            str(feed.dtype),
            "x".join(map(str, feed.shape)) or "-",
            hashlib.sha256(np.ascontiguousarray(feed).tobytes()).hexdigest(),
        ]
        for name, feed in feeds_of(case, spec).items()
    ]
    assert found == wanted


@pytest.mark.parametrize("block", BLOCKS["difference"])
def test_differences(block: Block) -> None:
    (kept,) = cases_from_keys(block)[0].kept
    outputs = dict(array(text) for key, text in block.items() if key.startswith("output."))
    found = differences(outputs, kept, spec_from_metadata(block), block["precision"])
    assert (found.output, found.part) == (block["output"], block["part"])
    assert (found.ok, found.agreed, found.answers) == (
        block["ok"] == "True",
        int(block["agreed"]),
        int(block["answers"]),
    )
    for name in ("found", "allowed", "scale"):
        assert getattr(found, name) == pytest.approx(float(block[name]), rel=1e-9, abs=1e-13)


def test_problems() -> None:
    """Every damaged key has its text, and C++ the same one."""
    (valid,) = BLOCKS["valid"]
    assert len(cases_from_keys(valid)) == 1
    for block in BLOCKS["problem"]:
        keys = {key: text for key, text in valid.items() if key != block["key"]}
        if block["value"] != "-":
            keys[block["key"]] = block["value"].replace("\\n", "\n")
        with pytest.raises(ModelError) as found:
            cases_from_keys(keys)
        assert found.value.problem == block["problem"]


def test_a_case_takes_no_more_memory_than_a_call() -> None:
    case = Case(picture=None, batch=1024, height=256, width=256, stage="image")
    with pytest.raises(ModelError, match="1024x256x256 wants at most 268435456 values, found 4398046511104"):
        images_of(case, 65_536)
