"""Caches of engines: only from folders that nobody else could have written to, and by one user at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deploykit_runtimes import load
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import OptionError, RuntimeUnavailableError
from deploykit_runtimes.machine.engine_cache import KEY_FILE, cache_folder
from deploykit_runtimes.machine.trusted_folder import TRUST, check_trusted_file, locked, trusted_folder
from deploykit_runtimes.open import open_runner

OTHER = 65_534  # nobody
KEY: dict[str, object] = {"model": "abc"}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An engine in a cache below a parent folder."""
    tmp_path.chmod(0o755)
    with cache_folder(tmp_path / "parent" / "cache", KEY) as folder:
        (folder / "engine").write_text("code")
    return tmp_path / "parent" / "cache"


def engine(cache: Path) -> Path:
    [folder] = [path for path in cache.iterdir() if (path / KEY_FILE).is_file()]
    return folder


def loads(cache: Path) -> str:
    with cache_folder(cache, KEY) as folder:
        return (folder / "engine").read_text()


def test_it_is_made_for_its_user_alone(cache: Path) -> None:
    assert cache.stat().st_mode & 0o777 == 0o700
    assert engine(cache).stat().st_mode & 0o022 == 0
    assert loads(cache) == "code"


def test_files_written_under_a_common_umask_are_trusted(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        for _ in range(2):
            with cache_folder(tmp_path / "cache", KEY) as folder:
                (folder / "engine").write_text("code")
    finally:
        os.umask(before)
    assert (engine(tmp_path / "cache") / "engine").stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777, 0o2770])
def test_folders_that_others_may_write_to(cache: Path, mode: int) -> None:
    for folder in (cache, engine(cache)):
        before = folder.stat().st_mode
        folder.chmod(mode)
        with pytest.raises(OptionError, match=f"not trusted: others may write to .*{mode:03o}") as refused:
            loads(cache)
        assert "chmod go-w" in refused.value.hint
        folder.chmod(before)
        assert loads(cache) == "code"


@as_root
def test_what_belongs_to_somebody_else(cache: Path) -> None:
    inside = engine(cache)
    for place in (cache, inside, inside / "engine", inside / KEY_FILE, cache.parent):
        os.chown(place, OTHER, -1)
        with pytest.raises(OptionError, match=rf"not trusted: .*belongs to the user .*{OTHER}"):
            loads(cache)
        os.chown(place, 0, -1)
        assert loads(cache) == "code"


