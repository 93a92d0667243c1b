"""Values of options in their one form: what a user may reasonably write is taken, the rest refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, SupportsFloat, TypeVar, cast

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.text.described import described

__all__ = [
    "MAX_SIDE",
    "as_count",
    "as_counts",
    "as_flag",
    "as_names",
    "as_number",
    "as_path",
    "as_share",
    "as_size",
    "as_text",
    "as_texts",
    "as_words",
    "known_keywords",
    "refuse_unknown",
    "suggestion",
]

_F = TypeVar("_F", bound=Callable[..., Any])

_OTHER_WORDS = {
    **dict.fromkeys(("confidence", "score", "threshold", "score_threshold", "conf_thres"), "conf"),
    **dict.fromkeys(("nms", "iou_threshold", "iou_thres", "nms_threshold"), "iou"),
    **dict.fromkeys(("size", "image_size", "img_size", "input_size", "resolution", "shape"), "imgsz"),
    **dict.fromkeys(("device", "provider", "providers", "engine", "backend"), "runtime"),
    **dict.fromkeys(("names", "classes", "class_names", "classnames"), "labels"),
    **dict.fromkeys(("k", "topk"), "top_k"),
    **dict.fromkeys(("num_threads", "workers"), "threads"),
    **dict.fromkeys(("out", "path", "file", "output_path", "to"), "output"),
}
"""What other libraries call our options."""

MAX_SIDE = 1 << 14
"""Longest side of an image that an option may ask for, in pixels."""


def as_size(value: object, name: str = "imgsz") -> tuple[int, int] | None:
    """(height, width) from ``224``, ``(224, 256)``, ``"224"``, ``"224,256"`` or ``"224x256"``.

    Raises:
        OptionError: it is not one or two whole numbers of pixels from 1 to ``MAX_SIDE``.
    """
    if value is None:
        return None
    sides: list[object]
    if isinstance(value, str):
        sides = _whole_numbers(value.lower().replace("x", ","))
    else:
        sides = list(value) if isinstance(value, Iterable) else [value]
    numbers = [side for side in map(_whole, sides) if side is not None and 1 <= side <= MAX_SIDE]
    if len(numbers) != len(sides) or len(numbers) not in (1, 2):
        raise OptionError(
            f"{name} wants H or H,W, whole numbers of pixels from 1 to {MAX_SIDE} (height, width), "
            f"found {described(value)}."
        )
    return numbers[0], numbers[-1]


def as_path(value: object, name: str) -> Path | None:
    """A path from a path or text, ``~`` expanded where it names a user.

    Raises:
        OptionError: it is neither, or empty.
    """
    if value is None:
        return None
    if isinstance(value, Path) or (isinstance(value, str) and value):
        try:
            return Path(value).expanduser()
        except RuntimeError:  # no such user: a file may be called so
            return Path(value)
    raise OptionError(f"{name} wants a path, found {described(value)}.")


def as_words(value: object, name: str) -> tuple[str, ...]:
    """Words from ``"a,b"``, ``"a"`` or any sequence of texts; nothing from None.

    Raises:
        OptionError: it is something else.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(","))
    words = list(value) if isinstance(value, Iterable) and not isinstance(value, Mapping) else [value]
    texts = tuple(word.strip() for word in words if isinstance(word, str))
    if len(texts) != len(words):
        raise OptionError(
            f"{name} wants words, found {described(value)}.", hint="Join them by commas, or give a list."
        )
    return texts


def as_names(value: object, name: str) -> tuple[str, ...]:
    """Words as ``as_words`` takes them, also where several of a sequence are joined by commas."""
    return tuple(one.strip() for text in as_words(value, name) for one in text.split(",") if one.strip())


def as_texts(value: object, name: str) -> tuple[str, ...]:
    """Texts from one or any sequence of them, whose commas are part of them; nothing from None.

    Raises:
        OptionError: it is something else.
    """
    return (value,) if isinstance(value, str) else as_words(value, name)


