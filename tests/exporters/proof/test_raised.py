"""Detectors on pictures without their objects: something is compared, or nothing is called proven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from deploykit_exporters.export import export
from deploykit_exporters.ingraph.compose import NETWORK
from deploykit_exporters.ingraph.raise_scores import raise_scores
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.answers import FEWEST, AnswerDifference
from deploykit_exporters.proof.processing import raise_detections
from deploykit_exporters.self_contained import host_spec
from deploykit_exporters.verify import verify
from deploykit_runtimes.contract.metadata import spec_from_metadata, spec_to_metadata
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import ParityError
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.prediction.predictor import Predictor
from onnx.reference import ReferenceEvaluator

WHOLE = ExportOptions(preprocess=True, postprocess=True, witness=False)
KINDS = ["yolov8n", "yolov10n", "yolo11n-seg", "yolo11n-pose", "yolo11n-obb"]


def _shy(model: Any) -> None:
    """A detector that sees nothing it knows: every class score is 1e-4 of what it was."""
    head = model.model[-1]
    for name in ("cv3", "one2one_cv3"):
        for branch in getattr(head, name, ()):
            with torch.no_grad():
                branch[-1].bias -= 9.0


def _empty_handed(output: Path) -> bool:
    from deploykit_exporters.proof.answers import answer_photos

    with Predictor(open_ort(output)) as model:
        return not any(len(result) for result in model.predict(list(answer_photos().values())))


@pytest.mark.parametrize("name", KINDS)
def test_scores_are_raised_until_there_are_detections(name: str, ultralytics_file, tmp_path: Path) -> None:
    path, _ = ultralytics_file(name, edit=_shy)
    options = replace(WHOLE, output=tmp_path / "whole.onnx", masks=name.endswith("seg"))
    result = export(path, options)
    assert _empty_handed(result.path)
    record = result.spec.parity
    assert record is not None
    assert record.detections >= FEWEST
    assert "raised" in record.answer_said
    assert (record.masks > 0) == name.endswith("seg")
    assert (record.keypoints > 0) == name.endswith("pose")
    assert spec_from_metadata(spec_to_metadata(result.spec)).parity == record
    # The file itself is untouched by what was done to its copy.
    names = [value.name for value in onnx.load(result.path).graph.output]
    assert names == list(result.spec.output.names)
    again = verify(path, result.path, options=options).parity
    assert (again.detections, again.answer_said) == (record.detections, record.answer_said)


@pytest.mark.parametrize("fixture", ["yolox_plain.pth", "yolov5_detect.pt"])
def test_scores_of_heads_with_objectness_are_raised(fixture: str, golden: Path, tmp_path: Path) -> None:
    options = replace(WHOLE, output=tmp_path / "whole.onnx", conf=0.999)
    record = export(golden.parent / "fixtures" / fixture, options).spec.parity
    assert record is not None
    assert record.detections >= FEWEST
    assert "raised" in record.answer_said


def test_a_head_without_post_processing_is_proven_by_its_raw_outputs(
    ultralytics_file, tmp_path: Path
) -> None:
    path, _ = ultralytics_file("yolov8n", edit=_shy)
    options = ExportOptions(preprocess=True, witness=False, output=tmp_path / "raw.onnx")
    record = export(path, options).spec.parity
    assert record is not None
    assert record.detections == 0
    assert "raw outputs" in record.answer_said
    assert "every anchor" in record.answer_said


def test_plenty_is_compared_as_it_is(ultralytics_file, tmp_path: Path) -> None:
    path, _ = ultralytics_file("yolov8n")
    record = export(path, replace(WHOLE, output=tmp_path / "whole.onnx")).spec.parity
    assert record is not None
    assert record.detections >= FEWEST
    assert record.answer_said == ""


def test_a_wrong_post_processing_is_found_without_objects(ultralytics_file, tmp_path: Path) -> None:
    """Planted where the plain comparison sees nothing: boxes that are moved before they are suppressed."""
    path, _ = ultralytics_file("yolov8n", edit=_shy)
    options = replace(WHOLE, output=tmp_path / "whole.onnx")
    export(path, options)
    model = onnx.load(tmp_path / "whole.onnx")
    behind = [node for node in model.graph.node if node.name.startswith("postprocess/")]
    head = next(name for node in behind for name in node.input if name.startswith(NETWORK))
    first = next(i for i, node in enumerate(model.graph.node) if node.name == behind[0].name)
    for node in behind:
        node.input[:] = ["moved" if name == head else name for name in node.input]
    shift = np.zeros((1, 7, 1), np.float32)
    shift[0, 0] = 9
    model.graph.initializer.append(onnx.numpy_helper.from_array(shift, "shift"))
    model.graph.node.insert(first, onnx.helper.make_node("Add", [head, "shift"], ["moved"]))
    model.graph.node[first].name = "postprocess/planted"
    onnx.save(model, tmp_path / "moved.onnx")
    with pytest.raises(ParityError, match="raised"):
        verify(path, tmp_path / "moved.onnx", options=options)


def test_what_cannot_be_raised_is_not_called_proven(ultralytics_file, tmp_path: Path) -> None:
    path, _ = ultralytics_file("yolov8n", edit=_shy)
    options = replace(WHOLE, output=tmp_path / "whole.onnx")
    export(path, options)
    model = onnx.load(tmp_path / "whole.onnx")
    for node in model.graph.node:  # as an optimiser may name things
        for names in (node.input, node.output):
            names[:] = [f"n{name}" if name.startswith(NETWORK) else name for name in names]
    onnx.save(model, tmp_path / "renamed.onnx")
    with pytest.raises(ParityError, match="only 0 detections could be compared") as caught:
        verify(path, tmp_path / "renamed.onnx", options=options)
    assert "IMAGES" in caught.value.hint


def _dead(model: Any) -> None:
    for branch in model.model[-1].cv3:
        with torch.no_grad():
            branch[-1].weight.zero_()
            branch[-1].bias.fill_(-3e4)


def test_a_network_whose_scores_are_all_zero_is_not_proven(ultralytics_file, tmp_path: Path) -> None:
    path, _ = ultralytics_file("yolov8n", edit=_dead)
    with pytest.raises(ParityError, match="Nothing is proven"):
        export(path, replace(WHOLE, output=tmp_path / "whole.onnx"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["yolo", "yolov5", "end2end"])
def test_the_graph_raises_scores_as_the_host_does(layout: str) -> None:
    spec = _head_spec(layout)
    shape = (1, 4 + 3 + 2, 20) if layout == "yolo" else (1, 20, (6 if layout == "end2end" else 5 + 3) + 2)
    head = np.random.default_rng(0).random(shape, np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Identity", ["images"], [f"{NETWORK}output0"], name="network"),
            onnx.helper.make_node("Identity", [f"{NETWORK}output0"], ["answers"], name="postprocess/all"),
        ],
        "any",
        [onnx.helper.make_tensor_value_info("images", 1, shape)],
        [onnx.helper.make_tensor_value_info("answers", 1, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    raised = raise_scores(model, spec, 0.125)
    found, own = ReferenceEvaluator(raised).run(None, {"images": head})
    expected = raise_detections({"output0": head}, spec, 0.125)["output0"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not np.allclose(found, head)
    np.testing.assert_array_equal(own, head)


def _head_spec(layout: Any) -> ModelSpec:
    from deploykit_runtimes.contract.spec import InputSpec, OutputSpec, Preprocess

    return ModelSpec(
        task="segment",
        family="yolo",
        variant="any",
        origin="any",
        input=InputSpec(height=32, width=32),
        preprocess=Preprocess(),
        output=OutputSpec(names=("output0",), layout=layout, mask_channels=2),
        num_classes=3,
    )


@pytest.mark.parametrize(
    ("compared", "most", "telling"), [(0, 300, False), (9, 300, False), (10, 300, True), (4, 1, True)]
)
def test_how_many_detections_are_enough(compared: int, most: int, *, telling: bool) -> None:
    spec = _head_spec("yolo")
    spec = replace(spec, output=replace(spec.output, max_det=most))
    assert AnswerDifference(images=4, detections=compared).is_telling(spec) is telling
    assert AnswerDifference(images=4).is_telling(replace(spec, task="classify"))
    assert host_spec(spec, spec).output.max_det == most
