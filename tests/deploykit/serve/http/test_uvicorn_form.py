"""What the server takes for granted of uvicorn, and that a uvicorn without it is refused."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from deploykit_runtimes.errors import DependencyError
from packaging.requirements import Requirement
from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deploykit import serve
from deploykit.serve.http import protocol, uvicorn_form
from deploykit.serve.http.uvicorn_form import REQUIREMENT, check_uvicorn

ROOT = Path(__file__).parents[4]


def test_the_installed_one_is_allowed_and_has_the_form() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert REQUIREMENT in extras["serve"]
    assert version("uvicorn") in Requirement(REQUIREMENT).specifier
    check_uvicorn()


def test_all_that_is_used_is_looked_for() -> None:
    """Each name that the protocol takes from itself is its own, or one that the check knows."""
    [http] = [
        node
        for node in ast.parse(Path(protocol.__file__).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "_Http"
    ]
    of_self = [
        (node.attr, isinstance(node.ctx, ast.Store))
        for node in ast.walk(http)
        if isinstance(node, ast.Attribute) and (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    of_super = {
        node.attr
        for node in ast.walk(http)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call)
        if isinstance(node.value.func, ast.Name) and node.value.func.id == "super"
    }
    methods = {node.name for node in http.body if isinstance(node, ast.FunctionDef)}
    made = {name for name, is_set in of_self if is_set} - {"parser"}
    used = {name for name, _ in of_self} - made - methods | of_super - {"__init__"}
    assert used <= {*uvicorn_form._METHODS, *uvicorn_form._ATTRIBUTES}
    assert {"parser", "send_400_response", "on_body"} <= used


@pytest.mark.parametrize(
    ("owner", "name"), [(HttpToolsProtocol, "send_400_response"), (Server, "capture_signals")]
)
def test_one_without_a_method_is_refused(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(DependencyError, match=f"has no {owner.__name__}.{name}") as caught:
        serve.serve(tmp_path / "model.onnx")
    assert f"pip install '{REQUIREMENT}'" in caught.value.hint


def of_two_arguments(self: object, config: object, server_state: object) -> None: ...


def of_other_attributes(self: Any, config: object, server_state: object, app_state: object) -> None:
    self.loop = self.parser = None


@pytest.mark.parametrize(
    ("constructor", "missing"),
    [
        (of_two_arguments, "argument app_state of"),
        (of_other_attributes, r"HttpToolsProtocol\.expect_100_continue"),
    ],
)
def test_one_with_another_constructor_is_refused(
    constructor: Callable[..., None], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpToolsProtocol, "__init__", constructor)
    with pytest.raises(DependencyError, match=missing):
        check_uvicorn()


def test_one_without_the_class_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("uvicorn.protocols.http.httptools_impl.HttpToolsProtocol")
    with pytest.raises(DependencyError, match="HttpToolsProtocol"):
        check_uvicorn()
