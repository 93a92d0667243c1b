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
from wrong_engines import planted, products

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
