"""The facade: what it takes besides the exact types, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import deploykit_exporters.export
import numpy as np
import pytest
from deploykit_exporters.options import ExportKeywords
from deploykit_runtimes.errors import InputError, ModelError, OptionError
from PIL import Image

import deploykit
from deploykit import api
from deploykit.checkup.tiny import tiny_model


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    target = checkpoint.parent / "new" / "model.onnx"
    names = ["ant", "bee", "crow"]
    return deploykit.export(str(checkpoint), str(target), dynamic="batch", imgsz="48", labels=names).path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[deploykit.ExportOptions]:
    """The options that reach the export, which is not run."""
    seen: list[deploykit.ExportOptions] = []
    monkeypatch.setattr(deploykit_exporters.export, "export", lambda _, options, **__: seen.append(options))
    return seen


def test_every_name_is_there_and_told() -> None:
    assert set(deploykit.__all__) == set(dir(deploykit))
    for name in deploykit.__all__:
        assert getattr(deploykit, name) is not None
    assert set(api.__all__) <= set(deploykit.__all__)


def test_the_server_is_told_before_it_is_imported() -> None:
    script = "import sys, deploykit; print('serve' in dir(deploykit), 'deploykit.serve' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "True False\n"
    assert deploykit.serve.running is not None


def test_every_option_is_a_keyword_of_the_same_name() -> None:
    names = {field.name for field in fields(deploykit.ExportOptions)}
    assert set(ExportKeywords.__annotations__) | {"output", "precision", "calib"} == names


def test_export_in_everyday_words(exported: Path) -> None:
    with deploykit.load(exported) as model:
        assert set(model.spec.input.dynamic) == {"batch"}
        assert (model.spec.input.height, model.spec.input.width) == (48, 48)
        assert model.spec.classes == ("ant", "bee", "crow")


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({"dynamic": True}, "dynamic", ("all",)),
        ({"dynamic": "height,width"}, "dynamic", ("height", "width")),
        ({"dynamic": ["batch"]}, "dynamic", ("batch",)),
        ({"dynamic": False}, "dynamic", ()),
        ({"imgsz": 64}, "imgsz", (64, 64)),
        ({"imgsz": "64x96"}, "imgsz", (64, 96)),
        ({"imgsz": [64, np.int64(96)]}, "imgsz", (64, 96)),
        ({"batch": 4, "opset": 19}, "batch", 4),
        ({"features": True}, "features", True),
    ],
)
def test_values_in_other_forms(
    settings: dict, field: str, value: object, checkpoint: Path, asked: list[deploykit.ExportOptions]
) -> None:
    deploykit.export(checkpoint, **settings)
    assert getattr(asked[0], field) == value


def test_what_is_given_wins_over_the_options(checkpoint: Path, asked: list[deploykit.ExportOptions]) -> None:
    options = deploykit.ExportOptions(dynamic=("batch",), opset=19, output="a.onnx")
    deploykit.export(checkpoint, "b.onnx", options=options, dynamic=False)
    assert asked == [deploykit.ExportOptions(opset=19, output=Path("b.onnx"))]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dynamic": "bach"}, "Did you mean batch?"),
        ({"dynamics": True}, "export() has no option 'dynamics'"),
        ({"dynamics": True}, "Did you mean dynamic?"),
        ({"exporter": "magic"}, "torchscript, dynamo"),
        ({"imgsz": "small"}, "H or H,W"),
        ({"imgsz": True}, "found True"),
        ({"options": {"batch": 2}}, "found dict"),
    ],
)
def test_other_values_are_refused(settings: dict, expected: str, checkpoint: Path) -> None:
    with pytest.raises(OptionError) as caught:
        deploykit.export(checkpoint, **settings)
    assert expected in str(caught.value)


@pytest.mark.parametrize("operation", [deploykit.export, deploykit.inspect])
def test_no_checkpoint_at_all(operation: Callable[[object], object]) -> None:
    with pytest.raises(OptionError, match="found None"):
        operation(None)


def test_what_is_neither_file_nor_module_is_refused_in_a_few_words(checkpoint: Path, exported: Path) -> None:
    import torch

    weights = torch.load(checkpoint)
    operations: list[Callable[[object], object]] = [
        deploykit.export,
        deploykit.inspect,
        lambda one: deploykit.verify(one, exported),
    ]
    models: list[Callable[[object], object]] = [
        deploykit.load,
        deploykit.bench,
        lambda one: deploykit.verify(checkpoint, one),
    ]
    for given, found, calls in (
        (weights, "an OrderedDict of", models),
        ({"model": weights}, "a dict of 1 entry", models),
        (torch.nn.Linear(3, 3), "a torch Linear", models),
        (torch.zeros(1000), "a torch Tensor of shape (1000,)", operations + models),
        (torch.nn.Linear, "a type", operations + models),
        (b"PK", "b'PK'", operations + models),
        (["best.pt"], "['best.pt']", operations + models),
        ("", "''", operations + models),
    ):
        for call in calls:
            with pytest.raises(OptionError) as caught:
                call(given)
            assert found in str(caught.value)
            assert len(str(caught.value)) < 300
            assert caught.value.hint


def test_what_torch_loaded_is_exported(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    result = deploykit.export(torch.load(checkpoint), tmp_path / "model.onnx", torch.zeros(2, 3, 48, 48))
    assert (result.spec.source, result.spec.input.batch) == ("weights in memory", 2)
    assert (result.spec.input.height, result.spec.input.width) == (48, 48)
    found = deploykit.inspect(torch.load(checkpoint))
    assert str(found.path) == "weights in memory"
    assert len(repr(found)) < 300
    with pytest.raises(OptionError, match="weights in memory is a checkpoint"):
        deploykit.inspect(torch.load(checkpoint), outputs="yolo")


def test_progress_of_an_export(checkpoint: Path, tmp_path: Path) -> None:
    told: list[str] = []
    deploykit.export(checkpoint, tmp_path / "model.onnx", report=told.append)
    assert told[0] == "Reading the checkpoint"
    assert len(told) > 3


def test_a_model_is_called_as_others_are(
    exported: Path, tmp_path: Path, photos: dict[str, np.ndarray]
) -> None:
    Image.fromarray(photos["cat_small"]).save(tmp_path / "cat.png")
    with deploykit.load(exported, device="cpu") as model:
        result = model(tmp_path / "cat.png")
        assert isinstance(result, deploykit.Classification)
        assert [entry.name for entry in result] == [row["name"] for row in result.rows()]
        assert len(result) == 3
        assert result.save(tmp_path / "drawn.png") == tmp_path / "drawn.png"
        assert result.source == str(tmp_path / "cat.png")
        flipped = photos["cat_small"][..., ::-1]
        assert model(flipped, bgr=True).rows() == model(photos["cat_small"]).rows()
        assert [one.source for one in model(tmp_path)] == [
            str(tmp_path / f"{name}.png") for name in ("cat", "drawn")
        ]


def test_reprs_are_short(exported: Path, checkpoint: Path) -> None:
    with deploykit.load(exported) as model:
        shown = [model, model.spec, deploykit.inspect(exported), deploykit.inspect(checkpoint)]
    shown += [
        deploykit.verify(checkpoint, exported),
        deploykit.ExportOptions(batch=2),
        deploykit.EngineOptions(),
    ]
    for one in shown:
        assert repr(one).startswith(f"{type(one).__name__}(")
        assert "\n" not in repr(one)
        assert len(repr(one)) < 400, repr(one)
    assert repr(deploykit.ExportOptions(batch=2)) == "ExportOptions(batch=2)"
    assert repr(deploykit.EngineOptions()) == "EngineOptions()"
    assert repr(model.spec).endswith(": classify, 3 classes, images float32 [batch, 3, 48, 48])")


@pytest.mark.parametrize("labels", [{0: "ant", 1: "bee", 2: "crow"}, {"2": "crow", "0": "ant", "1": "bee"}])
def test_labels_by_their_index(labels: dict, checkpoint: Path, asked: list[deploykit.ExportOptions]) -> None:
    deploykit.export(checkpoint, labels=labels)
    assert asked[0].labels == ("ant", "bee", "crow")
    with pytest.raises(OptionError, match="wants the indices 0 to 1, found 0, 2"):
        deploykit.export(checkpoint, labels={0: "ant", 2: "crow"})


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda c, m: deploykit.export(c, names=["a"]),
            "export() names labels",
        ),
        (
            lambda c, m: deploykit.inspect(c, ouputs="x"),
            "inspect() ouputs outputs or output",
        ),
        (lambda c, m: deploykit.verify(c, m, image="a.png"), "verify() image images or imgsz"),
        (
            lambda c, m: deploykit.bench(m, runtime="ort-cpu"),
            "bench() runtime runtimes",
        ),
        (
            lambda c, m: deploykit.load(m, devcie="cpu"),
            "load() devcie device",
        ),
        (
            lambda c, m: deploykit.load(m, provider="cpu"),
            "load() provider runtime",
        ),
        (
            lambda c, m: deploykit.load(m).predict("a.png", confidence=0.5),
            "predict() confidence conf",
        ),
        (
            lambda c, m: deploykit.record(None, "a.npz", sizes=3),
            "record() sizes size",
        ),
        (
            lambda c, m: deploykit.ExportOptions(dynamics=True),
            "ExportOptions dynamics dynamic",
        ),
        (
            lambda c, m: deploykit.EngineOptions(thread=1),
            "EngineOptions thread threads",
        ),
    ],
)
def test_unknown_keywords_name_the_public_function(
    call: Callable[[Path, Path], object], expected: str, checkpoint: Path, exported: Path
) -> None:
    with pytest.raises(OptionError) as caught:
        call(checkpoint, exported)
    where, given, meant = expected.split(" ", 2)
    assert str(caught.value) == f"{where} has no option {given!r}.\n  Did you mean {meant}?"


@pytest.mark.parametrize("name", ["conf", "iou", "max_det", "class_agnostic"])
def test_thresholds_of_boxes_are_refused_for_a_classifier(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    value = {"max_det": 3, "class_agnostic": True}.get(name, 0.5)
    with pytest.raises(OptionError, match="would have no effect: the model has the task classify"):
        deploykit.export(checkpoint, tmp_path / "new.onnx", **{name: value})
    assert list(tmp_path.iterdir()) == []


def test_verify_takes_one_image_or_a_folder(
    checkpoint: Path, exported: Path, tmp_path: Path, photos: dict[str, np.ndarray]
) -> None:
    Image.fromarray(photos["cat_small"]).save(tmp_path / "cat.png")
    for images in (str(tmp_path / "cat.png"), tmp_path, [tmp_path / "cat.png", tmp_path]):
        result = deploykit.verify(checkpoint, exported, images, tolerance=1e-3)
        assert result.images == (tmp_path / "cat.png",)
        assert result.parity.tolerance == pytest.approx(1e-3)
    with pytest.raises(InputError, match="does not exist"):
        deploykit.verify(checkpoint, exported, "one.jpg")


def test_inspect_a_checkpoint(checkpoint: Path) -> None:
    found = deploykit.inspect(checkpoint)
    assert isinstance(found, deploykit.CheckpointReport)
    data = json.loads(json.dumps(found.to_dict()))
    assert (data["kind"], data["path"], data["spec"]["num_classes"]) == ("checkpoint", str(checkpoint), 3)


def test_inspect_a_model(exported: Path) -> None:
    found = deploykit.inspect(str(exported))
    assert isinstance(found, deploykit.ModelReport)
    data = json.loads(json.dumps(found.to_dict()))
    assert (data["kind"], data["spec"]["classes"]) == ("model", ["ant", "bee", "crow"])
    assert data["graph"]["facts"]["operators"]["LayerNormalization"] > 0


def test_a_model_is_told_by_its_content_too(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(tiny_model())
    assert isinstance(deploykit.inspect(tmp_path / "model"), deploykit.ModelReport)
    with pytest.raises(ModelError, match="does not exist"):
        deploykit.inspect(tmp_path / "none.onnx")


def test_inspecting_a_model_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(tiny_model())
    code = (
        f"import sys, deploykit\ndeploykit.inspect({str(tmp_path / 'tiny.onnx')!r})\n"
        "sys.exit('torch was loaded' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bench_takes_one_runtime_and_one_batch(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(tiny_model())
    result = deploykit.bench(tmp_path / "tiny.onnx", runtimes="ort-cpu", batches=1, imgsz="8", seconds=0.01)
    assert [row.shape for row in result.rows] == [(1, 3, 8, 8)]
    for wrong in ({"batches": "one"}, {"batches": [0]}, {"runtimes": 3}, {"seconds": "1"}, {"imgsz": 9}):
        with pytest.raises(OptionError):
            deploykit.bench(tmp_path / "tiny.onnx", **wrong)


def test_bench_compares_with_the_checkpoint(checkpoint: Path, exported: Path) -> None:
    told: list[str] = []
    engine = deploykit.EngineOptions(threads=1, goal="throughput")
    result = deploykit.bench(
        exported, reference=checkpoint, batches=2, warmup=0, runs=2, engine=engine, report=told.append
    )
    assert [row.name for row in result.rows] == ["ort-cpu, batch 2", "torch, batch 2"]
    assert [row.placement.engine for row in result.rows] == ["onnxruntime", "torch eager"]
    assert [(row.threads, row.warmup, row.summary.runs) for row in result.rows] == [(1, 0, 2)] * 2
    assert told[0] == "Opening the model on ort-cpu"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"warmup": -1}, "warmup"),
        ({"runs": 0}, "runs"),
        ({"threads": "2"}, "threads"),
        ({"strict": "no"}, "strict"),
        ({"engine": {"threads": 1}}, "engine wants EngineOptions, found dict"),
    ],
)
def test_how_an_engine_is_opened_is_checked(
    settings: dict, expected: str, checkpoint: Path, exported: Path
) -> None:
    with pytest.raises(OptionError, match=expected):
        deploykit.bench(exported, **settings)
    if expected not in ("warmup", "runs"):
        with pytest.raises(OptionError, match=expected):
            deploykit.verify(checkpoint, exported, **settings)


def test_verify_opens_the_engine_as_told(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    engine = deploykit.EngineOptions(cache=tmp_path / "cache")
    deploykit.verify(checkpoint, exported, runtime="ov", engine=engine)
    assert list((tmp_path / "cache").iterdir())
