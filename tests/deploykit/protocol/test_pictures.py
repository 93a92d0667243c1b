from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.protocol.errors import BadRequestError, MediaTypeError, RequestError, TooLargeError
from deploykit.protocol.pictures import read_pictures

FORM = "multipart/form-data; boundary=cut"


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b"".join(b"--cut\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return body + b"--cut--\r\n"


def file(data: bytes, name: str = "image") -> tuple[str, bytes]:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.jpg"\r\nContent-Type: image/jpeg'
    return head, data


def value(name: str, text: str) -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="{name}"', text.encode()


@pytest.mark.parametrize("kind", ["image/jpeg", "image/webp", "application/octet-stream", ""])
def test_a_body_that_is_a_file(kind: str) -> None:
    asked = read_pictures(b"abc", kind, {"conf": "0.5", "top_k": "3", "format": "image"}, 4)
    assert asked.pictures == [b"abc"]
    assert asked.options == {"conf": 0.5, "top_k": 3}
    assert asked.as_image


@given(
    st.lists(
        st.binary(min_size=1, max_size=300).filter(lambda data: b"--cut" not in data), min_size=1, max_size=4
    )
)
def test_the_files_of_a_form(contents: list[bytes]) -> None:
    body = form(value("iou", "0.25"), *(file(data) for data in contents), value("format", "json"))
    asked = read_pictures(body, FORM, {"max_det": "7"}, 4)
    assert asked.pictures == contents
    assert asked.options == {"iou": 0.25, "max_det": 7}
    assert not asked.as_image


def test_an_id_comes_with_any_form_of_request() -> None:
    body = json.dumps({"images": ["YWJj"], "id": "7"}).encode()
    for asked in (
        read_pictures(body, "application/json", {}, 1),
        read_pictures(form(value("id", "7"), file(b"abc")), FORM, {}, 1),
        read_pictures(b"abc", "image/png", {"id": "7"}, 1),
    ):
        assert asked.id == "7"
        assert asked.options == {}
    assert read_pictures(b"abc", "image/png", {}, 1).id is None


@pytest.mark.parametrize(
    "options",
    [{"conf": "0.5"}, {"conf": True}, {"top_k": None}, {"top_k": 1.5}, {"id": 7}, {"format": ["json"]}],
)
def test_options_in_json_are_of_their_type(options: dict[str, object]) -> None:
    with pytest.raises(BadRequestError, match=r"wants a|is json"):
        read_pictures(json.dumps({"images": ["YWJj"], **options}).encode(), "application/json", {}, 1)


@pytest.mark.parametrize("text", ["1_0", " 1", "nan", "inf", "\u0661", "1.", "--1", ""])
def test_numbers_are_written_as_in_json(text: str) -> None:
    with pytest.raises(BadRequestError, match="wants a"):
        read_pictures(b"abc", "image/png", {"top_k": text}, 1)


def test_a_whole_number_of_json_is_one_however_it_is_written() -> None:
    asked = read_pictures(b'{"images": ["YWJj"], "top_k": 2.0, "conf": 1}', "application/json", {}, 1)
    assert asked.options == {"top_k": 2, "conf": 1.0}


def test_base64_with_and_without_its_scheme() -> None:
    texts = [base64.b64encode(b"abc").decode(), "data:image/png;base64," + base64.b64encode(b"de").decode()]
    body = json.dumps({"images": texts, "conf": 0.1}).encode()
    asked = read_pictures(body, "application/json; charset=utf-8", {}, 2)
    assert asked.pictures == [b"abc", b"de"]
    assert asked.options == {"conf": 0.1}


@pytest.mark.parametrize(
    ("body", "kind", "query"),
    [
        (b"", "image/png", {}),
        (b"abc", "image/png", {"confidence": "1"}),
        (b"abc", "image/png", {"conf": "high"}),
        (b"abc", "image/png", {"top_k": "1.5"}),
        (b"abc", "image/png", {"format": "xml"}),
        (b"", FORM, {}),
        (form(), FORM, {}),
        (form(value("conf", "0.5")), FORM, {}),
        (form(file(b"")), FORM, {}),
        (form(file(b"abc"))[:-8], FORM, {}),
        (form(file(b"abc")), "multipart/form-data", {}),
        (form(file(b"abc")), "multipart/form-data; boundary=other", {}),
        (form(file(b"abc"), value("conf", "x" * 1000)), FORM, {}),
        (b"{", "application/json", {}),
        (b"[]", "application/json", {}),
        (b'{"images": "abc"}', "application/json", {}),
        (b'{"images": []}', "application/json", {}),
        (b'{"images": ["***"]}', "application/json", {}),
        (b'{"images": [1]}', "application/json", {}),
        (b'{"images": ["YWJj"], "conf": {}}', "application/json", {}),
    ],
)
def test_what_is_malformed(body: bytes, kind: str, query: dict[str, str]) -> None:
    with pytest.raises(BadRequestError):
        read_pictures(body, kind, query, 4)


def test_other_types_are_named() -> None:
    with pytest.raises(MediaTypeError, match="text/html"):
        read_pictures(b"abc", "text/html", {}, 4)


def test_too_many_pictures() -> None:
    with pytest.raises(TooLargeError, match="at most 2"):
        read_pictures(form(*[file(b"abc")] * 3), FORM, {}, 2)
    body = json.dumps({"images": ["YWJj"] * 3}).encode()
    with pytest.raises(TooLargeError, match="at most 2"):
        read_pictures(body, "application/json", {}, 2)


@given(
    st.binary(max_size=300), st.sampled_from([FORM, "application/json", "image/png", "multipart/form-data"])
)
def test_any_bytes_are_read_or_refused(body: bytes, kind: str) -> None:
    try:
        read_pictures(body, kind, {}, 2)
    except RequestError as refused:
        assert refused.status in (400, 413)
