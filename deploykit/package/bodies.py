"""Bodies of HTTP requests in a Ray replica: read up to a limit, and taken apart into images."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import InputError, OptionError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["MAX_BODY", "MAX_IMAGES", "MAX_PIXELS", "predict_options", "read_body", "read_images"]

MAX_BODY = 64 << 20
MAX_IMAGES = 64
MAX_PIXELS = 50_000_000
"""Of one image, as `deploykit serve` has it."""

_OPTIONS = {"conf": float, "iou": float, "top_k": int, "max_det": int}


async def read_body(request: Request) -> bytes:
    """The body, refused as soon as it is larger than ``MAX_BODY``.

    Raises:
        InputError: it is.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise InputError(f"The body is larger than the limit of {MAX_BODY} bytes.")
        parts.append(part)
    return b"".join(parts)


async def read_images(request: Request) -> list[bytes]:
    """Image files: the body itself, the files of a multipart form, or base64 in ``{"images": [...]}``.

    Raises:
        InputError: there is none, or too many, or the body is malformed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        images = await _files(request)
    elif kind == "application/json":
        images = _base64(await read_body(request))
    else:
        images = [await read_body(request)]
    if not images or not all(images) or len(images) > MAX_IMAGES:
        raise InputError(f"Wanted 1 to {MAX_IMAGES} images, found {len(images)}, or an empty one.")
    return images


def predict_options(query: Mapping[str, str]) -> dict[str, Any]:
    """``conf``, ``iou``, ``top_k`` and ``max_det`` of a query.

    Raises:
        OptionError: there is another one, or it is no number.
    """
    options: dict[str, Any] = {}
    for name, text in query.items():
        if name not in _OPTIONS:
            raise OptionError(f"The options are {', '.join(_OPTIONS)}, found {name[:32]!r}.")
        try:
            options[name] = _OPTIONS[name](text)
        except ValueError as error:
            raise OptionError(f"{name} wants a number, found {text[:32]!r}.") from error
    return options


async def _files(request: Request) -> list[bytes]:
    from starlette.exceptions import HTTPException

    declared = request.headers.get("content-length", "")
    if not declared.isdecimal() or int(declared) > MAX_BODY:
        raise InputError(f"A form wants a Content-Length up to {MAX_BODY}, found {declared[:32]!r}.")
    try:
        async with request.form(max_files=MAX_IMAGES, max_fields=MAX_IMAGES) as form:
            return [await value.read() for _, value in form.multi_items() if not isinstance(value, str)]
    except HTTPException as error:
        raise InputError(f"The form cannot be read: {error.detail}.") from error


def _base64(body: bytes) -> list[bytes]:
    try:
        document = json.loads(body)
        texts = document["images"] if isinstance(document, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError('Wanted {"images": ["<base64>", ...]}.')
        return [base64.b64decode(_without_scheme(text), validate=True) for text in texts]
    except (ValueError, KeyError, RecursionError, binascii.Error) as error:
        raise InputError('Wanted {"images": ["<base64>", ...]}, found something else.') from error


def _without_scheme(text: str) -> str:
    """The data of a ``data:image/png;base64,...`` URL."""
    return text.partition(",")[2] if text.startswith("data:") else text
