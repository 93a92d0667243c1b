"""An empty cache for what interrupted runs leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What an interrupted run leaves goes here."""
    folder = tmp_path_factory.mktemp("cache", numbered=True)
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(folder))
    os.chmod(folder, 0o700)
    yield folder
