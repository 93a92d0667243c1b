"""A model repository for NVIDIA Triton: one folder per model, run by its ONNX Runtime backend.

The configuration is the message ``ModelConfig`` of
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto; the backend's
reading of it is described in https://github.com/triton-inference-server/onnxruntime_backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.onnx.model_files import copy_model
from deploykit_runtimes.text.printable import printable
from deploykit_runtimes.trt.profiles import ShapeRange, as_text

from deploykit.package.folder import write_text
from deploykit.package.models import PackagedModel, check_max_batch
from deploykit.package.options import TritonOptions
from deploykit.package.pbtxt import Constant, Field, Message, to_pbtxt
from deploykit.protocol.datatypes import DATATYPES

__all__ = ["model_config", "write"]

_DATATYPES = {
    **{name: f"TYPE_{datatype}" for name, datatype in DATATYPES.items()},
    "string": "TYPE_STRING",
    "bfloat16": "TYPE_BF16",
}
_LABELS = "labels.txt"
_WORKSPACE = 1 << 30
_SMALLEST_PREFERRED = 4
_ENGINE_CACHE = "/tmp/deploykit-engines"  # noqa: S108 - inside the server's container


def write(folder: Path, models: Sequence[PackagedModel], options: TritonOptions) -> dict[str, Any]:
    """Fill a model repository; returns the lines to print about it.

    Raises:
        OptionError: an option does not fit a model.
        ModelError: a model has an input or output that Triton cannot take.
    """
    notes = []
    for model in models:
        place = folder / model.name
        copy_model(model.path, place / "1" / "model.onnx")
        write_text(place / "config.pbtxt", to_pbtxt(model_config(model, options)))
        if model.spec.classes:
            write_text(place / _LABELS, "".join(f"{_one_line(name)}\n" for name in model.spec.classes))
        if check_max_batch(model, options.max_batch) == 0:
            notes.append(f"{model.name}: no batching, as its batch is not free from 1 on")
    if options.tensorrt:
        notes.append("TensorRT profiles need Triton 24.05 or later; the first start builds the engines")
    return {
        "models": {model.name: _summary(model, options) for model in models},
        "notes": tuple(notes),
        "next": (
            "docker run --rm -p 127.0.0.1:8000-8002:8000-8002 -v $(realpath {path}):/models "
            "nvcr.io/nvidia/tritonserver:TAG-py3 tritonserver --model-repository=/models",
            *(_selftest(model, options) for model in models if model.spec.golden),
        ),
    }


def _selftest(model: PackagedModel, options: TritonOptions) -> str:
    """The command that runs a model's golden cases on the server, since Triton checks nothing itself."""
    # Neither TensorRT nor CUDA kernels are told to leave TF32 alone.
    precision = "fp16" if options.precision == "fp16" else "tf32"
    computes = f" --compute {precision}" if options.tensorrt or options.device != "cpu" else ""
    url = f"http://localhost:8000/v2/models/{model.name}"
    return f"deploykit selftest {{path}}/{model.name}/1/model.onnx --url {url}{computes}"


def model_config(model: PackagedModel, options: TritonOptions) -> Message:
    """The configuration of one model.

    Raises:
        OptionError: ``max_batch`` is not in the model's range.
        ModelError: an input or output has no axes, or a type without a counterpart.
    """
    limit = check_max_batch(model, options.max_batch)
    batching: Message = [("dynamic_batching", _dynamic_batching(limit, options))] if limit > 1 else []
    return [
        ("name", model.name),
        ("platform", "onnxruntime_onnx"),
        ("backend", "onnxruntime"),
        ("max_batch_size", limit),
        *[("input", _tensor(info, model, batched=limit > 0)) for info in model.inputs],
        *[("output", _output(info, model, batched=limit > 0)) for info in model.outputs],
        *batching,
        ("instance_group", _instance_group(options)),
        *([("optimization", _tensorrt(model, limit, options))] if options.tensorrt else []),
        *(_warmups(model, limit) if options.warmup else []),
    ]


def _tensor(info: TensorInfo, model: PackagedModel, *, batched: bool) -> Message:
    """Name, type and axes; Triton adds the batch itself, and takes no scalars."""
    if info.dtype not in _DATATYPES:
        raise ModelError(f"Triton has no type for {info} of {model.path}.")
    if not info.shape:
        raise ModelError(
            f"Triton takes no scalars, found {info} in {model.path}.",
            hint="Export without --runtime-thresholds: the thresholds are then fixed in the graph.",
        )
    dims = _dims(info, batched=batched)
    # One number per image, such as the count of its boxes.
    shape: Message = [("dims", dims)] if dims else [("dims", (1,)), ("reshape", [("shape", ())])]
    return [("name", info.name), ("data_type", Constant(_DATATYPES[info.dtype])), *shape]


