"""The files that options name: class names and training configurations."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_exporters.option_values import read_config
from deploykit_exporters.options import ExportOptions, hints_of
from deploykit_runtimes.errors import OptionError


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_file_or_the_names_themselves(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "cat\ndog")
    for labels in (path, str(path), ["cat", "dog"], ("cat", "dog")):
        assert hints_of(ExportOptions(labels=labels)).labels == ("cat", "dog")


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.yaml", "a: [1"), ("a.json", "[1, 2]")])
def test_configurations_that_cannot_be_read(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--config"):
        read_config(written(tmp_path, name, text))
    with pytest.raises(OptionError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
