"""Writes printable.txt: what becomes of texts of strangers, for the tests of Python, C++ and JavaScript.

    python tests/golden/make_printable.py

Blocks of ``bytes`` (hexadecimal; UTF-8, or what was meant to be), ``most`` characters, and what
``printable``, JSON and ``repr`` make of it.
"""

from __future__ import annotations

import json
from pathlib import Path

from deploykit_runtimes.text.printable import LONGEST, printable, printable_json

FILE = Path(__file__).with_name("printable.txt")

ATTACKS = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "\x1b]52;c;cm0gLXJmIC8=\x1b\\",
    "\x9b31m\x90q\x9d0;owned\x9c",
    "cat\nerror: forged\r100% sure\tok\x0b\x0c\x08\x7f\x00",
    "user\u202e\u2066// if admin\u2069\u2066",
    "\u202a\u202b\u202c\u202d\u2067\u2068\u061c\u200e\u200f",
    "ad\u200bmin\u2060\ufeff\u00ad\u034f\u180e\u115f\u1160\u3164\uffa0\u17b4",
    "line\u2028forged\u2029\x85",
    "a\u200db a\u200c\u200db \u200d\u4e2d\u200d \u4e2d\u200d\u200d\u4e2d",
    "a\ufe0f\u200d\u4e2d \u4e2d\ufe0f\ufe0f \u4e2d\ufe0f\u200da x\U000e0100",
    "\U0001f3f4\U000e0061\U000e0062 \U000e0068\U000e0069\U000e007f \U0001f3f4"
    + "\U000e0061" * 7
    + "\U000e007f",
    "\ue000\uf8ff\ufdd0\ufffe\uffff\U0001fffe\U0010ffff\U000f0000\U0001d173\U0001bca0\ufff9",
    "1\ufe0f 12\ufe0f\u20e3\ufe0f",
)
HONEST = (
    "",
    "tabby cat",
    "C:\\new\\table 'it\\'s' \"ok\" <b>&amp;",
    "\u864e\u6591\u732b \u732b\uff08\u30c8\u30e9\uff09\u3000\u30cd\u30b3",
    "\u0642\u0637\u0629 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u05d7\u05ea\u05d5\u05dc",
    "\u0915\u094d\u200d\u0937 \u0e41\u0e21\u0e27 cafe\u0301 co\u0327te\u0301 \u1820\u180b\u1821",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f\u200d\U0001f525 \U0001f44d\U0001f3fd",
    "1\ufe0f\u20e3 #\ufe0f\u20e3*\ufe0f\u20e3",
    "\u4e2d\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f\u845b\U000e0100",
    "\U0001f1e9\U0001f1ea",
    "50\u00a0%\u2009\u2014 na\u00efve \u20ac \ufffd \ufffc \u0600\u0661",
)
BROKEN = (
    b"\xff\xfe\x80",
    b"a\xe2\x82b\xe2\x82",
    b"\xc0\x80\xc1\xbf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80\xf5",
    b"\xf0\x80\x80\x80",
)
LONG = (
    ("-" * 1_000_000, LONGEST),
    ("ab\x1b" * 100, 200),
    ("\x1b" * 150, 200),
    ("\u732b" * 1234, 60),
    ("\U0001f468\u200d" * 300, 60),
    ("1\ufe0f\u20e3" * 300, 61),
    ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f" * 300, 70),
    ("x" * 100, 10),
)


def blocks() -> list[dict[str, str]]:
    """One for each text."""
    every = [(text.encode(), LONGEST) for text in (*ATTACKS, *HONEST)]
    every += [(data, LONGEST) for data in BROKEN]
    every += [(text.encode(), most) for text, most in LONG]
    return [_block(data, most) for data, most in every]


def _block(data: bytes, most: int) -> dict[str, str]:
    text = data.decode("utf-8", "surrogateescape")
    block = {
        "bytes": data.hex() if len(data) < 10_000 else f"{data[:1].hex()}*{len(data)}",
        "most": str(most),
    }
    block["printable"] = printable(text, most)
    if len(data) < 10_000:
        block["json"] = printable_json(json.dumps(text, ensure_ascii=False))
        block["repr"] = printable(repr(text))
    return block


def main() -> None:
    """Write the file."""
    lines = ["\n".join(f"{key}\t{value}" for key, value in block.items()) for block in blocks()]
    FILE.write_text("\n\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