def _output(info: TensorInfo, model: PackagedModel, *, batched: bool) -> Message:
    fields = _tensor(info, model, batched=batched)
    scores = model.spec.output.layout in ("logits", "probabilities") and info.name in model.spec.output.names
    if scores and model.spec.classes:  # for the classification extension: index = class
        return [*fields, ("label_filename", _LABELS)]
    return fields


def _dims(info: TensorInfo, *, batched: bool) -> tuple[int, ...]:
    dims = tuple(n if isinstance(n, int) else -1 for n in info.shape)
    return dims[1:] if batched else dims


def _dynamic_batching(limit: int, options: TritonOptions) -> Message:
    waiting: Message = []
    if options.queue:
        waiting = [("default_queue_policy", [("max_queue_size", options.queue)])]
    return [
        ("preferred_batch_size", _preferred(limit)),
        ("max_queue_delay_microseconds", round(options.max_delay_ms * 1000)),
        *waiting,
    ]


def _preferred(limit: int) -> tuple[int, ...]:
    """Preferred batch sizes, which are sent at once: powers of two, and the largest batch."""
    powers = [1 << n for n in range(limit.bit_length()) if _SMALLEST_PREFERRED <= 1 << n < limit]
    return (*powers, limit)


def _instance_group(options: TritonOptions) -> Message:
    device = "gpu" if options.tensorrt else options.device
    return [("count", options.instances), ("kind", Constant(f"KIND_{device.upper()}"))]


def _tensorrt(model: PackagedModel, limit: int, options: TritonOptions) -> Message:
    parameters = {
        "precision_mode": options.precision.upper(),
        "max_workspace_size_bytes": str(_WORKSPACE),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": f"{_ENGINE_CACHE}/{model.name}",
        **_profile(model, limit),
    }
    accelerator: Message = [
        ("name", "tensorrt"),
        *[("parameters", [("key", key), ("value", value)]) for key, value in parameters.items()],
    ]
    return [("execution_accelerators", [("gpu_execution_accelerator", accelerator)])]


def _profile(model: PackagedModel, limit: int) -> dict[str, str]:
    """Shapes as ``name:1x3x224x224,...``; empty if every shape is fixed."""
    shapes = {name: _within(shape, limit) for name, shape in model.profile.items()}
    if all(shape.min == shape.max for shape in shapes.values()):
        return {}
    return {
        f"trt_profile_{end}_shapes": ",".join(
            f"{name}:{as_text(getattr(shape, end))}" for name, shape in shapes.items()
        )
        for end in ("min", "opt", "max")
    }


def _within(shape: ShapeRange, limit: int) -> ShapeRange:
    """The range with Triton's largest batch, which is also the best one."""
    if limit == 0:
        return shape
    return ShapeRange(min=shape.min, opt=(limit, *shape.opt[1:]), max=(limit, *shape.max[1:]))


def _warmups(model: PackagedModel, limit: int) -> Message:
    """Zeros of the model's own size: one image, and the largest batch."""
    batches = sorted({1, limit}) if limit else [0]
    return [("model_warmup", _warmup(model, batch, batched=limit > 0)) for batch in batches]


def _warmup(model: PackagedModel, batch: int, *, batched: bool) -> Message:
    inputs: list[Field] = []
    for info in model.inputs:
        own = model.profile[info.name].opt
        content: Message = [
            ("data_type", Constant(_DATATYPES[info.dtype])),
            ("dims", own[1:] if batched else own),
            ("zero_data", True),
        ]
        inputs.append(("inputs", [("key", info.name), ("value", content)]))
    name = f"zeros in a batch of {batch}" if batched else "zeros"
    return [("name", name), *([("batch_size", batch)] if batched else []), *inputs]


def _summary(model: PackagedModel, options: TritonOptions) -> dict[str, Any]:
    return {
        "file": f"{model.name}/1/model.onnx",
        "max_batch": check_max_batch(model, options.max_batch),
        "inputs": [str(info) for info in model.inputs],
        "outputs": [str(info) for info in model.outputs],
    }


def _one_line(name: str) -> str:
    return printable(" ".join(name.split()))
