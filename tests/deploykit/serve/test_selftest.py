"""A server runs the golden cases of a model before it says that the model is ready."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from deploykit_exporters.export import export
from deploykit_exporters.options import ExportOptions
from deploykit_runtimes.errors import ModelError, ParityError
from wrong_engines import planted

from deploykit.serve.messages import card
from deploykit.serve.metrics import Metrics
from deploykit.serve.options import ServeOptions
from deploykit.serve.repository import Repository


@pytest.fixture(scope="module")
def right(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "right.onnx"
    export(golden / "crossformer" / "crossformer.pth", ExportOptions(output=path, witness=False))
    return path


@pytest.fixture
def served(right: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(right, tmp_path / "model.onnx"))


async def started(path: Path, **options: object) -> Repository:
    repository = Repository({"model": path}, ServeOptions(poll_s=0, **options))
    try:
        await repository.start()
    except BaseException:
        await repository.close()
        raise
    return repository


def test_a_right_model_is_ready_and_says_so(served: Path) -> None:
    async def go() -> None:
        repository = await started(served)
        model = repository.get("model")
        assert model.tested is not None
        assert model.tested.ok
        shown = card(model)["selftest"]
        assert shown["ok"]
        assert len(shown["cases"]) >= 4
        line = 'deploykit_model_selftest_cases{judged_by="fp32",model="model",version="1"} '
        assert f"{line}{float(len(shown['cases']))}" in Metrics(repository).render().decode()
        await repository.close()

    asyncio.run(go())


def test_a_wrong_model_is_not_served(right: Path, served: Path) -> None:
    planted(right, "one weight", served)

    async def go() -> None:
        with pytest.raises(ParityError, match="off by"):
            await started(served)
        repository = await started(served, selftest=False)
        assert repository.get("model").tested is None
        await repository.close()

    asyncio.run(go())


def test_a_wrong_file_does_not_take_the_place_of_a_right_one(right: Path, served: Path) -> None:
    async def go() -> None:
        repository = await started(served)
        planted(right, "channel order", served)
        with pytest.raises(ModelError, match="self-test failed"):
            await repository.load("model")
        assert repository.get("model").version == "1"
        assert "self-test failed" in repository.state("model").failure
        await repository.close()

    asyncio.run(go())
