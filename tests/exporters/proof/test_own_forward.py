"""The forward of a module in memory is compared with what was read from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from deploykit_exporters.export import export
from deploykit_exporters.families.base import Hints
from deploykit_exporters.load import load_checkpoint
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.proof.own_forward import compare_forward
from deploykit_runtimes.errors import ParityError
from torch import nn


class Around(nn.Module):
    """A model of a user's own around a network."""

    def __init__(self, model: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.function = forward

    def forward(self, images: torch.Tensor) -> Any:
        return self.function(self.model, images)


@pytest.fixture
def vit(perturb: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return perturb(timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1))


def compared(module: object) -> str:
    built = load_checkpoint(module, Hints()).built
    return compare_forward(module, built, built.spec)


@pytest.mark.parametrize(
    "forward",
    [
        lambda model, images: model(images),
        lambda model, images: model(images).softmax(1),
        lambda model, images: model(images).log_softmax(1),
        lambda model, images: model(images).sigmoid(),
        lambda model, images: {"logits": model(images), "loss": None},
        lambda model, images: (torch.zeros(1), [model(images)]),
    ],
)
def test_forms_of_the_same_answer(vit: nn.Module, forward: Callable[..., Any]) -> None:
    assert compared(Around(vit, forward)).startswith("its own forward() within")


@pytest.mark.parametrize(
    "forward",
    [
        lambda model, images: model(2 * images - 1),
        lambda model, images: model(images.flip(1)),
        lambda model, images: model(images) / 2,
        lambda model, images: model(images)[:, [2, 0, 1]],
    ],
)
def test_a_forward_that_does_more_is_refused(
    vit: nn.Module, forward: Callable[..., Any], tmp_path: Path
) -> None:
    module = Around(vit, forward)
    with pytest.raises(ParityError, match="Around in memory does not answer as") as caught:
        export(module, ExportOptions(output=tmp_path / "model.onnx"))
    assert "witness=False" in caught.value.hint
    assert not list(tmp_path.iterdir())
    result = export(module, ExportOptions(output=tmp_path / "model.onnx", witness=False))
    assert result.spec.parity is not None
    assert result.spec.parity.witness == "none: left out by --no-witness"


def test_a_replaced_forward_of_a_layer_is_refused(vit: nn.Module) -> None:
    vit.blocks[0].forward = lambda x: x
    with pytest.raises(ParityError, match="does not answer as the network in it"):
        compared(vit)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda model, images: images.no_such_method(), "takes more than images: AttributeError"),
        (lambda model, images: model(images).argmax(1), "returns other outputs"),
        (lambda model, images: None, "returns other outputs"),
    ],
)
def test_what_cannot_be_compared_is_told(vit: nn.Module, forward: Callable[..., Any], said: str) -> None:
    assert said in compared(Around(vit, forward))


def test_what_cannot_be_copied_is_told(vit: nn.Module) -> None:
    import threading

    module = Around(vit, lambda model, images: model(images))
    module.lock = threading.Lock()
    assert compared(module) == "its own forward() was not run: the module cannot be copied"


def test_weights_alone_have_no_forward(vit: nn.Module) -> None:
    assert compared(vit.state_dict()) == ""


def test_detectors_are_compared_too() -> None:
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    assert compared(DetectionModel("yolo11n.yaml", nc=3, verbose=False)).startswith(
        "its own forward() within"
    )
