"""Joining three small graphs: names, order, loops, and the sum of what they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploykit_exporters.graph.onnx_export import quiet
from deploykit_exporters.ingraph.compose import NETWORK, Part, compose, trace
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from deploykit_runtimes.errors import ModelError
from torch import Tensor, nn
from torch.onnx.operators import shape_as_tensor

BATCH = {"batch": AxisRange(min=1, max=8)}
SIDES = {axis: AxisRange(min=1, max=64) for axis in ("height", "width")}
CORE = ModelSpec(
    task="classify",
    family="any",
    variant="any",
    origin="any",
    input=InputSpec(height=4, width=4, dynamic=BATCH),
    preprocess=Preprocess(),
    output=OutputSpec(names=("scores",), layout="logits"),
    num_classes=3,
)


class Before(nn.Module):
    """The mean of all pixels in a 4 x 4 tensor, from [N, H, W, 3]."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.to(torch.float32).mean((1, 2), keepdim=True).permute(0, 3, 1, 2)
        return mean.expand(-1, -1, 4, 4) * 0.5


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 4)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.conv(images)).flatten(1)


def doubled(values: Tensor, limit: Tensor) -> Tensor:
    while bool(values.sum() < limit):
        values = values * 2
    return values


with quiet():
    doubled_loop = torch.jit.script(doubled)


class After(nn.Module):
    """Doubles the scores until their sum passes a limit, which takes a Loop; adds the image's height."""

    def forward(self, images: Tensor, scores: Tensor, conf: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
        height = shape_as_tensor(images)[1]
        return doubled_loop(scores.abs() + conf, 100 * iou), scores[:, 0] * 0 + height


def parts() -> tuple[onnx.ModelProto, onnx.ModelProto, onnx.ModelProto]:
    images = torch.zeros(2, 7, 9, 3, dtype=torch.uint8)
    raw_axes = {0: "batch", 1: "height", 2: "width"}
    tensor, scores = torch.zeros(2, 3, 4, 4), torch.ones(2, 3)
    thresholds = {"conf": torch.tensor(0.5), "iou": torch.tensor(0.5)}
    with torch.inference_mode(), quiet():
        network = Part(
            module=Network(),
            examples={"images": tensor},
            outputs=["scores"],
            dynamic={"images": {0: "batch"}},
        )
        before = Part(
            module=Before(), examples={"images": images}, outputs=["tensor"], dynamic={"images": raw_axes}
        )
        after = Part(
            module=After(),
            examples={"images": images, f"{NETWORK}scores": scores, **thresholds},
            outputs=["scores", "height"],
            dynamic={"images": raw_axes, f"{NETWORK}scores": {0: "batch"}},
        )
        return trace(network, 18), trace(before, 18), trace(after, 18)


def whole_spec() -> ModelSpec:
    images = InputSpec(height=4, width=4, layout="NHWC", dtype="uint8", dynamic={**BATCH, **SIDES})
    output = OutputSpec(names=("scores", "height"), layout="detections", runtime_thresholds=True)
    return replace(CORE, input=images, network=CORE.input, output=output)


def expected(images: np.ndarray, conf: float, iou: float) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        scores = Network()(Before()(torch.from_numpy(images)))
        found = After()(torch.from_numpy(images), scores, torch.tensor(conf), torch.tensor(iou))
    return found[0].numpy(), found[1].numpy()


def test_the_whole_does_what_the_parts_do() -> None:
    network, before, after = parts()
    untouched = network.SerializeToString()
    model = compose(network, CORE, whole_spec(), before=before, after=after)
    onnx.checker.check_model(model, full_check=True)
    assert network.SerializeToString() == untouched
    assert [value.name for value in model.graph.input] == ["images", "conf", "iou"]
    assert [value.name for value in model.graph.output] == ["scores", "height"]
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 5, 6, 3), (3, 64, 1, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        feeds = {"images": images, "conf": np.array(0.25, np.float32), "iou": np.array(5.0, np.float32)}
        scores, height = session.run(None, feeds)
        want = expected(images, 0.25, 5.0)
        np.testing.assert_allclose(scores, want[0], rtol=1e-5)
        np.testing.assert_array_equal(height, want[1])


def test_either_half_alone() -> None:
    network, before, _ = parts()
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    spec = replace(whole_spec(), output=CORE.output)
    model = compose(network, CORE, spec, before=before, after=None)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        want = Network()(Before()(torch.from_numpy(images))).numpy()
    np.testing.assert_allclose(session.run(["scores"], {"images": images})[0], want, rtol=1e-5, atol=1e-5)


def test_a_contract_that_the_parts_do_not_keep_is_refused() -> None:
    network, before, _ = parts()
    with pytest.raises(ModelError, match="graph has images -> scores"):
        compose(network, CORE, whole_spec(), before=before, after=None)
