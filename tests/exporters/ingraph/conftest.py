"""A post-processing graph and its oracle, the host's decoder, side by side in two engines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from deploykit_exporters.graph.onnx_export import quiet, simplify
from deploykit_exporters.ingraph.compose import Part, trace
from deploykit_exporters.ingraph.postprocess import (
    PostprocessOptions,
    postprocess_module,
    postprocess_output,
)
from deploykit_exporters.ingraph.preprocess import preprocess_module
from deploykit_runtimes.answers.decode import decode
from deploykit_runtimes.answers.results import Result
from deploykit_runtimes.answers.thresholds import Thresholds
from deploykit_runtimes.contract.spec import THRESHOLD_INPUTS, ModelSpec, OutputSpec
from deploykit_runtimes.pixels.geometry import Geometry, plan_geometry

sys.path.insert(0, str(Path(__file__).parent))

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One exported post-processing."""

    core: ModelSpec
    output: OutputSpec
    model: onnx.ModelProto
    preprocessed: bool
    engines: dict[str, Callable[[Outputs], Outputs]]

    def answers(self, size: tuple[int, int], *heads: np.ndarray, **thresholds: float) -> dict[str, Outputs]:
        """What each engine gives for images (without pre-processing: tensors) of this height and width."""
        batch = len(heads[0])
        shape = (batch, *size, 3) if self.preprocessed else (batch, 3, *size)
        feeds = {"images": np.zeros(shape, np.uint8 if self.preprocessed else np.float32)}
        feeds |= dict(zip(inputs(self.core), heads, strict=True))
        feeds |= {name: np.array(value, np.float32) for name, value in thresholds.items()}
        return {name: run(feeds) for name, run in self.engines.items()}

    def expected(self, size: tuple[int, int], *heads: np.ndarray, **thresholds: float) -> list[Result]:
        """What the host makes of the same heads."""
        output = self.output
        wanted = {"conf": output.conf, "iou": output.iou, "max_det": output.max_det, **thresholds}
        geometry = plan_geometry(size, self.core.preprocess, self.core.input)
        if not self.preprocessed:
            # An image far larger than the tensor, so that no box is clipped.
            wide = size if "masks" in self.output.names else (10**6, 10**6)
            geometry = Geometry(
                image_size=wide, input_size=size, region=(0, 0, *size), resized=size, offset=(0, 0)
            )
        core = replace(self.core, output=replace(self.core.output, class_agnostic=self.output.class_agnostic))
        named = dict(zip(core.output.names, heads, strict=True))
        top = {"top_k": output.top_k} if output.top_k else {}
        return decode(named, core, [geometry] * len(heads[0]), Thresholds(**wanted, **top))


Build = Callable[..., Finished]


@pytest.fixture(scope="session")
def finish(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Export the post-processing of a contract, given example heads; any axis of them may vary."""
    folder = tmp_path_factory.mktemp("finished")

    def build(
        core: ModelSpec,
        heads: Sequence[torch.Tensor],
        *,
        preprocessed: bool = True,
        opset: int = 18,
        simplified: bool = True,
        fixed: bool = False,
        **options: Any,
    ) -> Finished:
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        chosen = PostprocessOptions(**options)
        output = postprocess_output(core, chosen)
        with torch.inference_mode(), quiet():
            before = (
                preprocess_module(core, size_is_dynamic=bool(core.input.dynamic)) if preprocessed else None
            )
            module = postprocess_module(core, chosen, preprocess=before)
            model = trace(part(core, module, output, heads, preprocessed, fixed), opset)
            model = (simplify(model) or model) if simplified else model
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return Finished(
            core=core, output=output, model=model, preprocessed=preprocessed, engines=engines(path, output)
        )

    return build


def inputs(core: ModelSpec) -> list[str]:
    """The heads; a classifier's may have the name of a finished output."""
    return [f"network/{name}" for name in core.output.names]


def part(
    core: ModelSpec,
    module: torch.nn.Module,
    output: OutputSpec,
    heads: Sequence[torch.Tensor],
    preprocessed: bool,
    fixed: bool,
) -> Part:
    height, width = core.input.height, core.input.width
    batch = len(heads[0])
    images = torch.zeros(batch, 3, height, width)
    if preprocessed:
        images = torch.zeros(batch, height + 3, width + 5, 3, dtype=torch.uint8)
    names = inputs(core)
    examples = {"images": images, **dict(zip(names, heads, strict=True))}
    anchors = {"yolo": 2, "yolov5": 1, "end2end": 1}.get(core.output.layout)
    dynamic = {name: {0: "batch"} for name in examples}
    dynamic["images"] |= {1: "height", 2: "width"} if preprocessed else {2: "height", 3: "width"}
    if anchors is not None:
        dynamic[names[0]] |= {anchors: "anchors"}
    for name in names[1:]:
        dynamic[name] |= {2: "prototype_height", 3: "prototype_width"}
    if output.runtime_thresholds:
        examples.update((name, torch.tensor(0.5)) for name in THRESHOLD_INPUTS)
    return Part(module=module, examples=examples, outputs=output.names, dynamic={} if fixed else dynamic)


def engines(path: Path, output: OutputSpec) -> dict[str, Callable[[Outputs], Outputs]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # more of them wait busily for graphs this small
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = {value.name for value in session.get_inputs()}

    def run_onnxruntime(feeds: Outputs) -> Outputs:
        used = {name: value for name, value in feeds.items() if name in names}
        return dict(zip(output.names, session.run(list(output.names), used), strict=True))

    def run_openvino(feeds: Outputs) -> Outputs:
        used = {name: value for name, value in feeds.items() if name in names}
        found = compiled(used)
        return {name: np.array(found[name]) for name in output.names}

    return {"onnxruntime": run_onnxruntime, "openvino": run_openvino}