@as_root
def test_a_link_of_somebody_else(cache: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(cache)
    assert loads(link) == "code"
    os.chown(link, OTHER, -1, follow_symlinks=False)
    with pytest.raises(OptionError, match=f"link is a symbolic link of the user .*{OTHER}"):
        loads(link)


@as_root
def test_a_link_to_a_folder_of_somebody_else(cache: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to(Path("second"))  # relative
    second.symlink_to(cache.parent)
    assert loads(first / "cache") == "code"
    os.chown(cache, OTHER, -1)
    with pytest.raises(OptionError, match="belongs to the user"):
        loads(first / "cache")
    os.chown(cache, 0, -1)
    os.chown(cache.parent, OTHER, -1)
    with pytest.raises(OptionError, match="parent above it belongs to the user"):
        loads(first / "cache")


def test_parents_that_everybody_may_write_to(cache: Path) -> None:
    cache.parent.chmod(0o777)
    with pytest.raises(OptionError, match=r"everybody may write to .*parent above it"):
        loads(cache)
    cache.parent.chmod(0o1777)  # as /tmp is
    assert loads(cache) == "code"


def test_links_inside(cache: Path, tmp_path: Path) -> None:
    inside = engine(cache)
    (tmp_path / "elsewhere").write_text("other code")
    (inside / "engine").unlink()
    (inside / "engine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OptionError, match="engine in it is a symbolic link"):
        loads(cache)


def test_an_engine_that_is_a_link_to_another_folder(cache: Path, tmp_path: Path) -> None:
    inside = engine(cache)
    (tmp_path / "open").mkdir()
    inside.rename(tmp_path / "open" / "moved")
    inside.symlink_to(tmp_path / "open" / "moved")
    assert loads(cache) == "code"
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(OptionError, match="everybody may write"):
        loads(cache)


def test_circles_and_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    for name in ("circle", "file", "file/below"):
        with pytest.raises(OptionError, match=r"The cache .* cannot be (written|read)|is not a folder"):
            trusted_folder(tmp_path / name)


def test_files_that_everybody_may_write_to(cache: Path) -> None:
    file = engine(cache) / "engine"
    file.chmod(0o666)
    with pytest.raises(OptionError, match=r"others may write to .*engine"):
        loads(cache)
    with pytest.raises(OptionError, match="others may write to"):
        check_trusted_file(file)
    file.chmod(0o644)
    check_trusted_file(file)


@as_root
def test_a_file_that_a_group_may_write_to(cache: Path) -> None:
    file = engine(cache) / "engine"
    file.chmod(0o664)
    assert loads(cache) == "code"
    os.chown(file, -1, OTHER)
    with pytest.raises(OptionError, match="others may write to"):
        loads(cache)


def test_whoever_knows_better_can_say_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.chmod(0o777)
    monkeypatch.setenv(TRUST, "1")
    assert loads(cache) == "code"
    monkeypatch.setenv(TRUST, "0")
    with pytest.raises(OptionError, match="not trusted"):
        loads(cache)


@pytest.mark.parametrize("runtime", ["ov-cpu", "ort-openvino-cpu"])
def test_engines_ask_before_they_load(
    runtime: str, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"ov-cpu": "openvino", "ort-openvino-cpu": "onnxruntime_ep_openvino"}[runtime]
    pytest.importorskip(
        module, reason=f"{module} is not installed: .ci/run gives it an environment of its own"
    )
    cache = tmp_path / "cache"
    options = EngineOptions(cache=cache)
    if runtime == "ort-openvino-cpu":
        try:
            open_runner(small_model, runtime=runtime).close()
        except RuntimeUnavailableError as error:
            if "lists no device" not in str(error):
                raise
            pytest.skip("OpenVINO's execution provider lists no device here: it needs an Intel processor")
    for _ in range(2):
        open_runner(small_model, runtime=runtime, options=options).close()
    assert list(cache.iterdir())
    cache.chmod(0o777)
    with pytest.raises(OptionError, match="not trusted"):
        open_runner(small_model, runtime=runtime, options=options)


def test_tensorrt_asks_before_anything_else(small_model: Path, tmp_path: Path) -> None:
    cache = trusted_folder(tmp_path / "cache")
    cache.chmod(0o770)
    with pytest.raises(OptionError, match="not trusted"):
        open_runner(small_model, runtime="trt", options=EngineOptions(cache=cache))
    # One that nobody named, and that lies where one is looked for.
    engine = small_model.with_name("small.trt.engine")
    engine.write_bytes(b"code")
    engine.chmod(0o666)
    with pytest.raises(OptionError, match="others may write to"):
        open_runner(small_model, runtime="trt")


def test_a_built_cache_beside_the_model(small_model: Path) -> None:
    pytest.importorskip("openvino")
    built = build_engine(small_model, runtime="ov-cpu")
    cache = built.files[0].parent
    open_runner(small_model, runtime="ov-cpu").close()
    cache.chmod(0o777)
    with pytest.raises(OptionError, match="not trusted"):
        open_runner(small_model, runtime="ov-cpu")


def _enters(folder: Path, notes: Path, times: int) -> None:
    for _ in range(times):
        with locked(folder):
            (notes / "inside").mkdir()  # fails where somebody else is inside
            (notes / "inside").rmdir()


def test_one_at_a_time(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    finish([(_enters, (tmp_path, notes, 300))] * 4)


def _publishes(root: Path, number: int, times: int) -> None:
    for turn in range(times):
        with cache_folder(root, {"turn": turn}) as folder:
            if not (folder / "engine").exists():
                (folder / "engine").write_text(f"{turn}\n" * 1000)
            assert (folder / "engine").read_text() == f"{turn}\n" * 1000, number


def test_many_processes_build_and_load_in_one_folder(tmp_path: Path) -> None:
    finish([(_publishes, (tmp_path / "cache", number, 40)) for number in range(6)])
    assert len(list((tmp_path / "cache").iterdir())) == 40
    assert not list((tmp_path / "cache").glob(".*"))


def _opens(model: Path, cache: Path, wanted: np.ndarray) -> None:
    options = EngineOptions(cache=cache)
    for _ in range(3):
        with open_runner(model, runtime="ov-cpu", options=options) as runner:
            feeds = {info.name: np.zeros((1, 3, 32, 32), np.float32) for info in runner.inputs}
            np.testing.assert_allclose(next(iter(runner.infer(feeds).values())), wanted, atol=1e-4)


def _builds(model: Path) -> None:
    for _ in range(2):
        build_engine(model, runtime="ov-cpu", options=_forced())


def _forced() -> object:
    from deploykit_runtimes.build_options import BuildOptions

    return BuildOptions(force=True)


def test_openvino_s_cache_is_filled_and_read_by_many(small_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with load(small_model) as model:
        feeds = {model.runner.inputs[0].name: np.zeros((1, 3, 32, 32), np.float32)}
        wanted = next(iter(model.runner.infer(feeds).values()))
    finish([(_opens, (small_model, tmp_path / "cache", wanted))] * 3)
    # Those that read the cache beside the model, and those that replace it meanwhile.
    build_engine(small_model, runtime="ov-cpu")
    finish([(_builds, (small_model,))] * 2 + [(_opens_beside, (small_model, wanted))] * 2)
    [cache] = small_model.parent.glob("*.cache")
    assert json.loads((cache / KEY_FILE).read_text())["runtime"] == "ov-cpu"
    assert not list(small_model.parent.glob(".*"))


def _opens_beside(model: Path, wanted: np.ndarray) -> None:
    for _ in range(4):
        with open_runner(model, runtime="ov-cpu") as runner:
            feeds = {info.name: np.zeros((1, 3, 32, 32), np.float32) for info in runner.inputs}
            np.testing.assert_allclose(next(iter(runner.infer(feeds).values())), wanted, atol=1e-4)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_damaged_entry_is_compiled_again(damage: str, small_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with load(small_model) as model:
        feeds = {model.runner.inputs[0].name: np.zeros((1, 3, 32, 32), np.float32)}
        wanted = next(iter(model.runner.infer(feeds).values()))
    finish([(_opens, (small_model, tmp_path / "cache", wanted))])
    for entry in (tmp_path / "cache").iterdir():
        content = entry.read_bytes()
        entry.write_bytes(
            {"cut": content[: len(content) // 2], "garbage": os.urandom(len(content)), "empty": b""}[damage]
        )
    finish([(_opens, (small_model, tmp_path / "cache", wanted))])


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    """A convolution over pictures of 32 x 32 pixels."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.random.default_rng(0).random((4, 3, 3, 3), dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logits"]),
        ],
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder = tmp_path / "models"
    folder.mkdir()
    save(model, folder / "small.onnx")
    return folder / "small.onnx"


def finish(calls: list[tuple[Callable[..., None], tuple[object, ...]]]) -> None:
    """Run each call in a process of its own, all at once; none may fail."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=call, args=arguments) for call, arguments in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * len(processes)