def as_text(value: object, name: str) -> str:
    """A text, also that of a path.

    Raises:
        OptionError: it is something else.
    """
    if isinstance(value, str | Path):
        return str(value)
    raise OptionError(f"{name} wants a text, found {described(value)}.")


def as_counts(value: object, name: str) -> tuple[int, ...]:
    """Whole numbers of at least 1, from one, any sequence of them, or ``"1,8"``; nothing from None.

    Raises:
        OptionError: it is something else.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        numbers = _whole_numbers(value)
        if not all(numbers):
            raise OptionError(f"{name} wants positive numbers joined by commas, found {described(value)}.")
        return tuple(as_count(each, name) for each in numbers)
    several = value if isinstance(value, Iterable) and not isinstance(value, Mapping) else [value]
    return tuple(as_count(each, name) for each in several)


def as_count(value: object, name: str, *, least: int | None = 1) -> int:
    """A whole number of at least ``least``; of any size where that is None.

    Raises:
        OptionError: it is something else.
    """
    number = _whole(value)
    if number is None or (least is not None and number < least):
        wanted = "a whole number" + ("" if least is None else f" of at least {least}")
        raise OptionError(f"{name} wants {wanted}, found {described(value)}.")
    return number


def as_number(value: object, name: str) -> float:
    """A number that is not a text.

    Raises:
        OptionError: it is something else, or not finite.
    """
    if isinstance(value, SupportsFloat) and not isinstance(value, bool) and math.isfinite(float(value)):
        return float(value)
    raise OptionError(f"{name} wants a number, found {described(value)}.")


def as_share(value: object, name: str) -> float:
    """A share: 0.01, "0.01" or "1%".

    Raises:
        OptionError: it is anything else.
    """
    text = value.strip() if isinstance(value, str) else None
    if text is None:
        return as_number(value, name)
    percent = text.endswith("%")
    try:
        number = as_number(float(text.removesuffix("%")), name)
    except ValueError:
        raise OptionError(f"{name} wants a share such as 0.01 or 1%, found {described(value)}.") from None
    return number / 100 if percent else number


def as_flag(value: object, name: str) -> bool:
    """True or False; a text such as ``"no"`` would count as true elsewhere.

    Raises:
        OptionError: it is something else.
    """
    if isinstance(value, bool):
        return value
    raise OptionError(f"{name} wants True or False, found {described(value)}.")


def suggestion(word: str, known: Sequence[str]) -> str:
    """``Did you mean ...?`` for a word that is not one of the known ones; empty when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def refuse_unknown(
    given: Iterable[str], known: Sequence[str], *, where: str, elsewhere: Mapping[str, str] | None = None
) -> None:
    """Refuse keywords that a public function does not have.

    Args:
        given: Their names.
        known: Those that it has.
        where: The function, as users write it.
        elsewhere: What to do instead, for names that other libraries have there.

    Raises:
        OptionError: with the nearest that there is, or all.
    """
    for name in given:
        if name not in known:
            meant = _OTHER_WORDS.get(name.lower(), "")
            near = f"Did you mean {meant}?" if meant in known else suggestion(name, known)
            hint = (elsewhere or {}).get(name) or near or f"Its options are {', '.join(known)}."
            raise OptionError(f"{where} has no option {name!r}.", hint=hint)


def known_keywords(where: str) -> Callable[[_F], _F]:
    """A function, or a dataclass's ``__init__``, that answers unknown keywords with the nearest known one.

    Args:
        where: Its name, as users write it.
    """

    def decorate(function: _F) -> _F:
        code = function.__code__
        taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        known = [name for name in taken if name != "self"]

        @wraps(function)
        def checked(*args: Any, **keywords: Any) -> Any:
            refuse_unknown(keywords, known, where=where)
            return function(*args, **keywords)

        return cast(_F, checked)

    return decorate


def _whole(value: object) -> int | None:
    """A whole number, numpy's included; True counts nothing."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    return int(value.__index__())


def _whole_numbers(text: str) -> list[object]:
    parts = text.split(",")
    return [int(part) if part.isascii() and part.isdecimal() and len(part) < 10 else None for part in parts]
