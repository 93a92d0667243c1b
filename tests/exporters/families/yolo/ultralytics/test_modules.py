"""Rebuilding pickled Ultralytics modules: forks, old and damaged files, hostile ones."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.read import read_checkpoint
from deploykit_exporters.families.base import BuiltModel, Hints
from deploykit_exporters.families.yolo.ultralytics import dialect as yolo_ultralytics
from deploykit_exporters.families.yolo.ultralytics.modules import module_class
from deploykit_runtimes.errors import CheckpointError
from torch import nn

SIZES = ((1, 3, 128, 128), (2, 3, 128, 192))


def build(path: Path, **hints: Any) -> BuiltModel:
    checkpoint = read_checkpoint(path)
    return build_checkpoint(checkpoint, **hints)


def build_checkpoint(checkpoint: Checkpoint, **hints: Any) -> BuiltModel:
    match = yolo_ultralytics.match(checkpoint)
    assert match is not None
    return yolo_ultralytics.build(checkpoint, match, Hints(**hints))


def run(module: nn.Module | None, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    assert module is not None
    with torch.inference_mode():
        outputs: Any = module(images)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def own_forward(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What Ultralytics' predictor gets from its model."""
    outputs: Any = run(model, images)[0]
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_fused_file(ultralytics_file: Callable[..., Any]) -> None:
    def fuse(model: Any) -> None:
        model.fuse(verbose=False)

    path, model = ultralytics_file("yolov9t", edit=fuse)
    built = build(path)
    images = torch.rand(1, 3, 96, 128)
    assert torch.equal(run(built.module, images)[0], own_forward(model, images)[0])
    # Boxes in pixels; the sums of the exportable form are in another order.
    torch.testing.assert_close(
        run(built.exportable, images)[0], own_forward(model, images)[0], rtol=1e-5, atol=1e-4
    )


def test_attributes_of_the_pickled_modules_win_over_the_yaml(ultralytics_file: Callable[..., Any]) -> None:
    def change(model: Any) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.03
        model.model[0].act = nn.LeakyReLU(0.2)
        model.model[10] = _like(model.model[10], nn.Upsample(scale_factor=2, mode="bilinear"))

    path, model = ultralytics_file("yolov8n", edit=change)
    images = torch.rand(1, 3, 96, 128)
    assert torch.equal(run(build(path).module, images)[0], own_forward(model, images)[0])


def _like(layer: nn.Module, replacement: nn.Module) -> nn.Module:
    for name in ("i", "f", "type"):
        setattr(replacement, name, getattr(layer, name))
    return replacement


def test_two_builds_share_their_weights(ultralytics_file: Callable[..., Any]) -> None:
    built = build(ultralytics_file("yolov8n")[0])
    assert built.exportable is not None
    reference = built.module.get_parameter("network.model.22.cv2.0.2.weight")
    assert (
        built.exportable.get_parameter("network.model.22.cv2.0.2.weight").data_ptr() == reference.data_ptr()
    )


