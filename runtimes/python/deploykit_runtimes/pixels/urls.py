"""Which sources are URLs, and how a message names them."""

from __future__ import annotations

import re
from typing import TypeGuard

from deploykit_runtimes.text.printable import printable

__all__ = ["is_url", "shown_url"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(source: object) -> TypeGuard[str]:
    """Whether a source is text that begins as a URL does (``scheme://``), of whatever scheme."""
    return isinstance(source, str) and _SCHEME.match(source) is not None


def shown_url(url: str) -> str:
    """A URL for messages: without user, password, query and fragment, which may be secret.

    >>> shown_url("https://me:secret@example.org/cat.jpg?token=1")
    'https://example.org/cat.jpg'
    """
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    scheme, separator, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return printable(f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}", 200)
