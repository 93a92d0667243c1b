"""TensorFlow's SAME padding: against its definition, and after export."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from deploykit_exporters.families.shared.same_padding import SameConv2d
from deploykit_exporters.graph.onnx_export import export_graph
from deploykit_exporters.option_values import ExporterName
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import Conv2dSame


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 2),
)
def test_every_size_as_timm_pads_it(height: int, width: int, kernel: int, stride: int, dilation: int) -> None:
    theirs = Conv2dSame(2, 3, kernel, stride=stride, dilation=dilation)
    ours = SameConv2d(2, 3, kernel, stride=stride, dilation=dilation)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 2, height, width)
    with torch.no_grad():
        found = ours(images)
        assert found.shape[2:] == (-(-height // stride), -(-width // stride))
        torch.testing.assert_close(found, theirs(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_export_is_right_at_every_size(bias: bool, exporter: ExporterName) -> None:
    conv = SameConv2d(4, 4, 5, stride=2, groups=4, bias=bias).eval()
    axes = {name: AxisRange(min=2, max=64) for name in ("batch", "height", "width")}
    spec = ModelSpec(
        task="features",
        family="test",
        variant="test",
        origin="test",
        input=InputSpec(channels=4, height=32, width=32, dynamic=axes),
        preprocess=Preprocess(),
        output=OutputSpec(names=("map",), layout="features"),
    )
    model = export_graph(conv, spec, exporter=exporter, opset=18)
    if exporter == "torchscript":
        assert [node.op_type for node in model.graph.node] == ["Conv"]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for size in [(32, 32), (33, 47), (2, 7)]:
        images = torch.randn(2, 4, *size)
        with torch.no_grad():
            expected = conv(images).numpy()
        np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-5)
