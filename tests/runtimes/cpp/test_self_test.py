"""``deploykit-run MODEL --self-test``: right engines pass and wrong ones fail, with Python's numbers."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch
from c_library import Library
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import DeploykitError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.selftest import bits
from deploykit_runtimes.selftest.cases import GOLDEN, Case, Slice, cases_to_keys
from deploykit_runtimes.selftest.inputs import feeds_of
from deploykit_runtimes.selftest.measure import ROW_LAYOUTS, keep_rows, keep_values
from deploykit_runtimes.selftest.run import SelfTest, self_test
from wrong_engines import FAULTS, planted

from deploykit.cli import main

SEED = 21
DYNAMIC = ExportOptions(dynamic=("all",))
WHOLE = ExportOptions(preprocess=True, postprocess=True, dynamic=("all",))
FILES = {
    "vit": ("fixtures/mmpretrain_vit.pth", ExportOptions()),
    "vit whole": ("fixtures/mmpretrain_vit.pth", WHOLE),
    "efficientnet dynamic": ("efficientnet_lite0", replace(DYNAMIC, imgsz=64)),
    "efficientnet of mmpretrain": ("fixtures/mmpretrain_efficientnet_v2.pth", ExportOptions()),
    "crossformer": ("golden/crossformer/crossformer.pth", ExportOptions()),
    "yolox dynamic": ("fixtures/yolox_plain.pth", DYNAMIC),
    "yolov8n": ("yolov8n", ExportOptions()),
    "yolov8n whole": ("yolov8n", replace(WHOLE, runtime_thresholds=True)),
    "yolo11n-seg": ("yolo11n-seg", ExportOptions()),
    "yolo26n": ("yolo26n", ExportOptions()),
    "vit in float16": ("fixtures/mmpretrain_vit.pth", ExportOptions(precision="fp16")),
    "yolov8n whole in float16": ("yolov8n", replace(WHOLE, precision="fp16")),
}


@pytest.fixture(scope="module")
def file_of(golden: Path, ultralytics_file, perturb, tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("golden-cases"), {}

    def checkpoint(source: str) -> Path:
        if "/" in source:
            return golden.parent / source
        if source.startswith("yolo"):
            return ultralytics_file(source)[0]
        torch.manual_seed(0)
        torch.save(perturb(timm.create_model(source, num_classes=3), 0).state_dict(), folder / "timm.pth")
        return folder / "timm.pth"

    def make(name: str) -> Path:
        if name not in made:
            source, options = FILES[name]
            made[name] = folder / f"{name.replace(' ', '-')}.onnx"
            export(checkpoint(source), replace(options, output=made[name], witness=False))
        return made[name]

    return make


@pytest.fixture(scope="module")
def run_self_test(tool: Path, ort_library: Path):
    """The exit code of the program, what it printed, and its error."""

    def call(path: Path, *options: str) -> tuple[int, str, str]:
        command = [str(tool), str(path), "--self-test", "--threads", "1", *options]
        environment = {**os.environ, "DEPLOYKIT_ONNXRUNTIME": str(ort_library)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        return done.returncode, done.stdout, done.stderr

    return call


def python_test(path: Path) -> SelfTest:
    """Of the same graph: C++ rewrites INT8 files alone."""
    with open_runner(path, runtime="ort-cpu", threads=1, exact=True) as runner:
        return self_test(runner)


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Every key, in the same order, with the same value."""
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        if key == "seconds":
            assert 0 <= found[key] < 600
        elif key == "cases":
            assert len(found[key]) == len(value)
            for one, other in zip(found[key], value, strict=True):
                same(one, other)
        elif key == "outputs":
            assert len(found[key]) == len(value)
            for one, other in zip(found[key], value, strict=True):
                assert list(one) == list(other)
                assert one == {
                    name: pytest.approx(each, rel=1e-6, abs=1e-12) if isinstance(each, float) else each
                    for name, each in other.items()
                }
        else:
            assert found[key] == value


@pytest.mark.parametrize("name", FILES)
def test_a_right_engine_passes(name: str, file_of, run_self_test) -> None:
    path = file_of(name)
    code, printed, error = run_self_test(path, "--json")
    assert code == 0, error
    assert (
        error.startswith("warning: The fp16 file is computed in float32") if "float16" in name else not error
    )
    document = json.loads(printed)
    assert (document["model"], document["not_run"]) == (str(path), [])
    (found,) = document["tests"]
    assert found["ok"]
    assert len([case for case in found["cases"] if case["outputs"]]) >= 3
    same(found, json.loads(json.dumps(python_test(path).to_dict())))


