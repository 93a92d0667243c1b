"""Every setting that a dialect compares with what it builds is listed in docs/reading.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[3]
FAMILIES = ROOT / "exporters" / "deploykit_exporters" / "families"
DOCUMENT = (ROOT / "docs" / "reading.md").read_text()


def compared(tree: ast.AST) -> Iterator[str]:
    """Names that a file gives to ``expect``: in the call itself, or in what a loop around it goes through."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            tables = {
                target.id: statement.value
                for statement in ast.walk(node)
                if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None
                for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
                if isinstance(target, ast.Name)
            }
            for loop in ast.walk(node):
                if isinstance(loop, ast.For) and any(map(_is_expect, ast.walk(loop))):
                    yield from _names(_table(loop.iter, tables))
        if isinstance(node, ast.Call) and _is_expect(node) and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def _is_expect(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "expect"
        and bool(node.args)
    )


def _table(node: ast.expr, tables: dict[str, ast.expr]) -> ast.expr:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "items":
        node = node.func.value
    return tables.get(node.id, node) if isinstance(node, ast.Name) else node


def _names(table: ast.expr) -> Iterator[str]:
    entries: list[ast.expr | None] = []
    if isinstance(table, ast.Dict):
        entries = list(table.keys)
    elif isinstance(table, ast.Tuple | ast.List):
        entries = [entry.elts[0] if isinstance(entry, ast.Tuple) else entry for entry in table.elts]
    for entry in entries:
        if isinstance(entry, ast.Constant) and isinstance(entry.value, str):
            yield entry.value


def test_every_compared_setting_is_documented() -> None:
    listed = set(re.findall(r"[\w*]+", DOCUMENT))
    patterns = [word for word in listed if "*" in word.strip("*")]
    found: dict[str, set[str]] = {}
    for path in sorted(FAMILIES.rglob("*.py")):
        for name in compared(ast.parse(path.read_text())):
            found.setdefault(name, set()).add(path.name)
    assert len(found) > 50
    missing = {
        name: files
        for name, files in found.items()
        if name not in listed and not any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    assert missing == {}


def test_refused_poolings_and_gates_are_documented() -> None:
    """What ``confirm`` finds in timm's EfficientNet and deploykit does not build."""
    source = (FAMILIES / "efficientnet" / "timm_named.py").read_text()
    for found in re.findall(r'found\.append\(f"(\w+) is', source):
        assert f"`{found}`" in DOCUMENT
    assert '("gate", ' in source
    assert "gate_layer" in DOCUMENT
