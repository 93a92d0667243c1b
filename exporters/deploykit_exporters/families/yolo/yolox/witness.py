"""A YOLOX as built by the yolox package, if that is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec
from torch import nn

from deploykit_exporters.families.base import Witness
from deploykit_exporters.families.yolo.yolox.blocks import BN_EPS
from deploykit_exporters.families.yolo.yolox.shapes import Architecture

__all__ = ["ask_yolox"]

_CHANNELS = [256, 512, 1024]


def ask_yolox(
    architecture: Architecture, act: str, tensors: dict[str, torch.Tensor], spec: ModelSpec, *, legacy: bool
) -> Witness | str:
    """``Exp.get_model`` for the architecture with the weights of the file, or the reason why there is
    none.
    """
    try:
        models = _imported("yolox.models")
    except ImportError as error:
        missing = "is not installed" if error.name == "yolox" else f"cannot be imported ({error})"
        return f"none: yolox {missing}"
    if architecture.base is None:
        backbone = models.YOLOFPN()
        head = models.YOLOXHead(architecture.num_classes, 1.0, in_channels=[128, 256, 512], act=act)
    else:
        how: dict[str, Any] = {"in_channels": _CHANNELS, "act": act, "depthwise": architecture.depthwise}
        width = architecture.base / 64
        backbone = models.YOLOPAFPN(architecture.depth / 3, width, **how)
        head = models.YOLOXHead(architecture.num_classes, width, **how)
    model: nn.Module = models.YOLOX(backbone, head)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = BN_EPS
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    except RuntimeError as error:
        return f"none: the installed yolox builds another network ({str(error).splitlines()[-1].strip()})"
    library = f"yolox {_version()}"
    return Witness(library=library, module=model.eval(), preprocess=_preprocess(spec, legacy=legacy))


def _imported(name: str) -> Any:
    """A module of yolox 0.3.0, which uses deprecated parts of the standard library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def _version() -> str:
    try:
        return version("yolox")
    except PackageNotFoundError:
        return "from its sources"


def _preprocess(spec: ModelSpec, *, legacy: bool) -> Callable[[np.ndarray], torch.Tensor] | None:
    try:
        transform = _imported("yolox.data.data_augment").ValTransform(legacy=legacy)
    except ImportError:
        return None
    size = (spec.input.height, spec.input.width)

    def process(image: np.ndarray) -> torch.Tensor:
        found, _ = transform(np.ascontiguousarray(image[..., ::-1]), None, size)
        return torch.from_numpy(np.ascontiguousarray(found, np.float32))

    return process
