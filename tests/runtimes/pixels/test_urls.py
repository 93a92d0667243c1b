"""Which sources are URLs, and that messages keep their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_runtimes.pixels.urls import is_url, shown_url
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("source", ["http://a/b.jpg", "HTTPS://a", "file:///etc/passwd", "s3://bucket/a.jpg"])
def test_text_with_a_scheme_is_a_url(source: str) -> None:
    assert is_url(source)


@pytest.mark.parametrize(
    "source", ["cat.jpg", "C:/cat.jpg", "a/b://c", "http:/a", "://x", "", Path("http://a"), b"http://a", None]
)
def test_other_sources_are_not(source: object) -> None:
    assert not is_url(source)


def test_a_message_names_no_secret() -> None:
    shown = shown_url("https://me:pass@word@example.org:8443/a/cat.jpg?token=secret#part")
    assert shown == "https://example.org:8443/a/cat.jpg"


@given(st.text(), st.text(alphabet=st.characters(exclude_characters="/?#@"), min_size=1), st.text())
def test_no_url_shows_its_password_or_query(user: str, password: str, query: str) -> None:
    marked = f"MARK{password}MARK"
    shown = shown_url(
        f"http://{user.translate(str.maketrans('', '', '/?#'))}:{marked}@host/p?{marked}{query}"
    )
    assert "MARK" not in shown
    assert shown.isprintable()
