"""Golden answers of models that make scores of their logits themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.export import ExportResult, export
from deploykit_exporters.golden.file import read_golden
from deploykit_exporters.options import ExportOptions
from deploykit_exporters.record import record
from deploykit_runtimes.errors import ParityError
from timm.models.vision_transformer import VisionTransformer
from torch import nn

SIDE, CLASSES = 64, 5
Perturb = Callable[..., nn.Module]
ENDS: dict[str, Callable[[], nn.Module]] = {
    "softmax": lambda: nn.Softmax(-1),
    "log_softmax": lambda: nn.LogSoftmax(-1),
    "sigmoid": nn.Sigmoid,
}


class Scoring(nn.Module):
    """A network whose forward ends in scores."""

    def __init__(self, net: nn.Module, end: nn.Module) -> None:
        super().__init__()
        self.net, self.end = net, end

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.end(self.net(images))  # type: ignore[no-any-return]


@pytest.fixture
def vit(perturb: Perturb) -> Callable[..., VisionTransformer]:
    def make(**settings: Any) -> VisionTransformer:
        torch.manual_seed(0)
        sizes = {"img_size": SIDE, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_classes": CLASSES}
        net = perturb(VisionTransformer(**{**sizes, "num_heads": 1, **settings}))
        assert isinstance(net, VisionTransformer)
        return net

    return make


def confident(net: VisionTransformer) -> VisionTransformer:
    """Its scores are 0 and 1 to float32."""
    with torch.no_grad():
        net.head.weight.mul_(2000)
    return net


def prove(folder: Path, saved: Any, recorded: nn.Module, **options: Any) -> ExportResult:
    torch.save(saved, folder / "m.pth")
    golden = record(recorded, folder / "golden.npz", size=SIDE)
    return export(folder / "m.pth", ExportOptions(golden=golden, witness=False, **options))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("where", ["behind the network", "in the classifier"])
def test_a_pickled_model_and_its_own_record_agree(
    end: str, where: str, vit: Callable[..., VisionTransformer], tmp_path: Path
) -> None:
    model = nn.Sequential(vit(), ENDS[end]())
    if where == "in the classifier":
        model = nn.Sequential(vit(num_classes=0), nn.Sequential(nn.Linear(64, CLASSES), ENDS[end]()))
    spec = prove(tmp_path, model, model).spec
    assert spec.output.activation == end.removeprefix("log_")
    assert "network within" in spec.parity.golden_said
    kept = [one.name for one in read_golden(tmp_path / "golden.npz").cases[0].outputs]
    assert kept == ["output", "logits"]


WRONG: dict[str, dict[str, Any]] = {
    "num_heads": {"num_heads": 4},
    "eps": {"norm_layer": partial(nn.LayerNorm, eps=1e-3)},
    "relu": {"act_layer": nn.ReLU},
    "gelu_tanh": {"act_layer": lambda: nn.GELU("tanh")},
    "global_pool": {"global_pool": "avg", "fc_norm": False},
}


@pytest.mark.parametrize("name", WRONG)
def test_scores_of_0_and_1_hide_nothing(
    name: str, vit: Callable[..., VisionTransformer], tmp_path: Path
) -> None:
    net, other = confident(vit()), confident(vit(**WRONG[name]))
    with pytest.raises(ParityError, match="differ in the network") as error:
        prove(tmp_path, net.state_dict(), Scoring(other, nn.Softmax(-1)))
    assert error.value.exit_code == 3
    assert name in str(error.value.hint)


def test_other_weights_behind_scores_of_0_and_1(
    vit: Callable[..., VisionTransformer], perturb: Perturb, tmp_path: Path
) -> None:
    net, other = confident(vit()), confident(vit())
    with torch.no_grad():
        other.blocks[0].mlp.fc1.weight.mul_(1.1)
    with pytest.raises(ParityError, match="differ in the network"):
        prove(tmp_path, net.state_dict(), Scoring(other, nn.Softmax(-1)))
    moved = confident(vit())
    with torch.no_grad():
        moved.head.weight.copy_(moved.head.weight[[1, 0, 2, 3, 4]])
        moved.head.bias.copy_(moved.head.bias[[1, 0, 2, 3, 4]])
    with pytest.raises(ParityError, match="in another order: class 0 there is 1 here"):
        prove(tmp_path, net.state_dict(), Scoring(moved, nn.Softmax(-1)))


@pytest.mark.parametrize(
    ("end", "config", "says"),
    [
        ("softmax", {"scores": "sigmoid"}, "after a softmax"),
        ("sigmoid", {}, "after a sigmoid"),
        ("log_softmax", {}, "after a log_softmax"),
    ],
)
def test_other_scores_of_the_same_logits(
    end: str, config: dict[str, Any], says: str, vit: Callable[..., VisionTransformer], tmp_path: Path
) -> None:
    with pytest.raises(ParityError, match="which agree") as error:
        prove(tmp_path, vit().state_dict(), Scoring(vit(), ENDS[end]()), config=config or None)
    assert says in str(error.value.hint)


def test_sigmoids_that_the_user_declares(vit: Callable[..., VisionTransformer], tmp_path: Path) -> None:
    model = Scoring(vit(), nn.Sigmoid())
    spec = prove(tmp_path, vit().state_dict(), model, config={"scores": "sigmoid"}).spec
    assert spec.output.activation == "sigmoid"


def test_probabilities_alone_are_compared_where_they_are_made_otherwise(
    vit: Callable[..., VisionTransformer], tmp_path: Path
) -> None:
    class Own(nn.Module):
        def forward(self, scores: torch.Tensor) -> torch.Tensor:
            powers = (scores - scores.amax(1, keepdim=True)).exp()
            return powers / powers.sum(1, keepdim=True) * 1.0000001

    spec = prove(tmp_path, vit().state_dict(), Scoring(vit(), Own())).spec
    assert "network within" in spec.parity.golden_said
