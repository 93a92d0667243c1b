from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import deploykit_runtimes
import numpy as np
import onnx
import pytest
from deploykit_runtimes import load
from deploykit_runtimes.answers.decode import activate
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.ort.ranking import RANKED, RANKING
from deploykit_runtimes.ort.runner import OrtRunner
from deploykit_runtimes.runner import CheckedFeeds
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from onnx import TensorProto, helper

CLASSES = 12
SPEC = ModelSpec(
    task="classify",
    family="any",
    variant="pixels",
    origin="any",
    input=InputSpec(height=2, width=2, dynamic={"batch": AxisRange(min=1, max=8)}),
    preprocess=Preprocess(resize="stretch", resize_to=(2, 2)),
    output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
    num_classes=CLASSES,
)


def write(path: Path, spec: ModelSpec = SPEC) -> Path:
    """A classifier whose logits are its pixels."""
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], spec.output.names)],
        "pixels",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 2, 2])],
        [helper.make_tensor_value_info(spec.output.names[0], TensorProto.FLOAT, ["batch", CLASSES])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, spec_to_metadata(spec))
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> OrtRunner:
    path = write(tmp_path_factory.mktemp("ranking") / "pixels.onnx")
    found = open_runner(path)
    assert isinstance(found, OrtRunner)
    return found


def test_the_asset_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "fixtures/make_ranking.py"))
    asset = Path(deploykit_runtimes.__file__).parent / "assets/ranking.pb"
    assert asset.read_bytes() == script["piece"]().SerializeToString(deterministic=True)


@given(
    st_numpy.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.just(CLASSES)), elements=st.integers(-80, 80).map(float)
    )
)
def test_the_engine_ranks_as_the_host_does_ties_too(runner: OrtRunner, logits: np.ndarray) -> None:
    outputs, found = runner.infer_best({"images": logits.reshape(-1, 3, 2, 2)}, RANKED)
    assert found is not None
    classes, scores = found
    assert list(outputs) == ["logits"]
    expected = activate(logits, SPEC.output)
    assert np.allclose(scores, np.take_along_axis(expected, np.array(classes), 1), rtol=1e-5, atol=1e-30)
    assert np.array_equal(outputs["logits"], logits)
    for row, order in zip(logits, classes, strict=True):
        best = np.argsort(-row, kind="stable")[:RANKED]
        if row[best].min() > row.max() - 15:  # below, different logits can have equal probabilities
            assert order == best.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_left_to_the_host_and_refused(runner: OrtRunner, value: float) -> None:
    images = np.zeros((2, 3, 2, 2), np.float32)
    images[1, 2, 1, 1] = value
    outputs, found = runner.infer_best(CheckedFeeds(images=images), RANKED)
    assert found is None
    with pytest.raises(ModelError, match="NaN or infinity"):
        activate(outputs["logits"], SPEC.output)


@pytest.mark.parametrize("top_k", [1, RANKED - 1, RANKED + 1])
def test_another_number_of_classes_is_ranked_on_the_host(runner: OrtRunner, top_k: int) -> None:
    images = np.ones((2, 3, 2, 2), np.float32)
    outputs, found = runner.infer_best({"images": images}, top_k)
    assert found is None
    assert np.array_equal(outputs["logits"], images.reshape(2, CLASSES))


def test_predict_answers_the_same_with_and_without_it(tmp_path: Path) -> None:
    path = write(tmp_path / "pixels.onnx")
    photo = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    with load(path) as model, load(path, options=EngineOptions(exact=True)) as plain:
        for top_k in (None, 3, 7):
            found, expected = (each.predict([photo, 255 - photo], top_k=top_k) for each in (model, plain))
            for one, other in zip(found, expected, strict=True):
                assert [entry.class_id for entry in one.top] == [entry.class_id for entry in other.top]
                assert np.allclose([e.score for e in one.top], [e.score for e in other.top], rtol=1e-6)


def test_the_added_outputs_are_not_the_models(tmp_path: Path) -> None:
    path = write(tmp_path / "pixels.onnx")
    before = path.read_bytes()
    with load(path) as model:
        assert {node.name for node in model.runner._session.get_outputs()} == {"logits", *RANKING}
        assert [info.name for info in model.runner.outputs] == ["logits"]
        assert list(model.runner.infer({"images": np.zeros((1, 3, 2, 2), np.float32)})) == ["logits"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, output=replace(SPEC.output, activation="sigmoid")),
        replace(SPEC, output=replace(SPEC.output, layout="probabilities", activation="none")),
        replace(SPEC, output=replace(SPEC.output, names=("scores",))),
    ],
    ids=["sigmoid", "probabilities", "another name"],
)
def test_other_heads_are_opened_as_they_are(tmp_path: Path, spec: ModelSpec) -> None:
    with load(write(tmp_path / "other.onnx", spec)) as model:
        assert len(model.predict(np.zeros((9, 9, 3), np.uint8)).top) == 5
        assert len(model.runner._session.get_outputs()) == 1
