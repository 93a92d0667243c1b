"""``predict``: pictures and options as a file, a form, or base64 in JSON, and the answers for them."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.answers.results import Result
from deploykit_runtimes.runner import Placement
from PIL import Image
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from deploykit.protocol.documents import json_value
from deploykit.protocol.errors import BadRequestError, MediaTypeError, TooLargeError
from deploykit.protocol.responses import Response, json_response

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["PredictRequest", "drawn", "predict_response", "read_pictures"]

_OPTIONS = {"conf": float, "iou": float, "top_k": int, "max_det": int}
_NUMBER = re.compile(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?", re.ASCII)
"""A number as JSON writes it; Python reads more, such as ``1_0``."""

_MAX_FIELDS = 32
_LONGEST_VALUE = 256


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What a request asks about its pictures.

    Attributes:
        pictures: Bytes of image files.
        options: ``conf``, ``iou``, ``top_k``, ``max_det`` as far as they are given.
        as_image: Whether the answer is wanted drawn into the first picture.
        id: Echoed in an answer of JSON; None if the request has none.
    """

    pictures: list[bytes]
    options: dict[str, Any]
    as_image: bool = False
    id: str | None = None


def read_pictures(body: bytes, content_type: str, query: Mapping[str, str], limit: int) -> PredictRequest:
    """Read a request.

    Args:
        body, content_type: ``multipart/form-data``, ``application/json`` with ``{"images": ["<base64>"]}``,
            or ``image/*`` and ``application/octet-stream`` for a single file.
        query: Options, which a form may also contain.
        limit: The largest number of pictures.

    Raises:
        BadRequestError: it holds no picture, or is malformed.
        TooLargeError: it holds more than ``limit`` pictures.
        MediaTypeError: its content type is not supported.
    """
    kind, parameters = parse_options_header(content_type or "application/octet-stream")
    given = dict(query)
    if kind == b"multipart/form-data":
        form = _read_form(body, parameters.get(b"boundary", b""), limit)
        pictures = form.files
        given |= form.fields
    elif kind == b"application/json":
        pictures = _from_base64(body, given, limit)
    elif kind.startswith(b"image/") or kind in (b"application/octet-stream", b"binary/octet-stream"):
        pictures = [body] if body else []
    else:
        raise MediaTypeError(
            f"Wanted image/*, multipart/form-data or application/json, found {content_type[:64]!r}."
        )
    if not pictures or not all(pictures):
        raise BadRequestError("Wanted at least one picture, found none, or an empty one.")
    as_image = _format(given.pop("format", "json"))
    name = given.pop("id", None)
    return PredictRequest(pictures=pictures, options=_options(given), as_image=as_image, id=name)


def predict_response(
    request: PredictRequest,
    model: str,
    version: str,
    *,
    results: Sequence[Result],
    placement: Placement,
    timing_ms: Mapping[str, float] | None = None,
) -> Response:
    """The answer as JSON.

    Args:
        request: The request.
        model, version: The model that answers, and its version.
        results: One for each picture.
        placement: What ran where.
        timing_ms: By stage; None: they are left out.
    """
    timing = {stage: round(ms, 3) for stage, ms in timing_ms.items()} if timing_ms is not None else None
    return json_response(
        {
            **({} if request.id is None else {"id": request.id}),
            "model_name": model,
            "model_version": version,
            "results": [result.to_dict() for result in results],
            **({} if timing is None else {"timing_ms": timing}),
            "placement": placement.to_dict(),
        }
    )


def drawn(result: Result, picture: Any, accept: str) -> Response:
    """The picture with the answer drawn in.

    Args:
        result: What is drawn.
        picture: The decoded picture; see ``Result.plot``.
        accept: The header ``Accept``: PNG if it names that, otherwise JPEG.
    """
    file, kind = io.BytesIO(), "image/png" if "image/png" in accept else "image/jpeg"
    image = Image.fromarray(result.plot(picture))
    if kind == "image/png":
        image.save(file, "PNG", compress_level=3)
    else:
        image.save(file, "JPEG", quality=92)
    return Response(body=file.getvalue(), content_type=kind)


def _format(name: str) -> bool:
    if name not in ("json", "image"):
        raise BadRequestError(f"The format is json or image, found {name[:32]!r}.")
    return name == "image"


def _options(given: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in given.items():
        if name not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise BadRequestError(f"The known options are {known}, format and id, found {name[:32]!r}.")
        if not _NUMBER.fullmatch(text):
            raise BadRequestError(f"{name} wants a number, found {text[:32]!r}.")
        try:
            options[name] = _OPTIONS[name](text)
        except (ValueError, OverflowError) as error:
            raise BadRequestError(f"{name} wants a whole number, found {text[:32]!r}.") from error
    return options


def _from_base64(body: bytes, given: dict[str, str], limit: int) -> list[bytes]:
    document = json_value(body)
    texts = document.pop("images", None) if isinstance(document, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequestError('Wanted {"images": ["<base64>", ...]}.')
    if len(texts) > limit:
        raise _too_many(limit)
    given.update({name: _as_text(name, value) for name, value in document.items()})
    try:
        return [base64.b64decode(_without_scheme(text), validate=True) for text in texts]
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(f"A picture is not valid base64: {error}.") from error


def _as_text(name: str, value: object) -> str:
    """A member of a JSON object, as text in the form that a query has."""
    if name not in _OPTIONS:
        if isinstance(value, str):
            return value
        raise BadRequestError(f"{name[:32]!r} wants a string, found {str(value)[:32]!r}.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequestError(f"{name} wants a number, found {str(value)[:32]!r}.")
    return str(int(value) if float(value).is_integer() else value)


def _without_scheme(text: str) -> str:
    """The data of a ``data:image/png;base64,...`` URL."""
    return text.partition(",")[2] if text.startswith("data:") else text


def _too_many(limit: int) -> TooLargeError:
    return TooLargeError(f"A request holds at most {limit} pictures.")


@dataclass
class _Form:
    """The parts of a form, as its parser reports them."""

    limit: int
    files: list[bytes] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _data: bytearray = field(default_factory=bytearray)
    _ended: bool = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self.begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self.end_header,
            "on_part_data": lambda data, start, end: self._data.extend(memoryview(data)[start:end]),
            "on_part_end": self.end_part,
            "on_end": self.end,
        }

    def begin(self) -> None:
        self._headers, self._data = {}, bytearray()

    def end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def end_part(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" in disposition or self._headers.get(b"content-type", b"").startswith(b"image/"):
            if len(self.files) == self.limit:
                raise _too_many(self.limit)
            self.files.append(bytes(self._data))
            return
        if len(self.fields) == _MAX_FIELDS or len(self._data) > _LONGEST_VALUE:
            raise BadRequestError("The form has too many fields, or too long ones.")
        name = disposition.get(b"name", b"").decode("utf-8", "replace")
        self.fields[name] = bytes(self._data).decode("utf-8", "replace")

    def end(self) -> None:
        self._ended = True

    @property
    def is_whole(self) -> bool:
        return self._ended


def _read_form(body: bytes, boundary: bytes, limit: int) -> _Form:
    form = _Form(limit)
    if not boundary:
        raise BadRequestError("The form does not name its boundary.")
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise BadRequestError(f"The form is malformed: {error}.") from error
    if not form.is_whole:
        raise BadRequestError("The form ends too early.")
    return form
