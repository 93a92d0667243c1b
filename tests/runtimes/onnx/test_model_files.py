"""The files that a model consists of, and copies of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.machine.scratch import in_scratch
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.onnx.model_files import copied_model, copy_model, files_of, hash_model, model_bytes
from deploykit_runtimes.open import open_runner
from onnx import TensorProto, helper, numpy_helper

Writer = Callable[..., Path]


def outside(location: str, name: str = "weight") -> TensorProto:
    """Three by three values that lie in another file."""
    tensor = numpy_helper.from_array(np.eye(3, dtype=np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return tensor


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without what is kept for a failure."""
    files = (path for path in folder.rglob("*") if path.is_file() and not in_scratch(path))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def large(write_classifier: Writer, tmp_path: Path) -> Path:
    """A classifier with its weights in a folder below its own."""
    (tmp_path / "large" / "parts").mkdir(parents=True)
    path = tmp_path / "large" / "model.onnx"
    model = onnx.load(write_classifier())
    onnx.save_model(model, path, save_as_external_data=True, location="parts/weights.bin", size_threshold=0)
    return path


def test_a_model_of_one_file(write_classifier: Writer) -> None:
    path = write_classifier()
    assert files_of(path) == (path,)
    assert hash_model(path) == sha256_of(path)
    assert model_bytes(path) == path.stat().st_size


def test_a_model_of_two_files(large: Path) -> None:
    weights = large.parent / "parts" / "weights.bin"
    assert files_of(large) == (large, weights)
    assert model_bytes(large) == large.stat().st_size + 36
    before = hash_model(large)
    assert len(before) == 64
    weights.write_bytes(bytes(36))
    assert hash_model(large) != before


def test_tensors_of_every_place_name_their_files(tmp_path: Path) -> None:
    """Of nodes, of the graphs in them and of functions; C++ reads the same names and makes the same hash."""
    folder = Path(__file__).parents[2] / "golden" / "outside"
    digest, *names = (folder / "expected.txt").read_text().split()
    assert set(names) == {f"{name}.bin" for name in ("graph", "values", "node", "branch", "function")}
    assert read_onnx(folder / "model.onnx").named == tuple(names)
    assert hash_model(folder / "model.onnx") == digest
    copy_model(folder / "model.onnx", tmp_path / "copy" / "model.onnx")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"model.onnx", *names}


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "parts/../../weights.bin"])
def test_files_elsewhere_are_refused(location: str, write_classifier: Writer, tmp_path: Path) -> None:
    model = onnx.load(write_classifier())
    model.graph.initializer[0].CopyFrom(outside(location))
    path = tmp_path / "deep" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(model.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(bytes(36))
    for use in (files_of, hash_model, lambda path: copy_model(path, tmp_path / "copy" / "model.onnx")):
        with pytest.raises(ModelError, match="outside of its folder"):
            use(path)
    assert not (tmp_path / "copy").exists()


def test_a_copy_answers_as_the_model_does(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "copy.onnx"
    assert copy_model(large, target) == (target, target.parent / "parts" / "weights.bin")
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    with open_runner(large) as one, open_runner(target) as other:
        np.testing.assert_array_equal(
            one.infer({"images": images})["logits"], other.infer({"images": images})["logits"]
        )
    assert contents(tmp_path / "new").keys() == {"copy.onnx", "parts/weights.bin"}
    assert copy_model(large, large) == files_of(large), "onto itself"


def test_a_compiled_part_is_copied_too(tmp_path: Path) -> None:
    node = helper.make_node(
        "EPContext", ["a"], ["b"], domain="com.microsoft", embed_mode=0, ep_cache_context="model.engine"
    )
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "ab"]
    graph = helper.make_graph([node], "compiled", values[:1], values[1:])
    (tmp_path / "context.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError, match=r"model\.engine does not exist"):
        copy_model(tmp_path / "context.onnx", tmp_path / "copy" / "context.onnx")
    (tmp_path / "model.engine").write_bytes(b"plan")
    copy_model(tmp_path / "context.onnx", tmp_path / "copy" / "context.onnx")
    assert (tmp_path / "copy" / "model.engine").read_bytes() == b"plan"


def test_what_was_there_stays_when_the_block_raises(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "built" / "model.onnx"
    with pytest.raises(ValueError, match="no"), copied_model(large, target):
        assert contents(tmp_path / "built") == contents(large.parent)
        raise ValueError("no")
    assert not (tmp_path / "built").exists()
    copy_model(large, target)
    before = contents(tmp_path / "built")
    (large.parent / "parts" / "weights.bin").write_bytes(bytes(36))
    with pytest.raises(KeyboardInterrupt), copied_model(large, target):
        assert contents(tmp_path / "built") == contents(large.parent) != before
        raise KeyboardInterrupt
    assert contents(tmp_path / "built") == before
    assert not any(in_scratch(path) for path in tmp_path.rglob("*"))


def test_a_copy_that_fails_half_way_leaves_nothing(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploykit_runtimes import files

    copy = files.copy_file

    def full(source: Path, target: Path) -> None:
        if source.name == "weights.bin":
            raise OSError(28, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(files, "copy_file", full)
    with pytest.raises(OSError, match=r"No space left on device.*weights\.bin"):
        copy_model(large, tmp_path / "new" / "model.onnx")
    assert not (tmp_path / "new").exists()


def test_weights_of_another_model_are_not_replaced(large: Path, tmp_path: Path) -> None:
    copy_model(large, tmp_path / "new" / "one.onnx")
    copy_model(large, tmp_path / "new" / "two.onnx")  # the same weights serve both
    (large.parent / "parts" / "weights.bin").write_bytes(bytes(36))
    before = contents(tmp_path / "new")
    with pytest.raises(OptionError, match=r"weights\.bin belongs to one\.onnx") as caught:
        copy_model(large, tmp_path / "new" / "three.onnx")
    assert "another folder" in caught.value.hint
    assert contents(tmp_path / "new") == before


def test_a_copy_is_not_called_as_its_weights_are(large: Path, tmp_path: Path) -> None:
    model = onnx.load(large)
    path = tmp_path / "flat.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    with pytest.raises(ModelError, match="the name that the copy would have"):
        copy_model(path, tmp_path / "new" / "model.onnx.data")
    assert not (tmp_path / "new").exists()
