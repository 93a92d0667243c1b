"""Contracts that attack whoever reads them: endless names, forged values, sizes that cannot be meant."""

from __future__ import annotations

from collections.abc import Callable

from deploykit_runtimes.onnx.protobuf import encode
from hostile_bytes import CONTRACT, FLOAT, contract_with, model, tensor_info

YOLO = {"task": "detect", "stride": "32", "names": "{0: 'a'}", "imgsz": "[32, 32]", "batch": "1"}

FORGED_VALUES = (
    *("", " ", "-1", "-0", "0", "1", "2", "65536", "1073741824", "2000000000", "2147483647", "2147483648"),
    *("-2147483648", "4294967296", "9223372036854775807", "9223372036854775808", "1" + "0" * 400, "9" * 5000),
    *(
        "-" * 100_000,
        "1e400",
        "-1e400",
        "1e-400",
        "1e308",
        "nan",
        "inf",
        "-inf",
        "NaN",
        "0x10",
        "1_000",
        "1.5",
    ),
    *(
        "٣",
        "½",
        "1,5",
        "1 1 1 1 1",
        "2000000000 2000000000",
        "0 0",
        "-1 -1",
        "2147483647 2147483647",
        "1 2 3",
    ),
    *("[" * 100_000, '{"a":1,"a":2}', "null", "true", "None", "\x00", "a\x00b", "\ud800", "\n" * 1000),
    *("letterbox", "cover", "long", "opencv", "grey", "as_is", "NHWC", "float16", "uint8", "yolo", "detect"),
)
"""Negative, endless, huge, of the wrong kind, nested, doubled, half a surrogate pair, words of other keys."""


def forged(key: str, value: str) -> bytes:
    """The honest model with one value of its contract changed."""
    return model(metadata={**CONTRACT, key: value})


# Metadata.


def _names_huge() -> bytes:
    return model(metadata=contract_with(classes="tench\n" * 50_000_000))


def _names_huge_ultralytics() -> bytes:
    return model(metadata={**YOLO, "names": "{" + "0: 'tench', " * 25_000_000 + "}"})


def _names_many() -> bytes:
    """Few bytes, and an object for each."""
    return model(metadata=contract_with(classes="\n" * 15_000_000))


def _note_huge() -> bytes:
    """A key that nobody reads."""
    return model(metadata={**CONTRACT, "note": b"x" * (300 << 20)})


def _producer_huge() -> bytes:
    return model(entries=[encode(2, b"x" * (300 << 20))])


def _entries_many() -> bytes:
    return model(entries=[encode(14, b"")] * 8_000_000)


def _literal_many() -> bytes:
    return model(metadata={**YOLO, "names": "[" + "1," * 7_000_000 + "]"})


def _literal_deep() -> bytes:
    return model(metadata={**YOLO, "names": "[" * 1_000_000})


def _literal_minus() -> bytes:
    return model(metadata={**YOLO, "stride": "-" * 1_000_000 + "1"})


def _literal_sparse() -> bytes:
    """A class with a number above all that exist."""
    return model(metadata={**YOLO, "names": "{0: 'a', 2000000000: 'b'}"})


def _tuple_many() -> bytes:
    return model(metadata=contract_with(preprocess__mean="0 " * 7_000_000))


def _words_many() -> bytes:
    return model(metadata=contract_with(output__names="a " * 7_000_000))


def _names_in_a_forged_key() -> bytes:
    """An error text that would hold all of the value."""
    return model(metadata=contract_with(preprocess__resize="x" * 15_000_000))


def _input_overflow() -> bytes:
    return model(
        inputs=[tensor_info("images", FLOAT, (1, 3, 2147483647, 2147483647))],
        metadata=contract_with(
            input__height="2147483647",
            input__width="2147483647",
            preprocess__resize="stretch",
            preprocess__resize_to="2147483647 2147483647",
            preprocess__crop="2147483647 2147483647",
        ),
    )


def _batch_huge() -> bytes:
    return model(
        inputs=[tensor_info("images", FLOAT, (2147483647, 3, 32, 32))],
        outputs=[tensor_info("logits", FLOAT, (2147483647, 3))],
        metadata=contract_with(input__batch="2147483647"),
    )


def _resize_to(resize: str, resampler: str, resize_to: str) -> Callable[[], bytes]:
    """The tensor stays small: a crop follows the resize."""
    return lambda: model(
        metadata=contract_with(
            preprocess__resize=resize, preprocess__resampler=resampler, preprocess__resize_to=resize_to
        )
    )


def _dynamic_huge() -> bytes:
    """The model's own size is one of those that its axes take, and 48 GB large."""
    return model(
        inputs=[tensor_info("images", FLOAT, ("n", 3, "height", "width"))],
        metadata=contract_with(
            input__height="65536",
            input__width="65536",
            input__dynamic__height="1 2147483647 1",
            input__dynamic__width="1 2147483647 1",
            preprocess__resize="stretch",
            preprocess__resize_to="65536 65536",
            preprocess__crop="65536 65536",
        ),
    )


CONTRACTS: dict[str, Callable[[], bytes]] = {
    "names_huge": _names_huge,
    "names_huge_ultralytics": _names_huge_ultralytics,
    "names_many": _names_many,
    "note_huge": _note_huge,
    "producer_huge": _producer_huge,
    "entries_many": _entries_many,
    "literal_many": _literal_many,
    "literal_deep": _literal_deep,
    "literal_minus": _literal_minus,
    "literal_sparse": _literal_sparse,
    "tuple_many": _tuple_many,
    "words_many": _words_many,
    "value_long": _names_in_a_forged_key,
    "input_overflow": _input_overflow,
    "batch_huge": _batch_huge,
    "dynamic_huge": _dynamic_huge,
    **{
        f"resize_to_{resize}_{resampler}": _resize_to(resize, resampler, resize_to)
        for resize, resize_to in (
            ("short", "2000000000"),
            ("long", "2000000000"),
            ("stretch", "2000000000 2000000000"),
            ("cover", "2000000000 2000000000"),
        )
        for resampler in ("pillow", "opencv")
    },
}
"""Attacks by name; each makes the bytes of its file."""
