"""Models that are recorded, and what the tests of their golden answers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from deploykit_exporters.export import ExportResult
from deploykit_runtimes.errors import ParityError
from PIL import Image
from torch import nn
from torchvision import transforms

SIDE = 64
NAMES = tuple("abcdefg")
Perturb = Callable[..., nn.Module]
Make = Callable[..., nn.Module]
Prove = Callable[..., ExportResult]


def evaluation(
    side: int = SIDE,
    *,
    crop: float = 0.9,
    by: Any = transforms.InterpolationMode.BICUBIC,
    mean: Any = (0.5,) * 3,
    std: Any = (0.5,) * 3,
) -> transforms.Compose:
    """A timm ViT's evaluation, as torchvision's transforms."""
    return transforms.Compose(
        [
            transforms.Resize(int(side / crop), interpolation=by),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


def refused(run: Callable[[], object]) -> ParityError:
    with pytest.raises(ParityError) as caught:
        run()
    assert caught.value.exit_code == 3
    return caught.value


def letterbox(side: int, image: Image.Image) -> np.ndarray:
    from ultralytics.data.augment import LetterBox

    boxed = LetterBox((side, side))(image=np.array(image))
    return np.asarray(boxed.transpose(2, 0, 1), np.float32) / 255
