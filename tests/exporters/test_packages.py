"""Without the packages of the export extra, one error says so, whatever was asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {hidden!r} else real(name, package)
sys.meta_path.insert(0, Hidden())
from deploykit.cli import main
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize(
    "arguments", [["export", "best.pt"], ["inspect", "best.pt"], ["verify", "best.pt", "best.onnx"]]
)
def test_a_command_without_torch_names_the_pip_line(arguments: list[str], tmp_path) -> None:
    (tmp_path / "best.pt").write_bytes(b"weights")
    (tmp_path / "best.onnx").write_bytes(b"model")
    code = HIDE.format(hidden={"torch", "timm"}, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 6, done.stderr
    assert "not installed: torch, timm" in done.stderr
    assert "pip install 'deploykit[export]'" in done.stderr
    assert "Traceback" not in done.stderr
