"""Real models to package, exported once per worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import AxisRange, InputSpec, ModelSpec, OutputSpec, Preprocess
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import deploykit

Export = Callable[..., Path]


@pytest.fixture(scope="session")
def export_vit(tmp_path_factory: pytest.TempPathFactory, perturb: Callable[..., nn.Module]) -> Export:
    """Exports a tiny ViT of timm with three classes; equal settings give the same file."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)
    folder = tmp_path_factory.mktemp("vit")
    torch.save(perturb(model).state_dict(), folder / "vit.pth")
    (folder / "names.txt").write_text('tabby cat\n"quoted" \\ dog\nŒuvre\n', encoding="utf-8")
    made: dict[str, Path] = {}

    def export(**settings: object) -> Path:
        key = repr(sorted(settings.items()))
        if key not in made:
            path = folder / f"vit{len(made)}.onnx"
            deploykit.export(folder / "vit.pth", path, labels=folder / "names.txt", **settings)
            made[key] = path
        return made[key]

    return export


@pytest.fixture
def classifier(tmp_path: Path) -> Callable[..., Path]:
    """Writes a classifier whose logits are the mean of each colour channel, without torch."""

    def write(name: str = "mean.onnx", *, batch: AxisRange | None = None, external: bool = False) -> Path:
        spec = ModelSpec(
            task="classify",
            family="vit",
            variant="mean_colour",
            origin="timm",
            input=InputSpec(height=8, width=8, dynamic={"batch": batch} if batch else {}),
            preprocess=Preprocess(resize="stretch", resize_to=(8, 8)),
            output=OutputSpec(names=("logits",), layout="logits", activation="softmax"),
            classes=("red", "green", "blue"),
            num_classes=3,
        )
        rows = "batch" if batch else 1
        graph = helper.make_graph(
            [
                helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
                helper.make_node("Flatten", ["pooled"], ["flat"]),
                helper.make_node("Gemm", ["flat", "weight"], ["logits"]),
            ],
            "mean_colour",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [rows, 3, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [rows, 3])],
            [numpy_helper.from_array(np.eye(3, dtype=np.float32), "weight")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        helper.set_model_props(model, spec_to_metadata(spec))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save_model(
            model,
            path,
            save_as_external_data=external,
            location="weights.bin" if external else None,
            size_threshold=0,
        )
        return path

    return write
