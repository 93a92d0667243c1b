"""The README's C++ section is built and run as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_readme_section(cmake: str, run, golden: Path, tmp_path: Path, again) -> None:
    section = (ROOT / "README.md").read_text().partition("## C++ and C\n")[2].partition("\n## ")[0]
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", section, flags=re.DOTALL))
    (tmp_path / "main.cpp").write_text(blocks["cpp"])
    (tmp_path / "CMakeLists.txt").write_text(blocks["cmake"])
    shutil.copy(golden / "cpp" / "yolo.onnx", tmp_path / "model.onnx")
    path = os.pathsep.join([str(Path(sys.executable).parent), str(Path(cmake).parent), os.environ["PATH"]])
    printed = run(["sh", "-ec", blocks["sh"]], cwd=tmp_path, PATH=path, **again[0])
    assert '"task": "detect"' in printed
    assert '"image_size": [\n    480,\n    640\n  ]' in printed
    # An exception that nobody catches would abort the program.
    for arguments, code, words in (([], 2, "usage: app MODEL"), (["none.onnx"], 5, "error: none.onnx")):
        done = subprocess.run(
            [tmp_path / "build" / "app", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith(words)
