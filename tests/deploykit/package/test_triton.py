"""Triton repositories, parsed into NVIDIA's own ModelConfig message and compared with the ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from deploykit_runtimes.contract.spec import AxisRange
from deploykit_runtimes.errors import ModelError, OptionError
from google.protobuf import text_format

from deploykit.package import package

model_config_pb2 = pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="tritonclient[grpc] is not installed"
)

Export = Callable[..., Path]
TYPES = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.INT32: "TYPE_INT32",
    onnx.TensorProto.INT64: "TYPE_INT64",
}
EXPORTS = {
    "fixed": {},
    "batch": {"dynamic": "batch"},
    "all axes": {"dynamic": True},
    "self-contained": {"dynamic": "batch", "preprocess": True, "postprocess": True},
    "raw images, fixed": {"preprocess": True},
}


def read_config(folder: Path, name: str) -> model_config_pb2.ModelConfig:
    """The configuration, refused by protobuf if it names a field or value that Triton does not have."""
    return text_format.Parse((folder / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({}, " --compute tf32"),
        ({"device": "cpu"}, "/v2/models/cat"),
        ({"tensorrt": True}, " --compute tf32"),
        ({"tensorrt": True, "precision": "fp16"}, " --compute fp16"),
    ],
)
def test_the_golden_cases_can_be_sent_to_the_server(
    options: dict[str, object], end: str, export_vit: Export, tmp_path: Path
) -> None:
    made = package("triton", f"cat={export_vit(dynamic='batch')}", tmp_path / "repository", **options)
    command = made.commands[-1]
    file = tmp_path / "repository" / "cat" / "1" / "model.onnx"
    assert command.startswith(f"deploykit selftest {file} --url http://localhost:8000/v2/models/cat")
    assert command.endswith(end)
    assert file.is_file()


def type_name(number: int) -> str:
    return str(model_config_pb2.DataType.Name(number))


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("tensorrt", [False, True])
def test_the_configuration_is_that_of_the_file(
    kind: str, tensorrt: bool, export_vit: Export, tmp_path: Path
) -> None:
    path = export_vit(**EXPORTS[kind])
    package("triton", f"cat={path}", tmp_path / "repository", tensorrt=tensorrt)
    copied = tmp_path / "repository" / "cat" / "1" / "model.onnx"
    assert copied.read_bytes() == path.read_bytes()
    config = read_config(tmp_path / "repository", "cat")
    assert (config.name, config.platform, config.backend) == ("cat", "onnxruntime_onnx", "onnxruntime")
    graph = onnx.load(copied).graph
    batched = config.max_batch_size > 0
    assert batched == ("dynamic" in EXPORTS[kind])
    for declared, found in ((config.input, graph.input), (config.output, graph.output)):
        assert [tensor.name for tensor in declared] == [value.name for value in found]
        for tensor, value in zip(declared, found, strict=True):
            assert type_name(tensor.data_type) == TYPES[value.type.tensor_type.elem_type]
            shape = [axis.dim_value or -1 for axis in value.type.tensor_type.shape.dim]
            assert list(tensor.dims) == (shape[1:] if batched else shape)
            assert not tensor.HasField("reshape")
            # The backend's rule for batching: the first axis of every tensor is free.
            assert not batched or shape[0] == -1
    check_profile(config, graph, tensorrt)
    check_warmup(config, batched)


def check_profile(config: model_config_pb2.ModelConfig, graph: onnx.GraphProto, tensorrt: bool) -> None:
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert [each.name for each in accelerators] == (["tensorrt"] if tensorrt else [])
    group = model_config_pb2.ModelInstanceGroup.Kind.Name(config.instance_group[0].kind)
    assert group == ("KIND_GPU" if tensorrt else "KIND_AUTO")
    if not tensorrt:
        return
    parameters = accelerators[0].parameters
    assert parameters["precision_mode"] == "FP32"
    dynamic = any(not axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim)
    keys = [f"trt_profile_{end}_shapes" for end in ("min", "opt", "max")]
    assert [key in parameters for key in keys] == [dynamic] * 3
    if dynamic:
        low, best, high = ([int(n) for n in parameters[key].split(":")[1].split("x")] for key in keys)
        assert all(a <= b <= c for a, b, c in zip(low, best, high, strict=True))
        assert low[0] == 1
        assert best[0] == high[0] == max(1, config.max_batch_size)


def check_warmup(config: model_config_pb2.ModelConfig, batched: bool) -> None:
    assert [each.batch_size for each in config.model_warmup] == (
        [1, config.max_batch_size] if batched else [0]
    )
    for each in config.model_warmup:
        for tensor in config.input:
            zeros = each.inputs[tensor.name]
            assert zeros.zero_data
            assert zeros.data_type == tensor.data_type
            assert len(zeros.dims) == len(tensor.dims)
            assert all(n == want for n, want in zip(zeros.dims, tensor.dims, strict=True) if want != -1)
            assert min(zeros.dims) > 0


def test_batching_and_labels(export_vit: Export, tmp_path: Path) -> None:
    model = export_vit(dynamic="batch")
    package(
        "triton",
        f"cat={model}",
        tmp_path / "out",
        max_batch=12,
        max_delay_ms=1.5,
        queue=64,
        device="cpu",
        instances=2,
    )
    config = read_config(tmp_path / "out", "cat")
    assert config.max_batch_size == 12
    batching = config.dynamic_batching
    assert list(batching.preferred_batch_size) == [4, 8, 12]
    assert batching.max_queue_delay_microseconds == 1500
    assert batching.default_queue_policy.max_queue_size == 64
    assert config.instance_group[0].count == 2
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert config.output[0].label_filename == "labels.txt"
    labels = (tmp_path / "out" / "cat" / "labels.txt").read_text(encoding="utf-8")
    assert labels.splitlines() == ["tabby cat", '"quoted" \\ dog', "Œuvre"]


def test_finished_answers_have_no_labels_per_index(export_vit: Export, tmp_path: Path) -> None:
    """Their scores are sorted: an index is a rank, not a class."""
    package("triton", f"cat={export_vit(**EXPORTS['self-contained'])}", tmp_path / "out")
    config = read_config(tmp_path / "out", "cat")
    assert [output.label_filename for output in config.output] == ["", ""]
    assert (tmp_path / "out" / "cat" / "labels.txt").is_file()


def test_one_number_per_image(tmp_path: Path, fixtures: Path) -> None:
    """The count of boxes is [N]: Triton wants at least one axis behind the batch."""
    import deploykit

    model = tmp_path / "yolox.onnx"
    deploykit.export(fixtures / "yolox_plain.pth", model, dynamic="batch", postprocess=True)
    package("triton", model, tmp_path / "out")
    config = read_config(tmp_path / "out", "yolox")
    assert config.max_batch_size == 32
    counts = [output for output in config.output if output.HasField("reshape")]
    assert [(output.name, list(output.dims), list(output.reshape.shape)) for output in counts] == [
        ("count", [1], [])
    ]


def test_thresholds_as_inputs_are_refused(tmp_path: Path, fixtures: Path) -> None:
    import deploykit

    model = tmp_path / "yolox.onnx"
    deploykit.export(fixtures / "yolox_plain.pth", model, postprocess=True, runtime_thresholds=True)
    with pytest.raises(ModelError, match="takes no scalars, found conf"):
        package("triton", model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (AxisRange(min=1, max=5), 5),
        (AxisRange(min=1, max=1000), 32),
        (AxisRange(min=1, max=1), 1),
        (AxisRange(min=2, max=8), 0),
        (AxisRange(min=4, max=8, step=4), 0),
        (None, 0),
    ],
)
def test_largest_batch(
    batch: AxisRange | None, expected: int, classifier: Callable[..., Path], tmp_path: Path
) -> None:
    package("triton", classifier(batch=batch), tmp_path / "out")
    config = read_config(tmp_path / "out", "mean")
    assert config.max_batch_size == expected
    assert config.HasField("dynamic_batching") == (expected > 1)
    assert list(config.input[0].dims) == ([3, 8, 8] if expected else [-1 if batch else 1, 3, 8, 8])


def test_weights_beside_the_model_come_along(classifier: Callable[..., Path], tmp_path: Path) -> None:
    model = classifier("deep/mean.onnx", external=True)
    result = package("triton", model, tmp_path / "out")
    assert "mean/1/weights.bin" in result.files
    onnx.checker.check_model(str(tmp_path / "out" / "mean" / "1" / "model.onnx"))
    (model.parent / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights in weights\.bin, and .*weights\.bin does not exist"):
        package("triton", model, tmp_path / "other")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cpu", "tensorrt": True}, "TensorRT runs on GPUs"),
        ({"precision": "fp16"}, "TensorRT's"),
        ({"max_batch": 9}, r"takes batches of 1\.\.5"),
        ({"device": "tpu"}, "one of auto, cpu, gpu"),
        ({"instances": 0}, "--instances wants a whole number of at least 1"),
        ({"max_dellay_ms": 1}, "no option 'max_dellay_ms'"),
    ],
)
def test_wrong_options(
    settings: dict[str, object], message: str, classifier: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        package("triton", classifier(batch=AxisRange(min=1, max=5)), tmp_path / "out", **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mean.onnx"]
