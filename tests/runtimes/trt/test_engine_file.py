"""Plan and sidecar: what is kept, when an engine fits, and files that somebody altered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.onnx.file import OnnxFile
from deploykit_runtimes.trt.engine_file import (
    EngineKey,
    Sidecar,
    difference,
    read_sidecar,
    sidecar_path,
    write_engine,
)
from deploykit_runtimes.trt.profiles import ShapeRange

PROFILE = {"images": ShapeRange(min=(1, 3, 8, 8), opt=(2, 3, 8, 8), max=(4, 3, 8, 8))}
KEY = EngineKey(
    onnx_sha256="ab" * 32,
    flavour="tensorrt",
    version="10.16.1.11",
    gpu="NVIDIA L4",
    capabilities=("8.9",),
    profiles=(PROFILE,),
)
RTX = replace(KEY, flavour="tensorrt-rtx", version="1.7.1.116", gpu="", capabilities=())
FILE = OnnxFile(
    metadata={"deploykit.format": "1", "names": "crème brûlée\n犬"},
    inputs=(TensorInfo(name="images", dtype="float32", shape=("batch", 3, 8, 8)),),
    outputs=(TensorInfo(name="logits", dtype="float32", shape=("batch", 3)),),
    weights={"float32": 9},
    nodes=3,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.engine"
    written = write_engine(path, b"plan", Sidecar(key=KEY, model="m.onnx", plan_sha256="", file=FILE))
    assert written == (path, sidecar_path(path))
    assert path.read_bytes() == b"plan"
    found = read_sidecar(path)
    assert found == Sidecar(key=KEY, model="m.onnx", plan_sha256=sha256_of(path), file=FILE)
    assert sorted(file.name for file in path.parent.iterdir()) == ["m.engine", "m.engine.json"]


def test_a_plan_alone_has_no_description(tmp_path: Path) -> None:
    assert read_sidecar(tmp_path / "m.engine") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"onnx_sha256": "cd"}, "from another version of the model"),
        ({"flavour": "tensorrt-rtx"}, "by tensorrt 10.16.1.11, this is tensorrt-rtx 10.16.1.11"),
        ({"version": "10.17.0"}, "by tensorrt 10.16.1.11, this is tensorrt 10.17.0"),
        (
            {"gpu": "NVIDIA A10", "capabilities": ("8.6",)},
            "on NVIDIA L4 (compute capability 8.9), this is NVIDIA A10 (compute capability 8.6)",
        ),
        (
            {"profiles": ({"images": replace(PROFILE["images"], max=(8, 3, 8, 8))},)},
            "for images 1x3x8x8 to 4x3x8x8, best at 2x3x8x8, wanted images 1x3x8x8 to 8x3x8x8, best at "
            "2x3x8x8",
        ),
        ({"precision": "auto"}, "with precision model, wanted is auto"),
        ({"strip_weights": True}, "with strip weights False, wanted is True"),
        ({"optimization_level": 5}, "with optimization level None, wanted is 5"),
    ],
)
def test_every_part_of_the_key_counts(change: dict[str, Any], reason: str) -> None:
    assert difference(KEY, replace(KEY, **change)) == reason


@pytest.mark.parametrize(
    ("version", "fits"), [("10.16.1.11", True), ("10.17.0.1", True), ("10.9.0.1", False), ("11.0.0.1", False)]
)
def test_version_compatible_engines_fit_later_versions_of_the_same_major(version: str, fits: bool) -> None:
    found = replace(KEY, version_compatible=True)
    assert (difference(found, replace(found, version=version)) == "") is fits


@pytest.mark.parametrize(
    ("built", "wanted", "fits"),
    [
        ((), (), True),
        ((), ("8.6",), True),
        ((), ("7.5",), False),
        (("7.5",), ("7.5",), True),
        (("8.6", "12.0"), ("12.0",), True),
        (("8.6", "12.0"), ("8.9",), False),
        (("8.6",), (), False),
    ],
)
def test_rtx_engines_fit_by_capability(built: tuple[str, ...], wanted: tuple[str, ...], fits: bool) -> None:
    reason = difference(replace(RTX, capabilities=built), replace(RTX, capabilities=wanted))
    assert (reason == "") is fits


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        '{"format": 2}',
        '{"format": 1}',
        '{"format": 1, "key": {"surprise": 1}, "model": "m"}',
        '{"format": 1, "key": {"profiles": 7, "capabilities": []}}',
        '{"format": 1, "key": {"profiles": [{"images": [[1], [2]]}], "capabilities": []}}',
        '{"format": 1, "key": {"profiles": [{"images": [["a"], [2], [3]]}], "capabilities": []}}',
        '{"format": 1, "key": []}',
        "\x00\xff",
    ],
)
def test_damaged_descriptions_are_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    sidecar_path(path).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match="does not describe an engine") as error:
        read_sidecar(path)
    assert "deploykit build" in error.value.hint


def test_the_description_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    write_engine(path, b"plan", Sidecar(key=RTX, model="m.onnx", plan_sha256="", file=FILE))
    data = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
    assert data["key"]["profiles"] == [{"images": [[1, 3, 8, 8], [2, 3, 8, 8], [4, 3, 8, 8]]}]
    assert data["metadata"]["names"] == "crème brûlée\n犬"
