"""The model of an Ultralytics file as built by the package's own constructor, and its own pre-processing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.errors import CheckpointError
from torch import nn

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.containers.pickles.inert import class_path, walk
from deploykit_exporters.families.base import Witness
from deploykit_exporters.families.yolo.detector_spec import plain_attributes
from deploykit_exporters.families.yolo.ultralytics.yaml import check_yaml, construct, misfits, shapes_of

if TYPE_CHECKING:
    from deploykit_exporters.families.yolo.ultralytics.network import YoloNetwork

__all__ = ["ask_ultralytics"]

_STATE = frozenset(
    (
        "np",
        "type",
        "inplace",
        "export",
        "format",
        "dynamic",
        "shape",
        "legacy",
        "xyxy",
        "max_det",
        "agnostic_nms",
    )
)
"""What does not change what a layer computes, or is set for every run."""


def ask_ultralytics(
    checkpoint: Checkpoint, spec: ModelSpec, ours: YoloNetwork, transforms: Any
) -> Witness | str:
    """The package's own model with the weights of the file, or the reason why there is none.

    The pickled modules are authoritative; the yaml is what they were built from. If they were changed
    since, or another release built them differently, the constructor is not a witness.
    """
    from ultralytics import __version__

    from deploykit_exporters.families.yolo.ultralytics.network import YoloNetwork

    yaml = getattr(checkpoint.module, "yaml", None)
    if not isinstance(yaml, Mapping):
        return "none: the file does not hold the yaml from which its network was built"
    try:
        check_yaml(yaml)
        off = misfits(shapes_of(yaml, spec.input.channels), checkpoint.tensors)
        if off:
            return (
                f"none: ultralytics {__version__} builds another network from the yaml of the file ({off[0]})"
            )
        model: Any = construct(yaml, spec.task, spec.input.channels)
    except CheckpointError as error:
        return f"none: {error.problem}"
    changed = next(_changes(checkpoint.module, model), "")
    if changed:
        return f"none: the modules of the file are not those that its yaml gives ({changed})"
    model.load_state_dict({name: tensor.float() for name, tensor in checkpoint.tensors.items()}, strict=True)
    network = YoloNetwork(model)
    if getattr(ours.head, "one2one_cv2", None) is not None:
        network.head.end2end = ours.head.end2end
    process: Callable[[np.ndarray], torch.Tensor] | None = _letterbox(spec)
    if spec.task == "classify":
        # Ultralytics itself reads images for classifiers as RGB only.
        process = _classify(transforms, spec) if spec.input.channels == 3 else None
    return Witness(library=f"ultralytics {__version__}", module=network, preprocess=process)


def _changes(tree: Any, model: nn.Module) -> Iterator[str]:
    """Modules in the file whose class or values differ from those of the constructor."""
    built = dict(model.named_modules())
    for name, inert in walk(tree):
        module = built.get(name)
        if not name.startswith("model.") or module is None:
            continue
        kind = class_path(inert).rpartition(".")[2]
        if kind != type(module).__name__:
            yield f"{name} is a {kind}, not a {type(module).__name__}"
            continue
        found, wanted = plain_attributes(inert), plain_attributes(module)
        for key in (found.keys() & wanted.keys()) - _STATE:
            if _is_number_or_text(found[key]) and _plain(found[key]) != _plain(wanted[key]):
                yield f"{name}.{key} is {found[key]}, not {wanted[key]}"


def _is_number_or_text(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) or (
        isinstance(value, list | tuple) and all(isinstance(one, int | float) for one in value)
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _letterbox(spec: ModelSpec) -> Callable[[np.ndarray], torch.Tensor]:
    """The image preparation of ``ultralytics.engine.predictor.BasePredictor`` for a graph of fixed size."""
    from ultralytics.data.augment import LetterBox

    size = (spec.input.height, spec.input.width)

    def process(image: np.ndarray) -> torch.Tensor:
        colour = image.shape[2] == 3
        own = np.ascontiguousarray(image[..., ::-1]) if colour else image
        found = LetterBox(size, auto=False, stride=spec.preprocess.stride)(image=own)
        planes = (found[..., ::-1] if colour else found).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(planes)).float() / 255

    return process


def _classify(transforms: Any, spec: ModelSpec) -> Callable[[np.ndarray], torch.Tensor]:
    """torchvision's transforms as stored in the file, otherwise those that Ultralytics makes for the size."""
    from PIL import Image
    from ultralytics.data.augment import classify_transforms

    from deploykit_exporters.families.yolo.ultralytics.classifier_transforms import own_transforms

    size = (spec.input.height, spec.input.width)
    own = own_transforms(transforms, size)
    process = classify_transforms(size) if own is None else own
    return lambda image: process(Image.fromarray(image))
