"""Text of strangers, made printable: what a file, a request or an engine says commands no terminal.

A class name can hold the bytes that set a terminal's title, clear its screen or write the clipboard, signs
that turn the direction of writing round, and line ends that forge a line of ours. ``printable`` is the one
rule for all of them. runtimes/cpp/src/text/printable.cpp and deploykit/serve/page/printable.js are the same
in C++ and JavaScript; tests/golden/printable.txt holds the three together.
"""

from __future__ import annotations

import re

__all__ = ["one_line", "printable", "printable_json", "printable_lines"]

LONGEST = 4000
"""Characters of a line. A path has up to 4,096 bytes and mostly a tenth of that."""

# Control characters, what is never seen (soft hyphen, fillers, zero-width space, tags), what turns the
# direction of writing, line and paragraph separators, lone surrogates, private use and noncharacters.
_HIDDEN = (
    "\\x00-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b\\u200e\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ud800-\\uf8ff\\ufdd0-\\ufdef\\ufeff\\uffa0\\ufff0-\\ufffb"
    "\\ufffe\\uffff\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a"
    + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(1, 14))
    + "\\U000e0000-\\U000e00ff\\U000e01f0-\\U0010ffff"
)
# Invisible too, but at home between letters that are not ASCII: joiners (emoji, Persian, Hindi), and what
# selects the form of the sign before (emoji, ideographs, Mongolian).
_JOINER = "\\u200c\\u200d"
_SELECTOR = "\\u180b-\\u180d\\u180f\\ufe00-\\ufe0f\\U000e0100-\\U000e01ef"

_SUSPECT = re.compile(f"[{_HIDDEN}{_JOINER}{_SELECTOR}]")
# Flags of parts of countries, digits on keys, and signs that are joined stay as they are.
_FLAG = "\\U0001f3f4[\\U000e0030-\\U000e0039\\U000e0061-\\U000e007a]{3,6}\\U000e007f"
_KEY = "[0-9#*]\\ufe0f\\u20e3"
_SEEN = f"(?:{_FLAG}|[^\\x00-\\x7f{_HIDDEN}{_JOINER}{_SELECTOR}])+[{_SELECTOR}]?"
_TOKEN = re.compile(f"(?P<kept>{_KEY}|{_SEEN}(?:[{_JOINER}]{_SEEN})*)|[{_HIDDEN}{_JOINER}{_SELECTOR}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, most: int = LONGEST) -> str:
    """The text in one line that a terminal, a log or a page shows as it is.

    Control characters and what is hidden are escaped as Python does it (``\\x1b``, ``\\u202e``); honest text
    of any language stays. A text longer than ``most`` loses its middle and tells its length. What is
    printable already comes back unchanged.

    >>> printable("cat\\x1b]0;owned\\x07")
    'cat\\\\x1b]0;owned\\\\x07'
    """
    if len(text) <= most:
        shown = _escaped(text)
        if len(shown) <= most:
            return shown
        head = tail = shown
    else:
        head, tail = _escaped(text[:most]), _escaped(text[-most:])
    told = f" ... ({len(text):,} characters) ... "
    room = max(most - len(told), 0)
    last = room // 4
    return _without_end(head[: room - last]) + told + _without_start(tail[len(tail) - last :])


def printable_lines(text: str) -> str:
    """A text whose line ends are ours, such as a traceback: each of its lines printable."""
    return "\n".join(map(printable, text.split("\n")))


def one_line(error: BaseException) -> str:
    """What an error of a library says, whose line ends are layout, in one line."""
    return " ".join(str(error).split())


def printable_json(document: str) -> str:
    """A JSON document that says the same, and whose text is printable but for the white space of its layout.

    It is valid UTF-8 whatever its strings hold.
    """
    if not _suspicious(document):
        return document
    return _TOKEN.sub(lambda found: found[0] if found["kept"] else _json_escape(found[0]), document)


def _escaped(text: str) -> str:
    if not _suspicious(text):
        return text
    return _TOKEN.sub(lambda found: found[0] if found["kept"] else _escape(found[0]), text)


def _suspicious(text: str) -> bool:
    return not (text.isascii() and text.isprintable()) and _SUSPECT.search(text) is not None


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    code = ord(character)
    if code < 0x20:  # between values; inside of strings JSON has escaped them
        return character
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _without_end(text: str) -> str:
    """Without what a cut leaves of a sequence at the end."""
    while text and _SUSPECT.match(text[-1]):
        text = text[:-1]
    return text


def _without_start(text: str) -> str:
    while text and _SUSPECT.match(text[0]):
        text = text[1:]
    return text
