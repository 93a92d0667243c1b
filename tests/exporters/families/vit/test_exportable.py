"""The exportable ViT through both exporters and ONNX Runtime, against timm at many sizes."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploykit_exporters.families.vit.exportable import ExportableViT
from deploykit_exporters.families.vit.network import TIMM_RESAMPLING, ViT
from deploykit_exporters.families.vit.positions import Resampling
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer


def network(kind: Any = VisionTransformer, **settings: Any) -> Any:
    torch.manual_seed(0)
    defaults = {
        "img_size": 64,
        "patch_size": 16,
        "embed_dim": 48,
        "depth": 2,
        "num_heads": 3,
        "num_classes": 7,
        "dynamic_img_size": True,
    }
    net = kind(**{**defaults, **settings}).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def to_onnx(module: torch.nn.Module, exporter: str, *, sizes: bool) -> onnx.ModelProto:
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            dynamic = torch.export.Dim.DYNAMIC
            shapes = {0: dynamic(min=1, max=64)}
            if sizes:
                shapes |= {2: dynamic(min=16, max=512), 3: dynamic(min=16, max=512)}
            program = torch.onnx.export(
                module, (images,), dynamo=True, opset_version=18, dynamic_shapes=(shapes,), verbose=False
            )
            assert program is not None
            return program.model_proto
        buffer = io.BytesIO()
        axes = {0: "batch", **({2: "height", 3: "width"} if sizes else {})}
        torch.onnx.export(
            module,
            (images,),
            buffer,
            dynamo=False,
            opset_version=18,
            input_names=["images"],
            dynamic_axes={"images": axes},
        )
    return onnx.load_from_string(buffer.getvalue())


def run(model: onnx.ModelProto, images: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})


FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "token": (VisionTransformer, {}),
    "average": (VisionTransformer, {"global_pool": "avg", "class_token": False, "init_values": 0.1}),
    "distilled": (VisionTransformerDistilled, {}),
    "registers": (VisionTransformer, {"reg_tokens": 4, "no_embed_class": True, "qk_norm": True}),
}


@pytest.mark.parametrize(
    ("form", "exporter"),
    [*((form, "torchscript") for form in FORMS), ("token", "dynamo"), ("average", "dynamo")],
)
def test_dynamic_sizes(form: str, exporter: str) -> None:
    kind, settings = FORMS[form]
    net = network(kind, **settings)
    model = to_onnx(ExportableViT(ViT(net, TIMM_RESAMPLING)).eval(), exporter, sizes=True)
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"Resize", "If", "Loop", "Upsample"}
    for shape in ((2, 3, 64, 64), (1, 3, 16, 16), (3, 3, 96, 32), (5, 3, 48, 160), (1, 3, 256, 256)):
        images = torch.randn(shape)
        with torch.inference_mode():
            expected = net(images).numpy()
        found = run(model, images)[0]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "way", [Resampling(antialias=False), Resampling(antialias=False, align_corners=True)]
)
def test_other_ways_of_resampling(way: Resampling) -> None:
    reference = ViT(network(), way).eval()
    model = to_onnx(ExportableViT(reference).eval(), "torchscript", sizes=True)
    for shape in ((1, 3, 64, 64), (2, 3, 160, 48)):
        images = torch.randn(shape)
        with torch.inference_mode():
            expected = reference(images).numpy()
        assert np.abs(run(model, images)[0] - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_a_fixed_size_needs_no_shape_arithmetic(exporter: str) -> None:
    reference = ViT(network(), TIMM_RESAMPLING).eval()
    model = to_onnx(ExportableViT(reference, (64, 64)).eval(), exporter, sizes=False)
    assert not {"Range", "Resize", "Expand", "Where"} & {node.op_type for node in model.graph.node}
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        expected = reference(images).numpy()
    assert np.abs(run(model, images)[0] - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("sizes", [False, True])
def test_features(sizes: bool) -> None:
    reference = ViT(network(), TIMM_RESAMPLING, features=True).eval()
    size = None if sizes else (64, 64)
    model = to_onnx(ExportableViT(reference, size).eval(), "torchscript", sizes=sizes)
    images = torch.randn(3, 3, 96, 64) if sizes else torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        expected = reference(images)
    for found, wanted in zip(run(model, images), expected, strict=True):
        assert np.abs(found - wanted.numpy()).max() <= 1e-5 * wanted.abs().max()


def test_the_weights_are_shared() -> None:
    net = network()
    exportable = ExportableViT(ViT(net, TIMM_RESAMPLING))
    assert exportable.net is net
    assert {id(p) for p in exportable.parameters()} == {id(p) for p in net.parameters()}
