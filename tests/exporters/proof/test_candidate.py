"""What is proven is the file: export and verify open it node for node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.candidate import open_candidate
from deploykit_exporters.verify import verify
from deploykit_runtimes import load
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.onnx.file import OnnxFile, read_onnx
from deploykit_runtimes.ort import runner
from deploykit_runtimes.ort.rewrites import Rewritten, rewrite


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, Rewritten]]:
    """Whether each file was opened exactly, and in which form; it is opened all the same."""
    seen: list[tuple[bool, Rewritten]] = []

    def note(path: Path, options: EngineOptions, file: OnnxFile) -> Rewritten:
        seen.append((options.exact, rewrite(path, options, file)))
        return seen[-1][1]

    monkeypatch.setattr(runner, "rewrite", note)
    return seen


@pytest.mark.parametrize("whole", [False, True], ids=["plain", "self-contained"])
def test_export_and_verify_run_the_file_itself(
    fixtures: Path, tmp_path: Path, opened: list[tuple[bool, Rewritten]], whole: bool
) -> None:
    checkpoint = fixtures / "mmpretrain_efficientnet.pth"
    options = ExportOptions(output=tmp_path / "net.onnx", preprocess=whole, postprocess=whole)
    path = export(checkpoint, options).path
    with load(path) as model:
        assert model.placement().rewrites  # so that there is something to leave alone
    assert opened.pop()[0] is False
    assert len(opened) >= (4 if whole else 1)
    for engine in (None, EngineOptions(threads=1), EngineOptions(exact=False)):
        verify(checkpoint, path, options=replace(options, output=None), engine=engine)
    assert all(each == (True, Rewritten()) for each in opened)
    with open_candidate(path) as candidate:
        assert sum(candidate.placement().providers.values()) <= read_onnx(path).nodes
