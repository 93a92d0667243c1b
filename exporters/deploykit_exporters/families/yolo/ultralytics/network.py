"""The two forms of an Ultralytics network: the reference, and one that exports well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from deploykit_runtimes.errors import CheckpointError
from deploykit_runtimes.text.printable import one_line
from torch import nn

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import children
from deploykit_exporters.families.yolo.distances import ExpectedDistances
from deploykit_exporters.families.yolo.selection import select_detections
from deploykit_exporters.families.yolo.ultralytics.modules import ModuleBuilder

__all__ = ["YoloNetwork", "build_networks", "input_channels"]

_MAX_DET = 300
_MISFIT = (AttributeError, AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class YoloNetwork(nn.Module):
    """An Ultralytics network that returns only the outputs named in the spec.

    ``forward(images[N, C, H, W])``, pixels in 0..1, returns ``predictions`` or ``detections`` (and
    ``protos`` for segmentation) or ``probabilities``, as Ultralytics' predictor sees them before NMS.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    @property
    def head(self) -> Any:
        """The last layer."""
        return self.network.model[-1]  # type: ignore[index]

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        outputs = self.network(images)
        if hasattr(self.head, "proto"):
            # ((predictions, protos), training outputs), or the pair alone in export mode; before 8.4
            # (predictions, (features, coefficients, protos)).
            predictions, protos = outputs[0] if isinstance(outputs[0], tuple) else outputs
            return predictions, protos[-1] if isinstance(protos, tuple) else protos
        return outputs[0] if isinstance(outputs, tuple | list) else outputs  # type: ignore[no-any-return]


def build_networks(checkpoint: Checkpoint, *, one_to_one: bool) -> tuple[YoloNetwork, YoloNetwork]:
    """The reference and the exportable form of a pickled network, sharing weights.

    The reference keeps every module as it was trained. In the exportable one, BatchNorm and parallel
    branches are folded into the convolutions, branches used only in training are gone, anchors are computed
    from the shapes of the feature maps, and distances are computed without a softmax.

    Args:
        checkpoint: The checkpoint with the modules and weights.
        one_to_one: Whether the one-to-one branch of the head is used.

    Raises:
        CheckpointError: the modules do not fit the installed ultralytics.
    """
    tree = checkpoint.module
    builder = ModuleBuilder(checkpoint.tensors)
    try:
        reference, exportable = (_assemble(builder, tree, one_to_one=one_to_one) for _ in range(2))
        _make_exportable(exportable)
    except _MISFIT as error:
        raise _misfit(checkpoint, "the network", error) from error
    _check_runs(exportable, checkpoint)
    return reference, exportable


def _make_exportable(network: YoloNetwork) -> None:
    network.network.fuse(verbose=False)  # type: ignore[operator]
    network.head.export = True
    network.head.dynamic = True
    network.head.format = "onnx"
    bins = getattr(getattr(network.head, "dfl", None), "conv", None)
    if bins is not None:
        network.head.dfl = ExpectedDistances(bins.weight)
    if _has_one_to_one(network.head):
        limit, num_classes = int(network.head.max_det), int(network.head.nc)
        network.head.postprocess = lambda rows, *_: select_detections(rows, num_classes, limit)
    for module in network.modules():
        split = getattr(module, "forward_split", None)
        if split is not None:  # one Split node where chunk() becomes two Slices
            module.forward = split


def _assemble(builder: ModuleBuilder, tree: Any, *, one_to_one: bool) -> YoloNetwork:
    from ultralytics.nn.tasks import BaseModel

    network = BaseModel()
    network.model = builder.build(children(tree)["model"], "model")
    network.save = [int(index) for index in tree.save]
    wrapped = YoloNetwork(network.eval())
    head = wrapped.head
    head.export, head.dynamic, head.format, head.shape = False, False, None, None
    if _has_one_to_one(head):
        head.end2end = one_to_one
        head.max_det, head.agnostic_nms = _MAX_DET, False  # as predict() sets them, whatever the file says
    if hasattr(head, "xyxy"):
        head.xyxy = False
    return wrapped


def _has_one_to_one(head: nn.Module) -> bool:
    return getattr(head, "one2one_cv2", None) is not None


def _check_runs(network: YoloNetwork, checkpoint: Checkpoint) -> None:
    """Run once at a small size: every layer must work and every weight must take part. A fork's class may
    have parts that the released class of the same name would leave out.
    """
    running: list[str] = []
    entered: set[str] = set()

    def enter(name: str) -> None:
        running.append(name)
        entered.add(name)

    def leave() -> None:
        del running[-1]

    modules = dict(network.network.named_modules())
    hooks = []
    for name, module in modules.items():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
        hooks.append(module.register_forward_hook(lambda *_: leave()))
    try:
        with torch.inference_mode():
            network(torch.zeros(1, input_channels(network), 64, 64))
    except _MISFIT as error:
        raise _misfit(checkpoint, _place(modules, running[-1]), error) from error
    finally:
        for hook in hooks:
            hook.remove()
    # Attention reads the weights of its out_proj without calling it.
    idle = [
        name
        for name, module in modules.items()
        if module._parameters and name not in entered and not name.endswith("out_proj")
    ]
    if idle:
        raise CheckpointError(
            f"{checkpoint.path.name}: {len(idle)} modules with weights take no part in "
            f"{_versions(checkpoint)}, the first is {_place(modules, idle[0])}.",
            hint="It was trained with a modified ultralytics, whose modules compute something else.",
        )


def _misfit(checkpoint: Checkpoint, what: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint.path.name}: {what} does not run in {_versions(checkpoint)}: {one_line(error)}",
        hint="It was trained with a modified or a newer ultralytics: try `pip install -U ultralytics`.",
    )


def _place(modules: Mapping[str, nn.Module], name: str) -> str:
    return f"{name} ({type(modules[name]).__name__})"


def input_channels(network: nn.Module) -> int:
    """The number of image channels: those of the first convolution."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    return first.in_channels


def _versions(checkpoint: Checkpoint) -> str:
    import ultralytics

    trained = checkpoint.meta.get("version")
    of = f" (the file was written by {trained})" if isinstance(trained, str) else ""
    return f"ultralytics {ultralytics.__version__}{of}"
