"""How pictures are named, and what a copy of one is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.prediction.answering import Picture, pictures_of


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/deep/cat.png?size=2#here", "cat.png"),
        ("https://me:secret@example.org/cat%20one.jpg", "cat_one.jpg"),
        ("https://example.org", "picture"),
        ("https://example.org/", "picture"),
        ("https://example.org/a%2F..%2F..%2Fetc%2Fpasswd", "a_.._.._etc_pa"),
        ("https://example.org/..", "picture"),
        ("https://example.org/.hidden.jpg", "hidden.jpg"),
    ],
)
def test_the_file_name_of_a_url(url: str, name: str) -> None:
    assert str(Picture(url).file_name) == name


@given(st.text(max_size=300))
def test_no_url_leads_out_of_a_folder(text: str) -> None:
    name = str(Picture(f"http://host/{text}").file_name)
    assert name
    assert "/" not in name
    assert not name.startswith(".")
    assert "\0" not in name
    assert len(name.encode()) < 256 - len("-12345.jpg")


def test_each_picture_once_in_the_order_given(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "b.jpg").write_bytes(b"2")
    url = "http://host/x.jpg"
    found = pictures_of([url, str(tmp_path / "b.jpg"), str(tmp_path), url])
    assert [one.place for one in found] == [url, tmp_path / "b.jpg", tmp_path / "a.jpg"]
