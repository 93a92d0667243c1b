"""Real models in a repository: what they answer, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes import load
from deploykit_runtimes.errors import InputError, ModelError, OptionError

from deploykit.protocol.errors import NotFoundError, NotReadyError, RequestTimeoutError, TooLargeError
from deploykit.serve import messages
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository


def serving(
    models: dict[str, Path], go: Callable[[Repository], Awaitable[None]], **options: object
) -> list[str]:
    """Run a coroutine with a started repository; what it told."""
    told: list[str] = []

    async def run() -> None:
        repository = Repository(models, ServeOptions(**options), on_event=told.append)
        await repository.start()
        try:
            await go(repository)
        finally:
            await repository.close()

    asyncio.run(run())
    return told


@pytest.fixture
def tensor() -> np.ndarray:
    return np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)


@pytest.mark.parametrize("options", [{}, {"max_batch": 4, "instances": 1}, {"threads": 1}])
def test_tensors_get_the_session_s_answers(
    classifier: Path, tensor: np.ndarray, options: dict[str, object]
) -> None:
    wanted = load(classifier).runner.infer({"images": tensor})["logits"]

    async def go(repository: Repository) -> None:
        model = repository.get("tiny")
        rows = [{"images": tensor[n % 2 : n % 2 + 1]} for n in range(12)]
        answers = await asyncio.gather(*(model.infer(feeds) for feeds in rows))
        for n, answer in enumerate(answers):
            np.testing.assert_allclose(answer.outputs["logits"], wanted[n % 2 : n % 2 + 1], atol=1e-5)
            assert answer.version == "1"
        both = await model.infer({"images": tensor})
        np.testing.assert_allclose(both.outputs["logits"], wanted, atol=1e-5)
        counts = model.statistics.to_dict()
        assert counts["inference_count"] == 14
        assert counts["inference_stats"]["success"]["count"] == 13
        assert (
            sum(batch["compute_infer"]["count"] for batch in counts["batch_stats"])
            == counts["execution_count"]
        )

    serving({"tiny": classifier}, go, **options)


def test_pictures_get_the_answers_of_predict(classifier: Path, picture: bytes) -> None:
    wanted = load(classifier).predict(picture, top_k=2)

    async def go(repository: Repository) -> None:
        answer = await repository.get("tiny").predict([picture, picture], top_k=2)
        for result in answer.results:
            assert [entry.name for entry in result.top] == [entry.name for entry in wanted.top]
            np.testing.assert_allclose(
                [entry.score for entry in result.top], [entry.score for entry in wanted.top], atol=1e-6
            )
        assert set(answer.timing_ms) == {"decode", "preprocess", "queue", "infer", "postprocess", "total"}
        assert answer.pictures[0].size == (96, 64)

    serving({"tiny": classifier}, go)


def test_what_does_not_fit_is_refused_and_the_next_request_answered(
    classifier: Path, tensor: np.ndarray, picture: bytes
) -> None:
    async def go(repository: Repository) -> None:
        model = repository.get("tiny")
        for feeds in (
            {},
            {"images": tensor[:, :1]},
            {"images": tensor.astype(np.float64)},
            {"image": tensor},
        ):
            with pytest.raises(InputError):
                await model.infer(feeds)
        answer = await model.infer({"images": np.full_like(tensor, np.nan)})  # as load generators send
        assert np.isnan(answer.outputs["logits"]).all()
        with pytest.raises(InputError, match="not a picture of a known format"):
            await model.predict([picture, b"not a picture"])
        with pytest.raises(OptionError):
            await model.predict([picture], conf=2.0)
        with pytest.raises(TooLargeError, match="at most 2 pictures"):
            await model.predict([picture] * 3)
        with pytest.raises(RequestTimeoutError):
            await model.infer({"images": tensor}, timeout=1e-9)
        assert model.statistics.to_dict()["inference_stats"]["fail"]["count"] == 7
        assert (await model.infer({"images": tensor})).outputs["logits"].shape == (2, 3)
        assert model.in_flight == model.waiting == 0

    serving({"tiny": classifier}, go, max_images=2)


def test_a_picture_of_too_many_pixels_is_not_decoded(classifier: Path, picture: bytes) -> None:
    async def go(repository: Repository) -> None:
        with pytest.raises(TooLargeError, match="found 96x64"):
            await repository.get("tiny").predict([picture])

    serving({"tiny": classifier}, go, max_pixels=96 * 64 - 1)


def test_unknown_names_and_versions(classifier: Path) -> None:
    async def go(repository: Repository) -> None:
        for name, version in (("Tiny", ""), ("../tiny", ""), ("tiny", "2"), ("tiny", "../1")):
            with pytest.raises(NotFoundError):
                repository.get(name, version)
        assert repository.get("tiny", "1") is repository.get("tiny")
        with pytest.raises(NotFoundError):
            await repository.load(str(classifier))

    serving({"tiny": classifier}, go)


def test_unloading_and_loading(classifier: Path, tensor: np.ndarray) -> None:
    async def go(repository: Repository) -> None:
        model = repository.get("tiny")
        answer = asyncio.create_task(model.infer({"images": tensor}))
        await asyncio.sleep(0)
        await repository.unload("tiny")
        assert (await answer).version == "1"
        with pytest.raises(NotReadyError, match="unloaded"):
            repository.get("tiny")
        assert not repository.ready
        assert [state.state for state in repository.index()] == ["UNAVAILABLE"]
        assert repository.index(ready=True) == []
        await repository.load("tiny")
        assert repository.ready
        assert (await repository.get("tiny").infer({"images": tensor})).version == "2"

    told = serving({"tiny": classifier}, go)
    assert [text.split(" from ")[0] for text in told] == [
        "loaded tiny version 1",
        "unloaded tiny version 1",
        "loaded tiny version 2",
    ]


def test_a_changed_file_replaces_the_model_without_a_lost_request(
    classifier: Path, other_classifier: Path, tensor: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(classifier, path)
    wanted = {
        version: load(file).runner.infer({"images": tensor})["logits"]
        for version, file in (("1", classifier), ("2", other_classifier))
    }
    assert np.abs(wanted["1"] - wanted["2"]).max() > 1e-2

    async def go(repository: Repository) -> None:
        seen = set()
        draft = tmp_path / "draft"
        shutil.copy(other_classifier, draft)
        os.replace(draft, path)
        for _ in range(20_000):
            answer = await repository.get("model").infer({"images": tensor})
            np.testing.assert_allclose(answer.outputs["logits"], wanted[answer.version], atol=1e-5)
            seen.add(answer.version)
            if "2" in seen:
                break
        assert seen == {"1", "2"}

    serving({"model": path}, go, poll_s=0.05)


def test_a_broken_new_file_leaves_the_old_model(classifier: Path, tensor: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(classifier, path)

    async def go(repository: Repository) -> None:
        path.write_bytes(b"no model at all")
        with pytest.raises(ModelError):
            await repository.load("model")
        assert repository.ready
        assert (await repository.get("model").infer({"images": tensor})).version == "1"
        (state,) = repository.index()
        assert state.state == "READY"
        assert "model.onnx" in state.reason

    serving({"model": path}, go, poll_s=0.0)


def test_what_is_no_model_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(ModelError):
        serving({"model": path}, lambda _: asyncio.sleep(0))


def test_what_the_server_tells_of_a_model(classifier: Path, tensor: np.ndarray) -> None:
    async def go(repository: Repository) -> None:
        model = repository.get("tiny")
        assert messages.model_metadata(model)["inputs"] == [
            {"name": "images", "datatype": "FP32", "shape": [-1, 3, 32, 32]}
        ]
        config = messages.model_config(model)
        assert config["max_batch_size"] == model.spec.input.dynamic["batch"].max
        assert config["input"] == [{"name": "images", "data_type": "TYPE_FP32", "dims": [3, 32, 32]}]
        assert config["output"] == [{"name": "logits", "data_type": "TYPE_FP32", "dims": [3]}]
        assert config["instance_group"] == [{"name": "tiny", "kind": "KIND_CPU", "count": model.instances}]
        assert config["dynamic_batching"] == {"preferred_batch_size": [1]}
        card = messages.card(model)
        assert (card["max_batch"], card["shared_batch"]) == (config["max_batch_size"], 1)
        assert card["classes"] == ["cat", "dog", "bird"]
        assert card["parity"]["max_rel"] <= card["parity"]["tolerance"]
        assert card["placement"]["device"] == "cpu"
        await model.infer({"images": tensor})
        (numbers,) = messages.statistics(repository, "tiny")["model_stats"]
        assert (numbers["name"], numbers["version"], numbers["inference_count"]) == ("tiny", "1", 2)
        assert messages.statistics(repository)["model_stats"] == [numbers]
        assert "statistics" in messages.server_metadata()["extensions"]

    serving({"tiny": classifier}, go)