def equipped(path: Path, target: Path) -> Path:
    """A file with golden cases of its own answers."""
    with open_runner(path, runtime="ort-cpu", threads=1, exact=True) as runner:
        spec, cases = runner.spec, []
        side = (100, 150) if spec.preprocess.included else (spec.input.height, spec.input.width)
        for stage, picture in (("image", bits.noise(1, (1, 9, 7, 3))[0]), ("tensor", None)):
            case = Case(picture=picture, batch=1, height=side[0], width=side[1], stage=stage)
            outputs = runner.infer(feeds_of(case, spec))
            tolerance = {runner.placement().precision: (1e-5, 1e-5, 1e-5)}
            if spec.output.layout in ROW_LAYOUTS:
                kept = (replace(keep_rows(outputs, spec), tolerances=tolerance),)
            else:
                tolerance = {name: values[:2] for name, values in tolerance.items()}
                parts = [Slice(output=name, best=True) for name in spec.output.names]
                kept = tuple(replace(keep_values(outputs, part), tolerances=tolerance) for part in parts)
            cases.append(replace(case, kept=kept))
    model = onnx.load(path)
    keys = {each.key: each.value for each in model.metadata_props}
    onnx.helper.set_model_props(model, {**keys, **cases_to_keys(tuple(cases))})
    onnx.save(model, target)
    return target


LAYOUTS = ("logits", "features", "yolo", "end2end", "top_k", "half_nhwc")
FINISHED = ("detect", "masks", "obb", "pose", "prototypes", "thresholds")


@pytest.mark.parametrize("name", [*LAYOUTS, *(f"finished_{name}" for name in FINISHED)])
def test_every_layout_and_type(name: str, golden: Path, run_self_test, tmp_path: Path) -> None:
    """Half precision, channels last, and every kind of answers."""
    path = equipped(golden / "cpp" / f"{name}.onnx", tmp_path / "equipped.onnx")
    code, printed, error = run_self_test(path, "--json")
    assert code == 0, error
    (found,) = json.loads(printed)["tests"]
    assert [case["ok"] and len(case["outputs"]) > 0 for case in found["cases"]] == [True, True]
    same(found, json.loads(json.dumps(python_test(path).to_dict())))


WRONG = ("vit", "vit whole", "efficientnet dynamic", "crossformer", "yolov8n", "yolov8n whole")
PLANTED = [
    (name, fault)
    for name in WRONG
    for fault in FAULTS
    if (fault, name.endswith("whole")) != ("wrong resize", True)  # such a graph resizes by itself
]


@pytest.mark.parametrize(("name", "fault"), PLANTED)
def test_a_wrong_engine_fails(name: str, fault: str, file_of, run_self_test, tmp_path: Path) -> None:
    wrong = planted(file_of(name), fault, tmp_path / "wrong.onnx")
    code, printed, error = run_self_test(wrong, "--json")
    assert code == 3
    assert error.startswith("error: The self-test failed on onnxruntime ")
    (found,) = json.loads(printed)["tests"]
    assert not found["ok"]
    wanted = python_test(wrong)
    assert not wanted.ok
    assert found["problem"] in error
    same(found, json.loads(json.dumps(wanted.to_dict())))


def test_lines_for_people(file_of, run_self_test, tmp_path: Path) -> None:
    path = file_of("vit")
    code, printed, _ = run_self_test(path)
    lines = printed.splitlines()
    assert code == 0
    assert lines[0].startswith("photo 1x")
    assert all(line.endswith(", ok") for line in lines[:-1])
    assert lines[-1].startswith("self-test passed: 4 golden cases at fp32, at most ")
    code, printed, error = run_self_test(planted(path, "one bias", tmp_path / "wrong.onnx"))
    assert code == 3
    assert printed.splitlines()[-1].startswith("self-test failed: ")
    assert any(line.endswith(", wrong") for line in printed.splitlines())
    assert "--precision model or another --runtime" in error


