"""mmpretrain's own model and test pipeline as a second reading of a checkpoint."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deploykit_exporters.families.base import Witness
from deploykit_exporters.families.shared.mm.config import pipeline_steps

if TYPE_CHECKING:
    import numpy as np

    from deploykit_exporters.families.base import Hints

__all__ = ["mm_witness"]

# Parts of the training, and where to fetch weights: none of them is built.
_LEFT_OUT = ("init_cfg", "pretrained", "train_cfg", "data_preprocessor", "loss")
_BROKEN = (AttributeError, AssertionError, RuntimeError, TypeError, ValueError)


class _Logits(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.model(images, mode="tensor")
        logits: torch.Tensor = found[0] if isinstance(found, tuple) else found
        return logits


def mm_witness(
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    hints: Hints,
    size: tuple[int, int],
    *,
    features: bool,
) -> Witness | str:
    """Build the classifier that the configuration names, by mmpretrain's own constructors.

    Args:
        config: The training's configuration, whose ``model`` and pipeline the dialect has already checked:
            none of their classes is the user's.
        tensors: Weights under mmpretrain's names.
        size: (height, width) of the network's input.
        features: The built model returns features.

    Returns:
        The witness, or why there is none.
    """
    model = config.get("model")
    if not isinstance(model, Mapping):
        return "none: the file does not say which model of mmpretrain it is (meta.cfg)"
    if features:
        return "none: mmpretrain's backbones return their features in another form"
    if not any(name.startswith("backbone.") for name in tensors):
        return "none: the file holds a backbone alone"
    try:
        # Of the library's own, about operators that classifiers do not use.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mmpretrain, registry = import_module("mmpretrain"), import_module("mmpretrain.registry")
            import_module("mmpretrain.utils").register_all_modules()
    except ImportError as error:
        return f"none: mmpretrain is not installed ({error.name or error})"
    except _BROKEN as error:
        return f"none: mmpretrain cannot be imported here ({type(error).__name__}: {error})"
    built: Any = registry.MODELS.build(_without(copy.deepcopy(dict(model))))
    state = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    counters = {
        key: value for key, value in built.state_dict().items() if key.endswith("num_batches_tracked")
    }
    built.load_state_dict({**counters, **state}, strict=True)
    return Witness(
        library=f"mmpretrain {mmpretrain.__version__}",
        module=_Logits(built.eval()).eval(),
        preprocess=None if hints.imgsz else _pipeline(config),
    )


def _without(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the configuration without its training settings."""
    return {
        name: _without(value) if isinstance(value, dict) else value
        for name, value in part.items()
        if name not in _LEFT_OUT
    }


def _pipeline(config: Mapping[str, Any]) -> Callable[[np.ndarray], torch.Tensor] | None:
    """The test pipeline and the data preprocessor, or None if the configuration has none."""
    steps = pipeline_steps(config)
    model = config["model"]
    images = config.get("data_preprocessor") or model.get("data_preprocessor")
    if not steps or not isinstance(images, Mapping):
        return None
    build = import_module("mmpretrain.registry").TRANSFORMS.build
    transforms = [build(dict(step)) for step in steps]
    settings = {name: value for name, value in images.items() if name != "type"}
    prepare_batch = import_module("mmpretrain.models.utils").ClsDataPreprocessor(**settings)

    def prepare(image: np.ndarray) -> torch.Tensor:
        found: Any = {
            "img": image[..., ::-1].copy(),
            "img_shape": image.shape[:2],
            "ori_shape": image.shape[:2],
        }
        for transform in transforms:
            found = transform(found)
        pixels = torch.from_numpy(found["img"].copy()).permute(2, 0, 1)
        batch: torch.Tensor = prepare_batch({"inputs": [pixels]})["inputs"]
        return batch[0]

    return prepare