class ForkAttention(nn.Module):
    """Area attention as the YOLOv12 authors' turbo models have it, in their layout [N, positions, C]."""

    def __init__(self, dim: int, num_heads: int, area: int = 1) -> None:
        from ultralytics.nn.modules import Conv

        super().__init__()
        self.area, self.num_heads, self.head_dim = area, num_heads, dim // num_heads
        self.qk = Conv(dim, 2 * dim, 1, act=False)
        self.v = Conv(dim, dim, 1, act=False)
        self.proj = Conv(dim, dim, 1, act=False)
        self.pe = Conv(dim, dim, 5, 1, 2, g=dim, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        v = self.v(x)
        tokens = torch.cat((self.qk(x), v), 1).flatten(2).transpose(1, 2)
        bands = tokens.reshape(n * self.area, h * w // self.area, 3, self.num_heads, self.head_dim)
        query, key, value = bands.permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(query, key, value)
        y = y.transpose(1, 2).reshape(n, h, w, c).permute(0, 3, 1, 2)
        projected: torch.Tensor = self.proj(y + self.pe(v))
        return projected


def test_fork_with_split_attention(
    ultralytics_file: Callable[..., Any],
    perturb: Callable[[nn.Module, int], nn.Module],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ultralytics.nn.modules import block

    ForkAttention.__module__, ForkAttention.__qualname__ = block.__name__, "AAttn"
    with monkeypatch.context() as fork:
        fork.setattr(block, "AAttn", ForkAttention)

        def edit(model: Any) -> None:
            perturb(model, 3)

        path, model = ultralytics_file("yolo12n", edit=edit)
    built = build(path)
    for shape in SIZES:
        images = torch.rand(shape)
        want = own_forward(model, images)[0]
        for module in (built.module, built.exportable):
            assert (run(module, images)[0] - want).abs().max() <= 1e-5 * want.abs().max()


def test_fork_whose_class_holds_more_than_the_released_one(ultralytics_file: Callable[..., Any]) -> None:
    def add_gate(model: Any) -> None:
        model.model[2].m[0].gate = nn.Conv2d(16, 16, 1)

    path, _ = ultralytics_file("yolov8n", edit=add_gate)
    with pytest.raises(CheckpointError, match=r"model\.2\.m\.0\.gate \(Conv2d\)"):
        build(path)


def test_network_without_its_wiring(ultralytics_file: Callable[..., Any]) -> None:
    def cut(model: Any) -> None:
        del model.save

    path, _ = ultralytics_file("yolov8n", edit=cut)
    with pytest.raises(CheckpointError, match="the network does not run in ultralytics"):
        build(path)


def test_fork_whose_class_lacks_what_the_released_one_needs(ultralytics_file: Callable[..., Any]) -> None:
    def remove(model: Any) -> None:
        del model.model[9].m

    path, _ = ultralytics_file("yolov8n", edit=remove)
    with pytest.raises(CheckpointError, match=r"model\.9.* does not run in ultralytics .*8\.4\.190"):
        build(path)


def test_unknown_module_is_named(
    ultralytics_file: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.nn.modules import block

    class Novelty(nn.Identity):
        pass

    Novelty.__module__, Novelty.__qualname__ = block.__name__, "Novelty"
    with monkeypatch.context() as fork:
        fork.setattr(block, "Novelty", Novelty, raising=False)

        def add(model: Any) -> None:
            model.model[4].cv1.act = Novelty()

        path, _ = ultralytics_file("yolov8n", edit=add)
    with pytest.raises(CheckpointError, match=r"block\.Novelty at model\.4\.cv1\.act"):
        build(path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("ultralytics.nn.modules.C2f", "C2f"),  # 8.0 kept every module in one file
        ("ultralytics.nn.modules.Detect", "Detect"),
        ("ultralytics.nn.modules.conv.C3k", "C3k"),
        ("ultralytics.nn.modules.block.Silence", "Identity"),
        ("torch.nn.modules.conv.Conv2d", "Conv2d"),
        ("torchvision.models.resnet.Bottleneck", "Bottleneck"),
    ],
)
def test_module_class(path: str, name: str) -> None:
    import ultralytics.nn.tasks  # noqa: F401 (module_class looks in what build() has imported)

    assert module_class(path).__name__ == name


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "ultralytics.nn.autobackend.AutoBackend",
        "ultralytics.nn.modules.block.torch.load",
        "torch.nn.modules.module._addindent",
        "torch.nn.parallel.distributed.DistributedDataParallel",
        "__main__.Net",
        "",
    ],
)
def test_module_class_takes_nothing_but_network_modules(path: str) -> None:
    with pytest.raises(CheckpointError, match="has no such module"):
        module_class(path)


def test_nothing_of_the_file_runs(ultralytics_file: Callable[..., Any], tmp_path: Path) -> None:
    """The yaml's activation is evaluated by Ultralytics when it builds; attributes could hide methods."""
    proof = tmp_path / "executed"

    def poison(model: Any) -> None:
        model.yaml["activation"] = f"__import__('pathlib').Path({str(proof)!r}).touch()"
        model.model[0].__dict__["conv_forward"] = "harmless"
        model.model[0].__dict__["forward_fuse"] = "harmless"
        model.model[0].__dict__["_forward_hooks"] = {1: "harmless"}

    path, _ = ultralytics_file("yolov8n", edit=poison)
    built = build(path)
    assert not proof.exists()
    assert run(built.module, torch.rand(1, 3, 64, 64))[0].shape == (1, 7, 84)


def test_weights_are_checked_name_by_name(ultralytics_file: Callable[..., Any]) -> None:
    checkpoint = read_checkpoint(ultralytics_file("yolov8n")[0])
    fewer = dict(checkpoint.tensors)
    del fewer["model.4.cv1.bn.bias"]
    with pytest.raises(CheckpointError, match=r"lack model\.4\.cv1\.bn\.bias"):
        build_checkpoint(dataclasses.replace(checkpoint, tensors=fewer))
    more = {**checkpoint.tensors, "model.99.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"1 weights belong to no module.*model\.99\.weight"):
        build_checkpoint(dataclasses.replace(checkpoint, tensors=more))


def test_misshapen_weight_is_named(ultralytics_file: Callable[..., Any]) -> None:
    checkpoint = read_checkpoint(ultralytics_file("yolov8n")[0])
    tensors = {**checkpoint.tensors, "model.4.cv1.conv.weight": torch.zeros(5, 5, 1, 1)}
    with pytest.raises(CheckpointError, match=r"model\.4\.cv1"):
        build_checkpoint(dataclasses.replace(checkpoint, tensors=tensors))


def test_gray_images(ultralytics_file: Callable[..., Any]) -> None:
    def gray(model: Any) -> None:
        model.model[0].conv = nn.Conv2d(1, 16, 3, 2, 1, bias=False)

    built = build(ultralytics_file("yolov8n", edit=gray)[0])
    assert built.spec.input.channels == 1
    assert run(built.module, torch.rand(1, 1, 64, 64))[0].shape == (1, 7, 84)


def test_the_file_stays_as_it_was(ultralytics_file: Callable[..., Any]) -> None:
    """Folding makes new tensors: the reference and the checkpoint keep theirs."""
    checkpoint = read_checkpoint(ultralytics_file("yolov9t")[0])
    before = copy.deepcopy(dict(checkpoint.tensors))
    build_checkpoint(checkpoint)
    assert all(torch.equal(before[name], tensor) for name, tensor in checkpoint.tensors.items())


def test_a_pruned_layer_is_refused_by_what_makes_it_whole(ultralytics_file: Callable[..., Any]) -> None:
    from torch.nn.utils import prune

    def change(model: Any) -> None:
        prune.l1_unstructured(model.model[0].conv, "weight", 0.5)
        model.model[0].conv._parameters["weight_orig"].requires_grad_(False)
        del model.model[0].conv.weight  # as autograd's result it could not be copied
        model.model[0].conv.__dict__["weight"] = None

    path, _ = ultralytics_file("yolov8n", edit=change)
    with pytest.raises(
        CheckpointError, match=r"model\.0\.conv\.weight of the pickled module is stored in parts"
    ) as error:
        build(path)
    assert "torch.nn.utils.prune.remove" in str(error.value.hint)