def test_files_without_golden_cases_and_superfluous_pictures(golden: Path, run_self_test, tool: Path) -> None:
    code, printed, error = run_self_test(golden / "cpp" / "logits.onnx")
    assert (code, printed) == (5, "")
    assert "carries no golden cases" in error
    code, _, error = run_self_test(golden / "cpp" / "logits.onnx", "picture.png")
    assert code == 2
    assert "--self-test wants a model and nothing else" in error
    usage = subprocess.run([tool, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--self-test" in usage


def changed(path: Path, target: Path, **entries: str | None) -> Path:
    """The file with other values of golden keys; None: without the key."""
    model = onnx.load(path)
    keys = {each.key: each.value for each in model.metadata_props}
    for key, text in entries.items():
        if text is None:
            keys.pop(GOLDEN + key, None)
        else:
            keys[GOLDEN + key] = text
    onnx.helper.set_model_props(model, keys)
    onnx.save(model, target)
    return target


def test_engines_that_take_less_and_sizes_that_do_not_fit(file_of, run_self_test, tmp_path: Path) -> None:
    images = {"0.images": "noise 1 2 64 64 tensor 0", "1.images": "noise 1 1 40 64 tensor 0"}
    none = {"0.0.best": None, "0.0.margins": None}  # which are those of one image
    path = changed(file_of("vit"), tmp_path / "other.onnx", **images, **none)
    code, printed, _ = run_self_test(path, "--json")
    (found,) = json.loads(printed)["tests"]
    skipped = [case["skipped"] for case in found["cases"]]
    assert skipped[:2] == ["the engine's batch is fixed to 1", "the engine's height is fixed to 64"]
    assert code == 0
    same(found, json.loads(json.dumps(python_test(path).to_dict())))


def test_precisions_without_tolerances(file_of, run_self_test, tmp_path: Path) -> None:
    gone = dict.fromkeys(f"0.0.tolerance.{name}" for name in ("fp32", "tf32", "fp16", "bf16"))
    path = changed(file_of("vit"), tmp_path / "other.onnx", **gone)
    code, _, error = run_self_test(path)
    with pytest.raises(DeploykitError) as wanted:
        python_test(path)
    assert code == 5
    assert wanted.value.problem in error
    assert "computes in fp32, the golden cases have tolerances for " in error


TEXTS = (
    *(
        "",
        "0",
        "1",
        "2",
        "-1",
        "33",
        "1 2",
        "1 2 3",
        "0 0 0",
        "-1 0 0",
        "1 0 2",
        "nan",
        "inf",
        "1e999 1",
        "0 0",
    ),
    *(
        "AAAA",
        "AADAfw==",
        "noise 0 1 64 64 tensor 0",
        "noise 0 1 16384 4096 image 0",
        "picture 0 1 1 1 image 7",
    ),
    *("picture 3 1 64 64 image 0", "rows", "values", "1 1 3 AAAA", "1 1 3 AAAAAA", "x" * 70_000, "é\u2028"),
    base64.b64encode(b"\0\0\x80\x7f" * 300).decode(),
)


def outcome(path: Path) -> tuple[int, str]:
    try:
        found = python_test(path)
    except DeploykitError as error:
        return error.exit_code, error.problem
    return (0, "") if found.ok else (3, found.problem)


def test_forged_golden_keys_have_the_outcome_that_they_have_in_python(
    file_of, run_self_test, tmp_path: Path
) -> None:
    print("seed", SEED)  # noqa: T201 - pytest shows it where the test fails
    chance = random.Random(SEED)
    for name, tries in (("vit", 80), ("vit whole", 40)):
        path = file_of(name)
        keys = [each.key for each in onnx.load(path).metadata_props if each.key.startswith(GOLDEN)]
        pairs = [(key.removeprefix(GOLDEN), text) for key in keys for text in (None, *TEXTS)]
        for key, text in chance.sample(pairs, tries):
            forged = changed(path, tmp_path / "forged.onnx", **{key: text})
            code, problem = outcome(forged)
            found, _, error = run_self_test(forged)
            assert (found, problem in error) == (code, True), (key, text, problem, error)


def test_c_interface(build: Path, ort_library: Path, file_of, tmp_path: Path, golden: Path) -> None:
    library = Library(build / "libdeploykit.so")
    library.check(library.c.deploykit_use_onnxruntime(str(ort_library).encode()))
    path = file_of("vit")
    wrong = planted(path, "one weight", tmp_path / "wrong.onnx")
    for each in (path, wrong):
        model, report = library.open(each), ctypes.c_void_p()
        library.check(library.c.deploykit_self_test(model, ctypes.byref(report)))
        library.c.deploykit_model_close(model)
        wanted = python_test(each)
        assert library.c.deploykit_report_ok(report) == wanted.ok == (each is path)
        assert library.c.deploykit_report_problem(report).decode() == wanted.problem
        summary = library.c.deploykit_report_summary(report).decode()
        assert summary.rpartition(",")[0] == str(wanted).rpartition(",")[0]
        assert library.c.deploykit_report_case_count(report) == len(wanted.cases)
        found = json.loads(library.c.deploykit_report_json(report).decode())
        same(found, json.loads(json.dumps(wanted.to_dict())))
        library.c.deploykit_report_free(report)
    model = library.open(golden / "cpp" / "logits.onnx")
    with pytest.raises(DeploykitError, match="carries no golden cases"):
        library.check(library.c.deploykit_self_test(model, ctypes.byref(ctypes.c_void_p())))
    library.c.deploykit_model_close(model)


def test_the_command_prints_the_same_document(file_of, run_self_test, capsys) -> None:
    path = file_of("vit")
    _, printed, _ = run_self_test(path, "--json")
    capsys.readouterr()
    assert main(["selftest", str(path), "--exact", "--json", "--threads", "1"]) == 0
    wanted, found = json.loads(capsys.readouterr().out), json.loads(printed)
    assert list(found) == list(wanted)
    same(found["tests"][0], wanted["tests"][0])
