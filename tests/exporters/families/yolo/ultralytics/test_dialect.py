"""Ultralytics checkpoints, against the package's own forward and against ONNX Runtime."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.yolo.ultralytics import dialect as yolo_ultralytics
from deploykit_exporters.graph.onnx_export import export_graph
from deploykit_exporters.proof.tensors import compare
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import DependencyError
from torch import nn

TASKS = ("", "-seg", "-pose", "-obb", "-cls")
MODELS = (
    "yolov3-tiny",
    "yolov5n",
    "yolov6n",
    "yolov8n-p6",
    "yolov9t",
    "yolov10n",
    "yolo12n",
    *(f"yolov8n{task}" for task in TASKS),
    *(f"yolo11n{task}" for task in TASKS),
    *(f"yolo26n{task}" for task in TASKS),
)
SIZES = ((1, 3, 128, 128), (2, 3, 128, 192))


def build(path: Path, **hints: Any) -> BuiltModel:
    checkpoint = read_checkpoint(path)
    return build_checkpoint(checkpoint, **hints)


def build_checkpoint(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = yolo_ultralytics.match(checkpoint)
    assert match is not None
    return yolo_ultralytics.build(checkpoint, match, Hints(**hints))


def dynamic_spec(built: BuiltModel) -> ModelSpec:
    return dataclasses.replace(
        built.spec, input=dataclasses.replace(built.spec.input, dynamic=dict(built.axes))
    )


def run(module: nn.Module | None, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    assert module is not None
    with torch.inference_mode():
        outputs: Any = module(images)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def own_forward(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What Ultralytics' predictor gets from its model."""
    outputs: Any = run(model, images)[0]
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.mark.parametrize("name", MODELS)
def test_module_equals_ultralytics(name: str, ultralytics_file: Callable[..., Any]) -> None:
    path, model = ultralytics_file(name)
    built = build(path)
    for shape in SIZES:
        images = torch.rand(shape, generator=torch.Generator().manual_seed(shape[0]))
        expected = own_forward(model, images)
        for want, have in zip(expected, run(built.module, images), strict=True):
            assert (want - have).abs().max() <= 1e-5 * want.abs().max()
        outputs = dict(zip(built.spec.output.names, run(built.exportable, images), strict=True))
        references = dict(zip(built.spec.output.names, expected, strict=True))
        for group in built.groups:
            difference = compare(references[group.output].numpy(), outputs[group.output].numpy(), group)
            assert difference.max_rel <= 1e-5, group


@pytest.mark.parametrize(
    "name",
    [
        "yolov8n",
        "yolov8n-pose",
        "yolov8n-cls",
        "yolov10n",
        "yolo11n-seg",
        "yolo11n-obb",
        "yolo12n",
        "yolo26n",
    ],
)
def test_onnx_equals_module_at_every_size(name: str, ultralytics_file: Callable[..., Any]) -> None:
    import onnxruntime

    built = build(ultralytics_file(name)[0])
    spec = dynamic_spec(built)
    assert built.exportable is not None
    graph = export_graph(built.exportable, spec, exporter=built.exporter, opset=18)
    operators = {node.op_type for node in graph.graph.node}
    assert not operators & {"NonZero", "Loop", "If", "ScatterND"}
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 320, 320), (1, 3, 256, 416), (2, 3, 128, 160)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(shape[2]))
        expected = dict(zip(spec.output.names, run(built.module, images), strict=True))
        found = dict(zip(spec.output.names, session.run(None, {"images": images.numpy()}), strict=True))
        for group in built.groups:
            difference = compare(expected[group.output].numpy(), found[group.output], group)
            assert difference.max_rel <= 1e-5, (shape, group)


@pytest.mark.parametrize("form", ["8.4", "8.3", "export"])
def test_segmentation_heads_of_every_release_give_predictions_and_protos(form: str) -> None:
    from deploykit_exporters.families.yolo.ultralytics.network import YoloNetwork

    predictions, protos, rest = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)
    outputs: Any = {
        "8.4": ((predictions, protos), rest),
        "8.3": (predictions, (rest, rest, protos)),
        "export": (predictions, protos),
    }[form]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            head = nn.Identity()
            head.proto = nn.Identity()
            self.model = nn.Sequential(head)

        def forward(self, _: torch.Tensor) -> Any:
            return outputs

    assert run(YoloNetwork(Network()), torch.zeros(1)) == (predictions, protos)


def test_detections_exist(ultralytics_file: Callable[..., Any]) -> None:
    """The comparisons above mean something: the heads answer with different scores and classes."""
    rows = run(build(ultralytics_file("yolo26n")[0]).module, torch.rand(1, 3, 160, 160))[0][0]
    assert rows[0, 4] > 0.3
    assert len(set(rows[:, 4].tolist())) > 250
    assert len(set(rows[:, 5].tolist())) > 1


def test_end_to_end_heads_at_sizes_with_few_anchors(ultralytics_file: Callable[..., Any]) -> None:
    """One graph, traced with 525 anchors, selects 300 of many and all of few."""
    import onnxruntime

    built = build(ultralytics_file("yolo26n")[0])
    assert built.exportable is not None
    graph = export_graph(built.exportable, dynamic_spec(built), exporter=built.exporter, opset=18)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for size, rows in (((32, 160), 105), ((64, 64), 84), ((128, 128), 300), ((32, 640), 300)):
        images = torch.rand(2, 3, *size)
        want = run(built.module, images)[0].numpy()
        have = session.run(None, {"images": images.numpy()})[0]
        assert have.shape == (2, rows, 6)
        assert compare(want, have, built.groups[0]).max_rel <= 1e-5


def test_branch_that_answers_is_end_to_end_whatever_validation_left(
    ultralytics_file: Callable[..., Any],
) -> None:
    def validated(model: Any) -> None:
        model.end2end = False  # as the validator of 8.4 leaves the EMA model

    built = build(ultralytics_file("yolo26n", edit=validated)[0])
    assert built.spec.output.layout == "end2end"


def test_match_needs_a_module_of_ultralytics(ultralytics_file: Callable[..., Any]) -> None:
    checkpoint = read_checkpoint(ultralytics_file("yolov8n")[0])
    found = yolo_ultralytics.match(checkpoint)
    assert found is not None
    assert (found.family, found.origin, found.score) == ("yolo", "ultralytics", 1.0)
    assert yolo_ultralytics.match(dataclasses.replace(checkpoint, module=object())) is None


def test_a_distillation_that_has_not_ended_is_refused(
    ultralytics_file: Callable[..., Any], tmp_path: Path
) -> None:
    from deploykit_runtimes.errors import CheckpointError
    from ultralytics.nn.distill_model import DistillationModel

    _, model = ultralytics_file("yolov8n")
    wrapped = DistillationModel.__new__(DistillationModel)
    nn.Module.__init__(wrapped)
    wrapped._teacher_feats, wrapped._student_feats = {}, {}
    wrapped.student_model = model
    torch.save({"ema": wrapped, "model": None}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="a distillation that has not ended") as refused:
        build(tmp_path / "last.pt")
    assert "strip_optimizer" in refused.value.hint


def test_missing_ultralytics_names_the_extra_and_its_licence(
    ultralytics_file: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_checkpoint(ultralytics_file("yolov8n")[0])
    monkeypatch.setitem(sys.modules, "ultralytics.nn.tasks", None)
    with pytest.raises(DependencyError, match=r"AGPL-3\.0") as caught:
        build_checkpoint(checkpoint)
    assert "pip install 'deploykit[yolo]'" in caught.value.hint
