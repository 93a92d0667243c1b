"""INT8 files in C++: the same rewrites at load as in Python, and the same answers to the bit."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from c_library import Library
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import PrecisionRecord
from deploykit_runtimes.machine.cpu import cpu_class
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.suitability import advice
from onnx import helper
from PIL import Image
from quantised import noise, quantise

FILES = {"vit": "fixtures/mmpretrain_vit.pth", "yolo": "fixtures/yolov5_detect.pt"}
OURS = ("unsigned_activations", "unsigned_weights")
"""What C++ does at load too."""


@pytest.fixture(scope="module", params=FILES)
def int8_file(request, golden: Path, tmp_path_factory) -> Path:
    """A file that was made for another engine."""
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / "model.onnx"
    export(golden.parent / FILES[request.param], ExportOptions(output=path, witness=False))
    quantise(path, folder / "int8.onnx")
    model = onnx.load(folder / "int8.onnx")
    spec = read_onnx(folder / "int8.onnx").spec()
    record = PrecisionRecord(compute="int8", target="trt")
    helper.set_model_props(model, spec_to_metadata(replace(spec, precision=record)))
    onnx.save(model, folder / "int8.onnx")
    return folder / "int8.onnx"


@pytest.fixture
def library(build: Path, ort_library: Path) -> Library:
    found = Library(build / "libdeploykit.so")
    found.check(found.c.deploykit_use_onnxruntime(str(ort_library).encode()))
    return found


@pytest.mark.parametrize("exact", [False, True], ids=["rewritten", "exact"])
def test_the_same_answers_to_the_bit(int8_file: Path, library: Library, exact: bool) -> None:
    (port,) = onnx.load(int8_file).graph.input
    images = noise(port, 3)
    with open_runner(int8_file, runtime="ort-cpu", threads=1, exact=exact) as runner:
        wanted, placement = runner.infer({port.name: images}), runner.placement()
    model = library.open(int8_file, exact=int(exact))
    found = library.infer(model, {port.name: images})
    said = json.loads(library.c.deploykit_model_placement(model).decode())
    told = library.c.deploykit_model_advice(model).decode()
    library.c.deploykit_model_close(model)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert np.array_equal(found[name], values)
    assert said["rewrites"] == [name for name in placement.rewrites if name in OURS]
    assert said["settings"] == dict(placement.settings)
    assert (said["precision"], placement.precision) == ("int8", "int8")
    if not exact:
        assert said["rewrites"] == list(OURS[: 1 if cpu_class() == "vnni" else 2])
    assert told == advice(read_onnx(int8_file).spec(), placement)


def test_the_program_says_where_it_was_made_for(
    int8_file: Path, tool: Path, ort_library: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(picture)
    environment = {**os.environ, "DEPLOYKIT_ONNXRUNTIME": str(ort_library)}
    for options in ([], ["--exact"]):
        command = [str(tool), str(int8_file), str(picture), *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert done.stderr.count("warning: ") == 1
        assert done.stderr.startswith("warning: The int8 file was made for trt and runs on ort-cpu: ")
        rewrites = json.loads(done.stdout)["placement"]["rewrites"]
        assert rewrites == [] if options else rewrites[0] == "unsigned_activations"


def test_a_caller_of_a_version_without_exact(int8_file: Path, library: Library) -> None:
    from c_library import Options

    options = Options(Options.exact.offset, b"cpu", 1)
    options.exact = 1
    model = ctypes.c_void_p()
    library.check(
        library.c.deploykit_model_open(str(int8_file).encode(), ctypes.byref(options), ctypes.byref(model))
    )
    said = json.loads(library.c.deploykit_model_placement(model).decode())
    library.c.deploykit_model_close(model)
    assert said["rewrites"][0] == "unsigned_activations"
