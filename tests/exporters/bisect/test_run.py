"""The first layer at which an engine, or a file, leaves the checkpoint."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.bisect.result import BisectResult
from deploykit_exporters.bisect.run import bisect
from deploykit_exporters.bisect.sides import UNOPTIMISED
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.selftest.run import self_test
from wrong_engines import change, planted, products

TRAINED = Path(__file__).parents[2] / "fixtures/trained/vit.pth.tar"
SMALL = 1e-4
"""Share by which weights are off in a fault that the self-test sees."""
TESTS = Path(__file__).parents[2]
CHECKPOINTS = {
    "vit": TESTS / "fixtures/mmpretrain_vit.pth",
    "crossformer": TESTS / "golden/crossformer/crossformer.pth",
    "yolox": TESTS / "fixtures/yolox_plain.pth",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bisect")


@cache
def right_file(name: str, folder: Path) -> Path:
    target = folder / f"{name}.onnx"
    options = ExportOptions(output=target, golden_cases=False, witness=False)
    export(CHECKPOINTS[name], options)
    return target


def middle_layer(file: Path) -> str:
    """The node whose weight ``one weight`` changes."""
    found = products(onnx.load(file))
    return found[len(found) // 2][0].name


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_changed_weight_is_found_in_its_layer(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both engines, from one export of the checkpoint anew."""
    right = right_file(name, folder)
    wrong = planted(right, "one weight", folder / f"{name}-wrong.onnx")
    anew_is(right, monkeypatch)
    for runtime in ("ort-cpu", "ov-cpu"):
        layer = bisect(CHECKPOINTS[name], wrong, runtime=runtime).layer
        assert layer is not None
        assert layer.name == middle_layer(right)
        assert layer.why == "alone"
        assert layer.before < 1e-5 < 1e-4 < layer.after
        [weight] = layer.weights
        assert weight.differ == 1
        assert layer.inputs
        assert all(each.low < each.high and each.off < 1e-5 for each in layer.inputs)


def anew_is(right: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting gives the same file each time; here it is not waited for again."""

    def copied(checkpoint: object, spec: object, options: object, target: Path) -> tuple[object, str]:
        target.write_bytes(right.read_bytes())
        return spec, ""

    monkeypatch.setattr("deploykit_exporters.bisect.run.export_like", copied)


def test_the_checkpoint_is_exported_anew_with_the_file_s_own_options(folder: Path) -> None:
    """Opset, batch and processing inside: the nodes are the file's, and its damage is found behind the torch
    proof."""
    target = folder / "whole.onnx"
    options = ExportOptions(
        output=target, opset=19, batch=2, preprocess=True, postprocess=True, golden_cases=False, witness=False
    )
    export(CHECKPOINTS["vit"], options)
    wrong = planted(target, "one weight", folder / "whole-wrong.onnx")
    found = bisect(CHECKPOINTS["vit"], wrong)
    assert "proven against torch" in found.reference
    assert not found.note
    assert found.layer is not None
    assert found.layer.name == middle_layer(target)
    assert found.to_dict()["agrees"] is False


def test_a_right_file_has_no_layer_that_differs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = right_file("vit", folder)
    anew_is(right, monkeypatch)
    found = bisect(CHECKPOINTS["vit"], right, runtime="ov-cpu")
    assert found.layer is None
    assert found.off < 1e-5
    assert found.compared > 10
    assert "no layer differs" in repr(found)


def test_a_file_of_other_nodes_is_compared_with_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = right_file("vit", folder)
    anew_is(right, monkeypatch)
    found = bisect(CHECKPOINTS["vit"], with_one_more_node(right))
    assert found.layer is None
    assert "compared with itself" in found.note
    assert "nodes" in found.note
    assert f"{products(onnx.load(right))[1][0].name} (" in found.note  # where the one more is
    assert found.reference == f"the file in {UNOPTIMISED}"


def with_one_more_node(right: Path) -> Path:
    """The file with one more node."""
    model = onnx.load(right)
    node = products(model)[1][0]
    name = node.output[0]
    node.output[0] = "before"
    index = [each.name for each in model.graph.node].index(node.name)
    model.graph.node.insert(index + 1, onnx.helper.make_node("Identity", ["before"], [name], name="more"))
    target = right.with_name("more.onnx")
    onnx.save(model, target)
    return target


def test_a_fault_that_only_the_self_test_sees_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs are off by less than 1e-4, and by more than the golden cases allow."""
    right, wrong = folder / "golden.onnx", folder / "small.onnx"
    export(TRAINED, ExportOptions(output=right, witness=False))
    model = onnx.load(right)
    node, tensor = products(model)[len(products(model)) // 2]
    change(tensor, lambda values: values * np.float32(1 + SMALL))
    onnx.save(model, wrong)
    anew_is(right, monkeypatch)
    with open_runner(wrong, runtime="ort-cpu") as runner:
        assert not self_test(runner).ok
    for runtime in ("ort-cpu", UNOPTIMISED, "ov-cpu"):
        found = bisect(TRAINED, wrong, runtime=runtime)
        assert found.off < 1e-4
        assert found.layer is not None
        assert (found.layer.name, found.layer.why) == (node.name, "alone")
        assert found.layer.before < found.tolerance < found.layer.after
        assert bisect(TRAINED, right, runtime=runtime).layer is None
    assert bisect(TRAINED, wrong, tolerance=1e-4).layer is None


def test_pictures_that_are_prepared_differently_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = right_file("vit", folder)
    wrong = planted(right, "wrong resize", folder / "resize.onnx")
    spec = read_onnx(right).spec()

    def copied(checkpoint: object, found: object, options: object, target: Path) -> tuple[object, str]:
        target.write_bytes(right.read_bytes())
        return spec, ""

    monkeypatch.setattr("deploykit_exporters.bisect.run.export_like", copied)
    found = bisect(CHECKPOINTS["vit"], wrong)
    assert found.layer is None
    told = f"interpolation nearest instead of {spec.preprocess.interpolation}"
    assert found.note == f"The file prepares pictures differently than the checkpoint: {told}."
    assert not bisect(CHECKPOINTS["vit"], right).note


def test_two_engines_are_compared_on_the_user_s_image(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    image = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(image)
    right = right_file("vit", folder)
    found: BisectResult = bisect(CHECKPOINTS["vit"], right, image, runtime="ov-cpu", against="ort-cpu")
    assert found.layer is None
    assert (found.case, found.reference) == ("noise.png", "the file in ort-cpu")


def test_what_has_no_graph_is_refused(tmp_path: Path) -> None:
    engine = tmp_path / "best.engine"
    engine.write_bytes(b"ftrt" * 10)
    with pytest.raises(OptionError, match=r"cuts the graph of an \.onnx file"):
        bisect(CHECKPOINTS["vit"], engine)
