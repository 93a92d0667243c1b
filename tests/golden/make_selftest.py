"""Write golden vectors of the self-test: what Python makes of seeds, pictures, keys and outputs.

    python tests/golden/make_selftest.py

``selftest/index.txt`` has blocks of ``key<TAB>value`` lines, blocks end with an empty line. Lists are
separated by spaces. ``kind`` says what a block holds:

    numbers      seed, count: values
    positions    size, count: values
    images       picture (height, width, channels, pixels) or noise (seed), shape, soft: pixels
    means        shape, seed: values are (random(seed, i) >> 40) / 2^24 - 0.5; means
    contract     deploykit.*: the contract of the blocks after it
    case         deploykit.golden.*: the keys of one case; title, feed.N (name, dtype, shape,
                 SHA-256 of the bytes)
    difference   deploykit.golden.*, output.N (name, dtype, shape, values), precision: a Difference, by its
                 fields
    valid        deploykit.golden.*: keys that are valid
    problem      key, value: a key of ``valid`` is changed (``-``: left out); the text of the error
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, Preprocess
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.selftest import bits
from deploykit_runtimes.selftest.cases import (
    GOLDEN,
    Case,
    KeptRows,
    Slice,
    cases_from_keys,
    cases_to_keys,
)
from deploykit_runtimes.selftest.inputs import feeds_of, images_of
from deploykit_runtimes.selftest.measure import keep_values, means
from selftest_outputs import Block, compared, contract, contract_keys, listed, tensor

FOLDER = Path(__file__).parent / "selftest"
FREE = {axis: AxisRange(min=1, max=64) for axis in ("batch", "height", "width")}


def numbers() -> Iterator[Block]:
    for seed, count in ((0, 5), (1234567, 4), ((1 << 63) - 1, 3), (1, 0)):
        found = listed(bits.random_numbers(seed, count))
        yield {"kind": "numbers", "seed": str(seed), "count": str(count), "values": found}
    for size, count in ((0, 3), (3, 3), (2, 5), (7, 3), (1000, 256), (1 << 31, 12), (9, 0)):
        found = listed(bits.positions(size, count))
        yield {"kind": "positions", "size": str(size), "count": str(count), "values": found}


def images() -> Iterator[Block]:
    for channels, shape, soft in (
        (3, (1, 4, 5, 3), 0),
        (3, (5, 7, 3, 3), 0),
        (3, (2, 3, 40, 6), 2),
        (3, (1, 9, 4, 1), 7),
        (4, (2, 1, 1, 4), 0),
        (1, (3, 2, 6, 3), 1),
        (3, (1, 3, 4, 8), 0),
    ):
        picture = bits.noise(channels, (1, 4, 5, channels))[0]
        case = Case(
            picture=picture, batch=shape[0], height=shape[1], width=shape[2], stage="image", soft=soft
        )
        source = f"{listed(np.array(picture.shape))} {listed(picture)}"
        yield _images(case, shape, {"picture": source})
    for seed, shape, soft in ((0, (2, 3, 4, 3), 0), (99, (1, 5, 2, 6), 3)):
        case = Case(
            picture=None,
            seed=seed,
            batch=shape[0],
            height=shape[1],
            width=shape[2],
            stage="image",
            soft=soft,
        )
        yield _images(case, shape, {"noise": str(seed)})


def _images(case: Case, shape: tuple[int, ...], source: Block) -> Block:
    pixels = listed(images_of(case, shape[3]))
    return {
        "kind": "images",
        **source,
        "shape": listed(np.array(shape)),
        "soft": str(case.soft),
        "pixels": pixels,
    }


def mean_values() -> Iterator[Block]:
    for seed, shape in enumerate(
        ((), (1, 1), (7,), (2, 3, 4), (1, 1024), (1, 1025), (2, 1500, 3), (1, 2, 2049))
    ):
        found = listed(means(tensor(shape, seed)))
        yield {"kind": "means", "shape": listed(np.array(shape, int)), "seed": str(seed), "values": found}


def prepared() -> Iterator[Block]:
    """Cases, and what a model is fed for them."""
    square = {"input": InputSpec(height=16, width=16, dynamic={"batch": FREE["batch"]})}
    half = {"input": InputSpec(height=16, width=16, dtype="float16", layout="NHWC", dynamic=FREE)}
    raw = {
        "preprocess": Preprocess(included=True),
        "input": InputSpec(height=16, width=16, layout="NHWC", dtype="uint8", dynamic=FREE),
        "network": InputSpec(height=16, width=16),
    }
    crop = {
        **square,
        "preprocess": Preprocess(
            resize="short", resize_to=(20,), crop=(16, 16), interpolation="bicubic", mean=(0.5,), std=(0.25,)
        ),
    }
    box = {"resize": "letterbox", "resize_to": (16, 16), "resampler": "opencv", "pad_value": 114}
    letterbox = {**square, "preprocess": Preprocess(**box)}
    bgr = {**half, "preprocess": Preprocess(color="bgr", resize="stretch", resize_to=(16, 16))}
    six = {
        "input": InputSpec(height=16, width=16, channels=6, dynamic={"batch": FREE["batch"]}),
        "preprocess": Preprocess(**box, color="as_is", mean=(0.0,), std=(1.0,)),
    }
    grey = {
        "input": InputSpec(height=16, width=16, channels=1),
        "preprocess": Preprocess(**box, color="grey", mean=(0.1,), std=(0.2,)),
    }
    whole = contract("logits", ("logits",), "classify")
    for changes in (crop, letterbox, bgr, six, grey, raw):
        for case in (
            shot("image", 1, 24, 30),
            shot("image", 2, 31, 9, soft=2),
            shot("tensor", 1, 16, 16),
            Case(picture=None, seed=8, batch=3, height=16, width=16, stage="tensor"),
        ):
            yield _prepared(replace(whole, **changes), case)
    thresholds = replace(whole.output, runtime_thresholds=True, conf=0.125)
    yield _prepared(replace(whole, output=thresholds, **raw), shot("image", 1, 5, 6))


def shot(stage: str, batch: int, height: int, width: int, soft: int = 0) -> Case:
    picture = bits.noise(3, (1, 6, 8, 3))[0]
    return Case(picture=picture, batch=batch, height=height, width=width, stage=stage, soft=soft)


def _prepared(model: ModelSpec, case: Case) -> Block:
    kept = keep_values({"logits": tensor((1, 5), 1)}, Slice(output="logits"))
    block = {"kind": "case", **contract_keys(model), **cases_to_keys((replace(case, kept=(kept,)),))}
    block["title"] = case.title
    (read,) = cases_from_keys(block)
    for index, (name, feed) in enumerate(feeds_of(read, model).items()):
        sides = "x".join(map(str, feed.shape)) or "-"
        digest = hashlib.sha256(np.ascontiguousarray(feed).tobytes()).hexdigest()
        block[f"feed.{index}"] = f"{name} {feed.dtype} {sides} {digest}"
    return block


def problems() -> Iterator[Block]:
    """One key after the other damaged."""
    logits = {"logits": tensor((2, 5), 3).astype(np.float32)}
    values = replace(
        keep_values(logits, Slice(output="logits", best=True), 4), tolerances={"fp32": (1e-5, 1e-6)}
    )
    rows = KeptRows(
        box=4, extra=0, rows=np.zeros((2, 7)), cuts=np.zeros(2), tolerances={"fp32": (1e-4, 1, 1)}
    )
    case = Case(
        picture=bits.noise(1, (1, 2, 2, 3))[0], batch=2, height=8, width=8, stage="image", kept=(values, rows)
    )
    valid = cases_to_keys((case,))
    yield {"kind": "valid", **valid}
    for key in valid:
        yield from _problems(valid, key, "-")
    for key, texts in DAMAGED.items():
        for text in texts:
            yield from _problems(valid, f"{GOLDEN}{key}", text)


WRONG = ("", "x", "-1", "1 1", "1.0", "99999999999999999999", "9999999999999999999", "\u0661", "1\u00a02")
TEXTS = ("A", "A===", "====", "AAAA=AAA", "AAA\u00e9", "AAAAAAA=", "AAAA AAAA", "AA=A")
DAMAGED = {
    "cases": (*WRONG, "17"),
    "pictures": (*WRONG, "17", "3"),
    "picture.0": (
        "",
        "2 2 3",
        "2 2 3 AAAA",
        "0 2 3 AAAA",
        "2 1025 3 AAAA",
        "2 2 3 AAAA A",
        "2 2 3 !",
        "2 x 3 AAAA",
    ),
    "0.images": (
        *("", "picture 0 2 8 8 image", "picture 0 2 8 8 image 0 0", "photo 0 2 8 8 image 0", "x" * 300),
        *(
            "picture 1 2 8 8 image 0",
            "picture 0 0 8 8 image 0",
            "picture 0 1025 8 8 image 0",
            "é\u2028" * 150,
        ),
        *("picture 0 2 16385 8 image 0", "picture 0 2 8 8 image 8", "picture 0 2 8 8 neither 0"),
        *(
            "noise 9223372036854775808 2 8 8 image 0",
            "noise -1 2 8 8 image 0",
            "noise 0 1024 128 129 image 0",
        ),
        *(
            "noise 1e3 2 8 8 image 0",
            "noise 0x1 2 8 8 image 0",
            "noise '0\" 2 8 8 image 0",
            "noise 0 2 8 8 image \\n",
        ),
    ),
    "0.outputs": (*WRONG, "33", "3"),
    "0.0.kind": ("", "VALUES", "none"),
    "0.0.slice": ("", "0 0", "0 0 0 0", "-2 0 0", "0 0 2147483648", "a b c", "0 -9999999999999999999 0"),
    "0.0.log": ("2", "-1", "yes"),
    "0.0.samples": TEXTS,
    "0.0.means": TEXTS,
    "0.0.best": ("", "1", "1 2 3", "1 -1", "1 2147483648"),
    "0.0.margins": ("", "AAAA", *TEXTS),
    "0.0.tolerance.fp32": (
        "",
        "1",
        "1 2 3",
        "1 x",
        "1 -1",
        "1 inf",
        "1 nan",
        "1 1e999",
        "1 1e",
        "1 .5",
        "1 5.",
        "+1 1",
    ),
    "0.0.tolerance.FP32": ("1 1",),
    "0.0.tolerance.": ("1 1",),
    "0.0.tolerance.12345678901234567": ("1 1",),
    "0.1.columns": ("", "4", "4097 0", "-1 0", "3 0"),
    "0.1.rows": TEXTS,
    "0.1.cuts": ("", "AAAA", *TEXTS),
    "0.1.tolerance.bf16": ("1 1", "1e-999 1 1e1000"),
}


def _problems(valid: Block, key: str, text: str) -> Iterator[Block]:
    keys = {name: value for name, value in valid.items() if name != key}
    if text != "-":
        keys[key] = text.replace("\\n", "\n")
    try:
        cases_from_keys(keys)
    except ModelError as error:
        yield {"kind": "problem", "key": key, "value": text, "problem": error.problem}
    else:
        assert (key, text) == (f"{GOLDEN}cases", "-") or text == "-", (key, text)


def shortened(blocks: list[Block]) -> Iterator[Block]:
    """The contract of each block in one of its own, where it is another one than before."""
    last: Block = {}
    for block in blocks:
        own = {key: text for key, text in block.items() if is_of_contract(key)}
        if own and own != last:
            yield {"kind": "contract", **own}
            last = own
        yield {key: text for key, text in block.items() if not is_of_contract(key)}


def is_of_contract(key: str) -> bool:
    return key.startswith("deploykit.") and not key.startswith(GOLDEN)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    made = [*numbers(), *images(), *mean_values(), *prepared(), *compared(), *problems()]
    texts = ["".join(f"{key}\t{value}\n" for key, value in block.items()) for block in shortened(made)]
    (FOLDER / "index.txt").write_text("\n".join(texts) + "\n")
    sys.stdout.write(f"{len(texts)} blocks in {FOLDER}\n")
