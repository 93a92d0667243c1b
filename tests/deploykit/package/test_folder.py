"""Folders that appear whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import sha256_of

from deploykit.package import package
from deploykit.package.folder import MARKER, new_folder
from deploykit.package.models import read_models

Classifier = Callable[..., Path]


def test_the_marker_says_what_is_inside(classifier: Classifier, tmp_path: Path) -> None:
    model = classifier()
    package("docker", model, tmp_path / "deep" / "out")
    marker = json.loads((tmp_path / "deep" / "out" / MARKER).read_text())
    assert marker["kind"] == "docker"
    assert marker["models"] == [{"name": "mean", "file": "mean.onnx", "sha256": sha256_of(model)}]


def test_only_packages_are_replaced(classifier: Classifier, tmp_path: Path) -> None:
    model, out = classifier(), tmp_path / "out"
    out.mkdir()
    package("triton", model, out)  # an empty folder is free
    with pytest.raises(OptionError, match="exists") as refused:
        package("docker", model, out)
    assert "--force" in refused.value.hint
    package("docker", model, out, force=True)
    assert not (out / "mean").exists()
    assert (out / "Dockerfile").is_file()
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").touch()
    with pytest.raises(OptionError, match="not written by deploykit package"):
        package("triton", model, photos, force=True)
    with pytest.raises(OptionError, match="is not a folder"):
        package("triton", model, model, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mean.onnx", "out", "photos"]


def test_a_package_is_not_replaced_by_what_it_holds(classifier: Classifier, tmp_path: Path) -> None:
    out = tmp_path / "out"
    package("docker", classifier(), out)
    with pytest.raises(OptionError, match="would be replaced"):
        package("triton", out / "models" / "mean.onnx", out, force=True)
    assert (out / "Dockerfile").is_file()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, OptionError("no")])
def test_a_failure_leaves_everything_as_it_was(
    failure: BaseException, classifier: Classifier, tmp_path: Path
) -> None:
    models = read_models(classifier())
    package("docker", models[0].path, tmp_path / "old")
    before = sorted(tmp_path.rglob("*"))
    for output in (tmp_path / "old", tmp_path / "new" / "deeper"):
        with (
            pytest.raises((KeyboardInterrupt, OSError, OptionError)),
            new_folder(output, kind="docker", models=models, force=True) as folder,
        ):
            (folder / "half").write_text("half")
            raise failure
        assert sorted(tmp_path.rglob("*")) == before


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="triton"):
        package("tritn", "x.onnx", tmp_path / "out")
