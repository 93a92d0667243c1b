"""A module and its spec -> one simplified ONNX graph with the spec inside."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from deploykit_runtimes.contract.spec import InputSpec, ModelSpec
from deploykit_runtimes.machine.scratch import scratch_folder

from deploykit_exporters.option_values import ExporterName
from deploykit_exporters.passes.apply import clean_up

if TYPE_CHECKING:
    import onnx

__all__ = [
    "DEFAULT_OPSET",
    "export_graph",
    "quiet",
    "simplify",
    "simplify_file",
]

DEFAULT_OPSET = 18
"""Newest opset whose Resize runs on CUDA without copies to the host (onnx/onnx#7747); ONNX Runtime
CPU and CUDA, OpenVINO and TensorRT 10/11 all take it."""

_IMAGE_AXES = {"batch": 0, "height": 2, "width": 3}


def export_graph(
    module: torch.nn.Module, spec: ModelSpec, *, exporter: ExporterName, opset: int
) -> onnx.ModelProto:
    """Trace a module into an ONNX graph whose dynamic axes are those of ``spec.input``.

    Args:
        module: In eval mode; takes float32 [N, C, H, W].
        spec: Names, sizes and dynamic axes of the graph.
        exporter: ``torchscript`` traces (`torch.onnx.export(dynamo=False)`), ``dynamo`` captures with
            torch.export.
        opset: ONNX operator set.

    Returns:
        The graph as the exporter wrote it, cleaned up but not simplified, without metadata.
    """
    images = _example(spec.input)
    with torch.inference_mode(), quiet():
        if exporter == "torchscript":
            model = _torchscript(module, images, spec, opset)
        else:
            model = _dynamo(module, images, spec, opset)
    clean_up(model, spec)
    return model


def _example(spec: InputSpec) -> torch.Tensor:
    # A dynamic batch is traced with 2: exporters specialise axes of size 1.
    batch = max(spec.batch, 2) if "batch" in spec.dynamic else spec.batch
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, spec.channels, spec.height, spec.width, generator=generator)


def _torchscript(
    module: torch.nn.Module, images: torch.Tensor, spec: ModelSpec, opset: int
) -> onnx.ModelProto:
    import onnx

    axes = {index: name for name, index in _IMAGE_AXES.items() if name in spec.input.dynamic}
    dynamic = {spec.input.name: axes} if axes else {}
    if "batch" in spec.input.dynamic:
        dynamic.update({name: {0: "batch"} for name in spec.output.names})
    with scratch_folder() as folder:
        # A path, not a buffer: the exporter writes weights above 2 GB beside the file.
        path = folder / "model.onnx"
        torch.onnx.export(
            module,
            (images,),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=[spec.input.name],
            output_names=list(spec.output.names),
            dynamic_axes=dynamic,
            do_constant_folding=True,
        )
        return onnx.load(path)


def _dynamo(module: torch.nn.Module, images: torch.Tensor, spec: ModelSpec, opset: int) -> onnx.ModelProto:
    shapes = {
        _IMAGE_AXES[name]: torch.export.Dim.DYNAMIC(min=allowed.min, max=allowed.max)
        for name, allowed in spec.input.dynamic.items()
    }
    program = torch.onnx.export(
        module,
        (images,),
        dynamo=True,
        opset_version=opset,
        input_names=[spec.input.name],
        output_names=list(spec.output.names),
        dynamic_shapes=(shapes,) if shapes else None,
        verbose=False,
    )
    if program is None:
        raise AssertionError("torch.onnx.export(dynamo=True) returns a program when no file is given")
    return program.model_proto


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' remarks about their own future, and tracing's remarks about constants, from
    the user: whether a traced constant is wrong is decided by the proof, at several sizes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        yield


def simplify(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Fold constants and fuse with onnxsim; None when onnxsim cannot process the graph."""
    return _simplified(model)


def simplify_file(path: Path) -> onnx.ModelProto | None:
    """The same for a model in a file, with half the memory: onnxsim alone holds it.

    Args:
        path: The model; what onnxsim makes of it is written to the same folder.
    """
    import onnx

    try:
        simplified = _simplified(str(path), output_path=str(path.with_name("simplified.onnx")))
    except TypeError:  # onnxsim before 0.7 has no output_path
        return simplify(onnx.load(path))
    if simplified is not None:
        onnx.load_external_data_for_model(simplified, str(path.parent))
    return simplified


def _simplified(model: onnx.ModelProto | str, **options: str) -> onnx.ModelProto | None:
    import onnxsim

    try:
        with _muted_output():
            simplified, checked = onnxsim.simplify(model, **options)
    except RuntimeError:
        return None
    return simplified if checked else None


@contextmanager
def _muted_output() -> Iterator[None]:
    """Keep what compiled code prints off the terminal and out of --json: onnxsim reports every constant
    that it leaves alone as a warning."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)
