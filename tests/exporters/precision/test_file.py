"""Files of every family in float16: what they are, what they answer, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_exporters.precision.file import Fp16File, check_float32, fp16_path, write_fp16
from deploykit_runtimes.build_options import BuildOptions
from deploykit_runtimes.builds.build import build_engine
from deploykit_runtimes.errors import InputError, ModelError, OptionError
from deploykit_runtimes.onnx.file import read_onnx
from deploykit_runtimes.ort import rewrites
from deploykit_runtimes.ort.runner import open_ort
from deploykit_runtimes.ov import open_openvino
from deploykit_runtimes.selftest.run import self_test
from onnx import TensorProto, helper
from PIL import Image

Exported = Callable[..., Path]

_CASTS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@pytest.fixture(scope="module")
def converted(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Fp16File]:
    made: dict[tuple[str, str], Fp16File] = {}
    folder = tmp_path_factory.mktemp("float16")

    def get(family: str, form: str) -> Fp16File:
        if (family, form) not in made:
            made[family, form] = write_fp16(exported(family, form), folder / f"{family}-{form}.onnx")
        return made[family, form]

    return get


CASES = pytest.mark.parametrize(
    ("family", "form"),
    [
        ("vit", "plain"),
        ("vit", "whole"),
        ("efficientnet", "plain"),
        ("efficientnet", "dynamic"),
        ("crossformer", "plain"),
        ("detect", "plain"),
        ("detect", "whole"),
        ("segment", "dynamic"),
        ("pose", "plain"),
        ("yolo11n", "plain"),
        ("yolo26n", "dynamic"),
    ],
)


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    return found | {tensor.name: tensor.data_type for tensor in inferred.initializer}


@CASES
def test_the_products_are_float16_and_the_ends_as_they_were(
    family: str, form: str, converted: Callable[[str, str], Fp16File], exported: Exported
) -> None:
    made, before = converted(family, form), read_onnx(exported(family, form))
    after = read_onnx(made.path)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert made.size_bytes < 0.7 * made.source_bytes
    model = onnx.load(str(made.path))
    onnx.checker.check_model(model, full_check=True)
    found = types(model)
    products = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm")]
    inside = [node for node in products if not node.name.startswith(("preprocess/", "postprocess/"))]
    widened = [node.name for node in inside if found[node.input[1]] != TensorProto.FLOAT16]
    half, of = made.graph.products
    assert len(widened) <= of - half, "a product is in float32, and no line says so"
    assert len(widened) <= 0.1 * len(inside), widened
    for node in model.graph.node:
        if node.name.startswith(("preprocess/", "postprocess/")):
            kinds = {found.get(name, 0) for name in (*node.input, *node.output)}
            assert TensorProto.FLOAT16 not in kinds, node.name
    assert made.graph.casts < 40


@CASES
def test_every_engine_gives_the_checkpoints_answers(
    family: str, form: str, converted: Callable[[str, str], Fp16File]
) -> None:
    made = converted(family, form)
    assert made.spec.golden
    assert not any("fp32" in key for key in made.spec.golden)
    for opened in (open_ort, open_openvino):
        with opened(made.path) as runner:
            found = self_test(runner)
            assert found.ok, found.problem
            assert found.precision == "fp16"
            assert found.placement.precision == "fp32"  # what these compute in, on this processor


@CASES
def test_tensorrt_for_rtx_builds_it(
    family: str, form: str, converted: Callable[[str, str], Fp16File], tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    made = converted(family, form)
    options = BuildOptions(output=tmp_path / "half.engine", compute_capabilities=("8.6",))
    assert build_engine(made.path, runtime="trt-rtx", options=options).size_bytes > 10_000


def test_what_the_file_says(converted: Callable[[str, str], Fp16File], exported: Exported) -> None:
    made = converted("detect", "plain")
    record = made.spec.precision
    assert record is not None
    assert (record.compute, record.target, record.cpus, record.data_sha256) == ("fp16", "any", (), "")
    assert record.data == "the golden cases, a photo and noise"
    assert read_onnx(made.path).spec() == made.spec
    before = read_onnx(exported("detect"))
    own = {key: value for key, value in before.metadata.items() if not key.startswith("deploykit.")}
    after = read_onnx(made.path).metadata
    assert own == {key: value for key, value in after.items() if not key.startswith("deploykit.")}
    assert own["task"] == "detect"  # by which Ultralytics reads it
    data = json.loads(json.dumps(made.to_dict()))
    assert data["products"]["fp16"] == data["products"]["of"]
    assert data["share_of_budget"] <= 1


def test_a_gate_is_repeated_in_float16(
    converted: Callable[[str, str], Fp16File], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrites, "repeating_pays", lambda: True)
    with open_ort(converted("efficientnet", "plain").path) as runner:
        assert "repeat_gates" in runner.placement().rewrites
        assert self_test(runner).ok


def test_attention_sums_in_float32(converted: Callable[[str, str], Fp16File]) -> None:
    made = converted("vit", "plain")
    assert made.graph.kept[0] == "4 attentions: sums in float32, between the casts of q, k and v"
    model = onnx.load(str(made.path))
    makers = {name: node for node in model.graph.node for name in node.output}
    found = types(model)
    for softmax in (node for node in model.graph.node if node.op_type == "Softmax"):
        product = makers[softmax.input[0]]
        assert [makers[name].op_type for name in product.input] == ["Cast", "Cast"]
        assert [found[makers[name].input[0]] for name in product.input] == [TensorProto.FLOAT16] * 2
        assert found[softmax.output[0]] == TensorProto.FLOAT
    assert made.graph.casts == 4 * 4 + 2  # q, k, v and the result, and the ends


@pytest.fixture
def pictures(tmp_path: Path, photos: dict[str, np.ndarray]) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, pixels in photos.items():
        Image.fromarray(pixels).resize((96, 80)).save(folder / f"{name}.png")
    return folder


def test_pictures_are_measured_on_and_named(exported: Exported, pictures: Path, tmp_path: Path) -> None:
    paths = sorted(pictures.iterdir())
    made = write_fp16(exported("vit"), tmp_path / "vit.onnx", paths, data="pictures")
    record = made.spec.precision
    assert record is not None
    assert record.data == f"{len(paths)} pictures of pictures"
    assert len(record.data_sha256) == 64
    assert record.images >= len(paths)
    assert (record.metric, record.reference) == ("agreement", 1.0)
    assert record.accuracy >= 0.9
    assert any(f"{len(paths)} calibration pictures are few" in note for note in made.notes)


def test_broken_pictures_are_told_and_left_out(exported: Exported, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_bytes(b"no picture")
    made = write_fp16(exported("vit"), tmp_path / "vit.onnx", sorted(pictures.iterdir()))
    assert any("1 of 9 calibration pictures cannot be read: " in note for note in made.notes)


def test_without_a_picture_that_can_be_read_nothing_is_written(exported: Exported, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match="None of the 1 calibration pictures can be read"):
        write_fp16(exported("vit"), tmp_path / "half.onnx", [broken])
    assert not (tmp_path / "half.onnx").exists()


def test_float16_and_int8_files_are_refused(
    converted: Callable[[str, str], Fp16File], exported: Exported, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"is in float16 already: [\d,]+ of [\d,]+ weights"):
        write_fp16(converted("vit", "plain").path)
    model = onnx.load(str(exported("vit")))
    quantise = helper.make_node("QuantizeLinear", ["images", "step"], ["eight"])
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["eight", "step"], ["again"]))
    model.graph.node.insert(0, quantise)
    model.graph.initializer.append(helper.make_tensor("step", TensorProto.FLOAT, [], [0.1]))
    path = tmp_path / "int8.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="is quantised already: 2 nodes of QuantizeLinear, DequantizeLinear"):
        write_fp16(path)
    assert not fp16_path(path).exists()


def test_the_float32_file_is_not_replaced(exported: Exported) -> None:
    path = exported("vit")
    before = path.read_bytes()
    with pytest.raises(OptionError, match="is the float32 file itself"):
        write_fp16(path, path)
    assert path.read_bytes() == before


def test_a_folder_that_is_missing_is_made(exported: Exported, tmp_path: Path) -> None:
    made = write_fp16(exported("vit"), tmp_path / "new" / "folder" / "half.onnx")
    assert made.path.is_file()
    assert check_float32(exported("vit")).weights["float32"] > 0


def test_weights_beside_the_file(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "beside.onnx"
    onnx.save(onnx.load(str(exported("vit"))), path, save_as_external_data=True, location="beside.data")
    made = write_fp16(path)
    assert made.path == tmp_path / "beside-fp16.onnx"
    assert made.source_bytes > (tmp_path / "beside.data").stat().st_size > made.size_bytes
    with open_ort(made.path) as runner:
        assert self_test(runner).ok
    (tmp_path / "beside.data").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        write_fp16(path, tmp_path / "other.onnx")


def foreign(path: Path) -> Iterator[str]:
    model = onnx.load(str(path))
    for entry in [*model.metadata_props]:
        if entry.key.startswith("deploykit."):
            model.metadata_props.remove(entry)
    onnx.save(model, path)
    yield from (entry.key for entry in model.metadata_props)


def test_another_exporters_file_keeps_its_metadata(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(exported("detect").read_bytes())
    keys = [*foreign(path)]
    made = write_fp16(path)
    assert [*read_onnx(made.path).metadata] == keys
    assert any("Another exporter wrote the file" in note for note in made.notes)
    assert made.spec.inferred
