"""What an export leaves in the folder for temporary files: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from deploykit_exporters.torch_temporaries import no_compiler_cache


def test_an_export_from_python_leaves_nothing(fixtures: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    code = f"import deploykit; deploykit.export({str(fixtures / 'yolox_plain.pth')!r}, 'out.onnx', imgsz=64)"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.onnx").is_file()
    assert list(temporary.iterdir()) == []


def test_a_cache_that_somebody_uses_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "torchinductor_before").mkdir()
    with no_compiler_cache():
        (tmp_path / "torchinductor_empty").mkdir()
        (tmp_path / "torchinductor_used").mkdir()
        (tmp_path / "torchinductor_used" / "kernel").write_text("")
    assert {path.name for path in tmp_path.iterdir()} == {"torchinductor_before", "torchinductor_used"}
