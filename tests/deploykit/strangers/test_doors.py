"""Nothing is printed but through the modules that make it printable."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("deploykit", "exporters/deploykit_exporters", "runtimes/python/deploykit_runtimes")
DOORS = {"deploykit/terminal.py"}
ALLOWED = {
    "deploykit/__main__.py": "a constant text",
    "deploykit/process/interruption.py": "a constant text, where nothing else can run any more",
    "deploykit/process/supervision.py": "constant texts, and one error made printable",
    "deploykit/checkup/probe.py": "JSON for the process that started it",
    "exporters/deploykit_exporters/families/registry.py": "JSON for the doctor, which started it",
}
PRINTERS = {
    "echo",
    "secho",
    "style",
    "print_exc",
    "print_exception",
    "print_stack",
    "print_last",
    "pprint",
    "showwarning",
}
"""Of click, traceback and pprint; ``write`` counts on the standard streams alone."""


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def prints_in(text: str) -> list[tuple[int, str]]:
    """The lines that print, and how."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        module, _, name = called.rpartition(".")
        stream = module.startswith(("sys.std", "sys.__std"))
        if (
            called == "print"
            or (name in PRINTERS and module in ("click", "traceback", "pprint", "warnings"))
            or (stream and name in ("write", "writelines"))
            or called == "os.write"
        ):
            found.append((node.lineno, called))
    return found


@pytest.mark.parametrize(
    "text", ["print(1)", "click.echo('a')", "sys.stderr.write(x)", "traceback.print_exc()"]
)
def test_it_finds_what_prints(text: str) -> None:
    assert prints_in(text)


def test_all_goes_through_the_doors() -> None:
    assert len(sources()) > 200
    strays = {}
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if (
            name not in DOORS
            and name not in ALLOWED
            and (found := prints_in(path.read_text(encoding="utf-8")))
        ):
            strays[name] = found
    assert strays == {}


def test_colours_are_made_in_one_place() -> None:
    """An escape sequence elsewhere would be shown in numbers."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sources()}
    strays = [
        name
        for name, text in texts.items()
        if ("\\x1b" in text or "\\033" in text) and not name.endswith("_pb2.py")
    ]
    # The rule itself has an example, the moving line goes back to its start.
    assert strays == [
        "deploykit/progress.py",
        "deploykit/terminal.py",
        "runtimes/python/deploykit_runtimes/text/printable.py",
    ]


def test_html_is_escaped_in_one_place() -> None:
    strays = [path.name for path in sources() if "html import escape" in path.read_text(encoding="utf-8")]
    assert strays == ["html.py"]
