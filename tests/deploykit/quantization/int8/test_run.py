"""INT8 files of trained models: what is written, and what is refused. Times are given, not measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.build_options import BuildOptions
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.errors import InputError, OptionError, ParityError, RuntimeUnavailableError
from deploykit_runtimes.onnx.file import read_onnx

import deploykit
from deploykit.quantization.int8.graph.insert import FORMS, Choice, Form, quantised
from deploykit.quantization.int8.graph.network import read_network
from deploykit.quantization.int8.html import to_html
from deploykit.quantization.int8.measuring.speed import Speed, Timer
from deploykit.quantization.int8.options import Int8Options
from deploykit.quantization.int8.report import Int8Report
from deploykit.quantization.int8.run import quantize_int8

FLOAT32_MS = 10.0


class ByProducts:
    """A clock that counts quantised products: each saves a tenth of float32's time.

    Attributes:
        calls: How many files it was asked for.
        stop_after: Raises like Ctrl-C at this call.
    """

    def __init__(self, saved: float = 0.1, stop_after: int | None = None) -> None:
        self.saved, self.stop_after, self.calls = saved, stop_after, 0

    def __call__(self, path: Path) -> Speed:
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt
        stored = {node.output[0] for node in onnx.load(path).graph.node if node.op_type == "DequantizeLinear"}
        products = [
            node
            for node in onnx.load(path).graph.node
            if node.op_type in ("Conv", "Gemm", "MatMul") and set(node.input[:2]) <= stored
        ]
        ms = FLOAT32_MS / (1 + self.saved * len(products))
        ratio = FLOAT32_MS / ms
        return Speed(ms=ms, float32_ms=FLOAT32_MS, ratio=ratio, low=ratio, high=ratio)


def made(
    model: Path, data: Path, output: Path, clock: ByProducts | None = None, **settings: object
) -> Int8Report:
    options = Int8Options(calibrate=12, **settings)  # type: ignore[arg-type]
    return quantize_int8(model, data, output, options, timers={"ort-cpu": clock or ByProducts()})


@pytest.fixture(scope="module")
def small(vit: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Int8Report:
    """The trained ViT in 8 bits."""
    folder = tmp_path_factory.mktemp("int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPLOYKIT_CACHE", str(folder / "cache"))
        return made(vit, digits, folder / "vit-int8.onnx", budget="5%")


def written(report: Int8Report) -> Path:
    assert report.output is not None
    return report.output


def test_a_classifier_keeps_its_accuracy(small: Int8Report, vit: Path, digits: Path) -> None:
    report, target = small, written(small)
    assert report.metric == "top1"
    best = report.best
    assert best is not None
    assert best.accuracy is not None
    assert best.accuracy.loss <= 0.05
    record = read_onnx(target).spec(None).precision
    assert record is not None
    assert (record.compute, record.cpus) == ("int8", ("vnni", "no-vnni"))
    assert record.target == ("any" if best.choice.form.portable else "ort-cpu")
    assert record.accuracy == best.accuracy.value
    assert record.reference == best.accuracy.reference > 0.9
    assert record.images == 48
    assert target.stat().st_size < vit.stat().st_size * 0.75
    # What eval counts by itself on the same pictures is what the record says.
    both = deploykit.evaluate([vit, target], digits)
    assert abs(both.models[0].top1 - both.models[1].top1) <= 0.05


def test_the_golden_cases_pass_on_every_engine(small: Int8Report) -> None:
    target = written(small)
    assert "passed" in small.selftests["ort-cpu"]
    for runtime in ("ort-cpu", "ov-cpu"):
        found = deploykit.selftest(target, runtime=runtime)
        assert found.ok
        assert found.precision == "int8"


def test_a_wrong_engine_fails_the_golden_cases(small: Int8Report, tmp_path: Path) -> None:
    model = onnx.load(written(small))
    int8 = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8]
    weights = max(int8, key=lambda each: len(each.raw_data))
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), weights.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    assert not deploykit.selftest(tmp_path / "wrong.onnx").ok


def test_a_detector(detector: Path, scenes: Callable[[str], Path], tmp_path: Path) -> None:
    target = tmp_path / "detect-int8.onnx"
    report = made(detector, scenes("detect"), target, budget=0.05)
    assert report.metric == "map"
    assert report.best is not None
    assert report.best.accuracy is not None
    assert report.best.accuracy.loss <= 0.05
    assert deploykit.selftest(target).ok
    page = to_html(report)
    for part in ("<svg", "Accuracy against time", "What each group of layers does", report.deploy_with):
        assert part in page
    json.dumps(report.to_dict(), allow_nan=False)


def test_pictures_without_labels_measure_agreement(vit: Path, digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, path in enumerate(sorted(digits.rglob("*.png"))):
        shutil.copy(path, folder / f"{number}.png")
    report = made(vit, folder, tmp_path / "out.onnx", budget=0.1)
    assert report.metric == "agreement"
    assert report.reference == 1.0
    with pytest.raises(OptionError, match="--metric top1 wants labels"):
        made(vit, folder, tmp_path / "out.onnx", metric="top1")


def test_an_interrupted_search_ends_with_the_same_file(vit: Path, digits: Path, tmp_path: Path) -> None:
    whole = ByProducts()
    made(vit, digits, tmp_path / "whole.onnx", whole, budget=0.05)
    with pytest.raises(KeyboardInterrupt):
        made(vit, digits, tmp_path / "resumed.onnx", ByProducts(stop_after=4), budget=0.05)
    assert not (tmp_path / "resumed.onnx").exists()
    rest = ByProducts()
    report = made(vit, digits, tmp_path / "resumed.onnx", rest, budget=0.05)
    assert report.resumed > 0
    assert rest.calls == whole.calls - 4
    assert (tmp_path / "resumed.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()


def test_what_does_not_pay_is_not_written(vit: Path, digits: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    report = made(vit, digits, target, ByProducts(saved=-0.001), budget=0.1)
    assert report.output is None
    assert not target.exists()
    assert "does not pay" in report.verdict
    report = made(vit, digits, target, ByProducts(saved=-0.001), budget=0.1, slower=True)
    assert report.output == target
    assert target.exists()


def test_a_budget_that_nothing_keeps(
    vit: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploykit.quantization.int8.measuring.accuracy import Measured

    # Every mix of this model keeps its accuracy on sixty digits: a loss is put in for all of them.
    monkeypatch.setattr(Measured, "loss", property(lambda _: 0.5))
    with pytest.raises(ParityError, match=r"within 1.00%.*loses 50.00%") as caught:
        made(vit, digits, tmp_path / "out.onnx")
    assert "--budget 0.6" in caught.value.hint
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        (0, InputError, "holds no|no image"),
        (7, InputError, "holds 7 pictures, wanted at least 16"),
    ],
)
def test_too_few_pictures(
    files: int, error: type[Exception], words: str, vit: Path, digits: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, path in enumerate(sorted(digits.rglob("*.png"))[:files]):
        shutil.copy(path, folder / f"{number}.png")
    with pytest.raises(error, match=words):
        made(vit, folder, tmp_path / "out.onnx")


def test_corrupt_pictures_are_named(vit: Path, digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    pictures = sorted(digits.rglob("*.png"))[:40]
    for number, path in enumerate(pictures):
        content = path.read_bytes()
        (folder / f"{number}.png").write_bytes(content[:20] if number % 10 == 0 else content)
    report = made(vit, folder, tmp_path / "out.onnx", budget=0.5)
    named = " ".join(report.notes)
    assert all(f"{number}.png" in named for number in (0, 10, 20, 30))
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="can be read"):
        made(vit, folder, tmp_path / "out2.onnx")


def test_targets_are_checked_before_the_search(vit: Path, digits: Path, tmp_path: Path) -> None:
    clock = ByProducts()
    with pytest.raises(OptionError, match="would be replaced"):
        made(vit, digits, vit, clock)
    with pytest.raises(OptionError):
        made(vit, digits, tmp_path, clock)
    assert clock.calls == 0


def test_labels_that_do_not_fit(vit: Path, digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "data")
    (tmp_path / "data" / "3").rename(tmp_path / "data" / "three")
    with pytest.raises(OptionError, match="three"):
        made(vit, tmp_path / "data", tmp_path / "out.onnx")


def test_files_that_are_not_float32(small: Int8Report, vit: Path, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="int8"):
        made(written(small), digits, tmp_path / "again.onnx")
    half = onnx.load(vit)
    for tensor in half.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(half, tmp_path / "half.onnx")
    with pytest.raises(OptionError, match="float16"):
        made(tmp_path / "half.onnx", digits, tmp_path / "again.onnx")


@pytest.mark.parametrize("form", [form for form in FORMS if form.portable], ids=lambda form: form.name)
def test_tensorrt_for_rtx_builds_portable_forms(
    form: Form, vit: Path, detector: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    options = BuildOptions(compute_capabilities=("8.6",))
    for path in (vit, detector):
        network = read_network(path)
        nodes = frozenset(node.name for node in network.nodes())
        choice = Choice(nodes=nodes, method="min-max", form=form, weight_bits=8)
        model = quantised(network, choice, dict.fromkeys(network.tensors, 8.0))
        onnx.save(model, tmp_path / path.name)
        assert build_engine(tmp_path / path.name, runtime="trt-rtx", options=options).size_bytes > 10_000


def test_candidates_that_an_engine_refuses_are_left_out(vit: Path, digits: Path, tmp_path: Path) -> None:
    class Choosy(ByProducts):
        """An engine that takes no more than one candidate in two."""

        def __call__(self, path: Path) -> Speed:
            if self.calls % 2:
                self.calls += 1
                raise RuntimeUnavailableError("It cannot compile this graph.")
            return super().__call__(path)

    timers: dict[str, Timer] = {"ort-cpu": ByProducts(), "ov-cpu": Choosy(saved=0.2)}
    options = Int8Options(calibrate=12, budget=0.1)
    report = quantize_int8(vit, digits, tmp_path / "out.onnx", options, timers=timers)
    assert report.output is not None
    assert any("ov-cpu does not take some" in note for note in report.notes)
    assert "refused" in to_html(report)
    json.dumps(report.to_dict())
    alone: dict[str, Timer] = {"ort-cpu": Choosy(stop_after=None)}
    alone["ort-cpu"](vit)  # the next one is refused
    with pytest.raises(RuntimeUnavailableError, match="cannot compile"):
        quantize_int8(vit, digits, tmp_path / "none.onnx", options, timers=alone)
    assert not (tmp_path / "none.onnx").exists()
