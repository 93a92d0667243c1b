from __future__ import annotations

from pathlib import Path

import pytest
from deploykit_runtimes.errors import ModelError, OptionError

import deploykit
from deploykit.model_names import named_models
from deploykit.package.models import read_models


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with models in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.onnx", "b c.onnx", "lr=0.1/best.onnx", "x=y.onnx"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("models", "named"),
    [
        ("a.onnx", {"a": "a.onnx"}),
        (Path("a.onnx"), {"a": "a.onnx"}),
        (["a.onnx", "other=b c.onnx"], {"a": "a.onnx", "other": "b c.onnx"}),
        (("lr=0.1/best.onnx",), {"best": "lr=0.1/best.onnx"}),
        (["lr=0.1"], {"best": "lr=0.1"}),
        ([Path("lr=0.1/best.onnx")], {"best": "lr=0.1/best.onnx"}),
        (["good=x=y.onnx"], {"good": "x=y.onnx"}),
        (["good=lr=0.1/best.onnx"], {"good": "lr=0.1/best.onnx"}),
    ],
)
def test_names(models: object, named: dict[str, str]) -> None:
    assert named_models(models) == {name: Path(path) for name, path in named.items()}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("models", "problem"),
    [
        ([], "at least one"),
        (["b c.onnx"], "found 'b c'"),
        (["x=y.onnx"], "found 'x=y'"),
        (["a.onnx", "a=b c.onnx"], "2 models are named 'a'"),
        (["../x=a.onnx"], "found '../x'"),
        (["=a.onnx"], "name is missing"),
        (5, "found 5"),
        (None, "found None"),
        ([None], "found None"),
        (b"a.onnx", "found b'a.onnx'"),
        (["a.onnx", 3.0], "found 3.0"),
    ],
)
def test_what_is_no_model_or_name(models: object, problem: str) -> None:
    for read in (named_models, read_models, deploykit.serve.running):
        with pytest.raises(OptionError, match=problem):
            read(models)


def test_a_hint_that_works(folder: Path) -> None:
    with pytest.raises(OptionError) as caught:
        named_models(["x=y.onnx"])
    hint = caught.value.hint.rpartition(" ")[2]
    assert named_models([hint]) == {"x_y": Path("x=y.onnx")}
    assert named_models([folder / "a.onnx"]) == {"a": folder / "a.onnx"}


@pytest.mark.parametrize("model", ["none.onnx", "name=none.onnx", "runs/lr=0.1/none.onnx"])
def test_files_that_are_missing(model: str) -> None:
    path = model.removeprefix("name=")
    with pytest.raises(ModelError, match=f"{path} does not exist"):
        named_models(model)
