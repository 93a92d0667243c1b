"""The page's rule for text of strangers, against the golden vectors of Python and C++."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[4] / "deploykit/serve/page/printable.js"
_CHECK = """
import { readFileSync } from "node:fs";
import { printable, printableValue } from "./printable.mjs";
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify({
  shown: cases.map(([text, most]) => printable(text, most)),
  value: printableValue({ "a\\u001b": ["\\u202e", 1, null, { b: true }] }),
}));
"""


def test_it_is_pythons(golden: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt-get install nodejs")
    shutil.copyfile(SOURCE, tmp_path / "printable.mjs")
    (tmp_path / "check.mjs").write_text(_CHECK, encoding="utf-8")
    cases, wanted = [("\ud800", 4000), ("a\ud83d", 4000)], ["\\ud800", "a\\ud83d"]
    for block in (golden / "printable.txt").read_text(encoding="utf-8").rstrip("\n").split("\n\n"):
        fields = dict(line.split("\t", 1) for line in block.split("\n"))
        digits, _, times = fields["bytes"].partition("*")
        data = bytes.fromhex(digits) * int(times or 1)
        if "\\udc" not in fields["printable"]:  # bytes that are not UTF-8 never reach a page
            cases.append((data.decode(), int(fields["most"])))
            wanted.append(fields["printable"])
    assert len(cases) > 30
    done = subprocess.run(
        [node, str(tmp_path / "check.mjs")],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["shown"] == wanted
    assert answer["value"] == {"a\\x1b": ["\\u202e", 1, None, {"b": True}]}
