"""The weights of an Ultralytics network without its modules: a state dict, and the yaml that says what it is.

The network is what Ultralytics' own constructor builds from the yaml. What training would have set (the
numbers of classes and channels, and the scale if the yaml has several) is read from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from deploykit_runtimes.errors import CheckpointError, OptionError

from deploykit_exporters.checkpoint import Checkpoint
from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.settings import Setting, Settings
from deploykit_exporters.families.shared.loading import load_strict
from deploykit_exporters.families.yolo.ultralytics.head import task_of_head
from deploykit_exporters.families.yolo.ultralytics.yaml import check_yaml, construct, misfits, shapes_of

__all__ = ["holds_bare_weights", "with_modules"]

_LAYER = re.compile(r"((?:\w+\.)*?)(\d+)\.(.+)")
_WRAPPERS = re.compile(r"(model\.)*")
_BLOCK = re.compile(r"cv1\.conv\.weight$")
_CONSTRUCTOR = (
    *("backbone", "head", "nc", "scales", "scale", "depth_multiple", "width_multiple", "max_channels"),
    *("activation", "kpt_shape", "reg_max", "end2end"),
)


def holds_bare_weights(checkpoint: Checkpoint) -> bool:
    """Whether the tensors are those of numbered layers with Ultralytics' blocks."""
    return checkpoint.module is None and bool(_numbered(checkpoint.tensors))


def _numbered(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under the names of a ``DetectionModel`` (``model.0.conv.weight``); otherwise empty."""
    found, starts = {}, set()
    for name, tensor in tensors.items():
        parts = _LAYER.fullmatch(name)
        if parts is None or parts[3] == "anchors":
            return {}
        starts.add(parts[1])
        found[f"model.{parts[2]}.{parts[3]}"] = tensor
    same = len(starts) == 1 and _WRAPPERS.fullmatch(next(iter(starts)))
    return found if same and any(map(_BLOCK.search, found)) else {}


def with_modules(checkpoint: Checkpoint, hints: Hints) -> tuple[Checkpoint, tuple[Setting, ...]]:
    """The checkpoint with the modules for its weights, and the treatment of the yaml's settings.

    Raises:
        CheckpointError: there is no yaml, or the weights are not those of its network.
        OptionError: the installed ultralytics has no such yaml.
    """
    tensors = _numbered(checkpoint.tensors)
    yaml = _yaml(checkpoint, hints)
    settings = Settings("config", yaml, hints.ignore)
    settings.honoured(*_CONSTRUCTOR, "names", "yaml_file")
    settings.harmless("read from the shapes of the weights", "ch", "channels")
    settings.harmless("names of the keypoints; the answers have their numbers", "kpt_names")
    settings.harmless("memory of training only", "inplace")
    accounted = settings.account(strict=True)
    ignored = {one.name for one in accounted if one.treatment == "ignored"}
    yaml = {name: value for name, value in yaml.items() if value is not None and name not in ignored}
    check_yaml(yaml)
    task = task_of_head(str(yaml["head"][-1][2]))
    channels = _channels(tensors)
    yaml = _fitting({**yaml, "nc": _classes(tensors) or yaml.get("nc")}, tensors, channels, checkpoint)
    model: Any = construct(yaml, task, channels)
    load_strict(model, tensors, source=checkpoint.path.name)
    model.names = yaml.get("names") or checkpoint.meta.get("names")
    return replace(checkpoint, tensors=tensors, module=model), accounted


def _yaml(checkpoint: Checkpoint, hints: Hints) -> dict[str, Any]:
    """The user's yaml, otherwise the one stored with the weights."""
    beside = checkpoint.meta.get("yaml")
    given = hints.config if hints.config is not None else beside
    if not isinstance(given, Mapping):
        raise CheckpointError(
            f"{checkpoint.path.name} holds the weights of an Ultralytics network without its architecture, "
            f"which they do not determine.",
            hint="Export the whole .pt file that training wrote (weights/best.pt), or name the yaml of the "
            "network: --config yolo11n.yaml, or your own file.",
        )
    return {**_installed(given["yaml"]), **_without(given, "yaml")} if "yaml" in given else dict(given)


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _installed(name: object) -> dict[str, Any]:
    """A yaml that comes with ultralytics, by its name."""
    from ultralytics.nn import tasks

    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+\.ya?ml", name):
        raise OptionError(f"`yaml` wants the name of a file that comes with ultralytics, found {name!r}.")
    try:
        return dict(tasks.yaml_model_load(name))
    except (FileNotFoundError, OSError) as error:
        raise OptionError(
            f"--config {name} is neither a file here nor one that comes with the installed ultralytics.",
            hint="For instance yolo11n.yaml, yolov8s-seg.yaml or yolo26n-pose.yaml.",
        ) from error


def _fitting(
    yaml: dict[str, Any], tensors: Mapping[str, torch.Tensor], channels: int, checkpoint: Checkpoint
) -> dict[str, Any]:
    """The yaml at the scale that fits the weights."""
    scales = yaml.get("scales")
    given = yaml.get("scale")
    names = [given] if given or not isinstance(scales, Mapping) else list(scales)
    tried = {name: {**yaml, "scale": name} if name else yaml for name in names}
    off = {name: misfits(shapes_of(one, channels), tensors) for name, one in tried.items()}
    best = min(off, key=lambda name: len(off[name]))
    if not off[best]:
        return tried[best]
    of = f" at any of the scales {', '.join(map(str, names))}" if len(names) > 1 else ""
    raise CheckpointError(
        f"The weights of {checkpoint.path.name} are not those of the yaml{of}: {len(off[best])} differ, the "
        f"first is {off[best][0]}.",
        hint="Give the yaml that the model was trained from; settings can be changed in JSON: "
        """--config '{"yaml": "yolo11n-pose.yaml", "kpt_shape": [5, 3]}'""",
    )


def _classes(tensors: Mapping[str, torch.Tensor]) -> int | None:
    """The number of rows of the last layer's scores."""
    scores = re.compile(r"model\.\d+\.((one2one_)?cv3\.0\.2|linear)\.weight")
    found = [tensor for name, tensor in tensors.items() if scores.fullmatch(name)]
    return int(found[-1].shape[0]) if found else None


def _channels(tensors: Mapping[str, torch.Tensor]) -> int:
    first = next((tensor for tensor in tensors.values() if tensor.ndim == 4), None)
    return 3 if first is None else int(first.shape[1])
