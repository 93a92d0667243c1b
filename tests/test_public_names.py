"""The public names: those of the page are those of the code, and every module says which ones it has."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text()
PACKAGES = {
    "deploykit": ROOT,
    "deploykit_exporters": ROOT / "exporters",
    "deploykit_runtimes": ROOT / "runtimes/python",
}
MODULES = sorted(path for name, folder in PACKAGES.items() for path in (folder / name).rglob("*.py"))


def listed() -> dict[str, dict[str, str]]:
    """By module, each name of the page with what it says of it."""
    found: dict[str, dict[str, str]] = {}
    for section in PAGE.split("\n## ")[1:]:
        if heading := re.match(r"`([\w.]+)`\n", section):
            rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
            assert len(rows) == len(dict(rows)), f"{heading[1]} lists a name twice"
            found[heading[1]] = dict(rows)
    return found


@pytest.mark.parametrize("module", ["deploykit", "deploykit_runtimes"])
def test_a_package_that_is_imported_is_on_the_page(module: str) -> None:
    assert module in listed()


@pytest.mark.parametrize("module", listed())
def test_the_page_lists_what_a_module_has(module: str) -> None:
    found = import_module(module)
    assert set(listed()[module]) == set(found.__all__)
    assert set(found.__all__) <= set(dir(found))
    for name in listed()[module]:
        assert getattr(found, name) is not None


def imported(code: str) -> set[tuple[str, str]]:
    nodes = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom) and node.module)
    return {
        (node.module, each.name)
        for node in nodes
        for each in node.names
        if node.module.startswith("deploykit")
    }


def test_documents_use_no_other_names() -> None:
    """What a reader copies from a page or an example has to work in the next release too."""
    used: set[tuple[str, str]] = set()
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for block in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE):
            used |= imported(block)
    assert ("deploykit_runtimes", "open_runner") in used
    public = {(module, name) for module, names in listed().items() for name in names}
    assert used <= public


def fault(path: Path) -> str:
    """What a module's list of public names lacks; empty where it is well."""
    body = ast.parse(path.read_text()).body
    if len(body) == 1 and ast.get_docstring(ast.Module(body, [])):
        return ""  # it only says what its folder holds
    lists = [
        ast.literal_eval(node.value)
        for node in body
        if isinstance(node, ast.Assign) and [getattr(each, "id", "") for each in node.targets] == ["__all__"]
    ]
    if len(lists) != 1:
        return f"{len(lists)} times __all__"
    [names] = lists
    private = [name for name in names if name.startswith("_") and name != "__version__"]
    return f"{private} in __all__" if private else "" if len(names) == len(set(names)) else "a name twice"


def test_every_module_says_what_is_public() -> None:
    """By ``__all__``, or by a name of its own that begins with an underscore."""
    modules = [path for path in MODULES if path.name == "__init__.py" or not path.name.startswith("_")]
    assert len(modules) > 400
    assert {str(path.relative_to(ROOT)): told for path in modules if (told := fault(path))} == {}
