"""The oracle: the checkpoint itself, run by torch behind the Runner protocol.

For the proof it is torch as the training code used it (eager, FP32). For comparison in benchmarks there
are the two usual ways to make it faster, and CUDA.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import OptionError, RuntimeUnavailableError
from deploykit_runtimes.runner import BaseRunner, Placement, check_feeds
from torch import nn

from deploykit_exporters.families.base import BuiltModel

__all__ = ["TORCH_RUNTIMES", "TorchMode", "TorchRunner", "open_reference"]


@dataclass(frozen=True, kw_only=True)
class TorchMode:
    """How torch runs the model.

    Attributes:
        device: Where.
        variant: ``eager``; ``channels-last``: NHWC memory, which convolutions like; ``compile``:
            ``torch.compile``, which compiles at the first call of a shape, for seconds to minutes.
        gpu: Number of the GPU, for ``cuda``.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    variant: Literal["eager", "channels-last", "compile"] = "eager"
    gpu: int = 0

    @property
    def place(self) -> str:
        """torch's name of the device."""
        return f"cuda:{self.gpu}" if self.device == "cuda" else self.device


TORCH_RUNTIMES = {
    "torch": TorchMode(),
    "torch-channels-last": TorchMode(variant="channels-last"),
    "torch-compile": TorchMode(variant="compile"),
    "torch-cuda": TorchMode(device="cuda"),
    "torch-cuda-channels-last": TorchMode(device="cuda", variant="channels-last"),
    "torch-cuda-compile": TorchMode(device="cuda", variant="compile"),
}
"""The names of the modes in ``deploykit bench --runtime``."""


def open_reference(
    checkpoint: str | Path, spec: ModelSpec, *, mode: TorchMode | None = None, threads: int | None = None
) -> TorchRunner:
    """Build the network of an exported file again from its checkpoint, to run it by torch.

    Pre- and post-processing inside the file are not part of it: if there is some, the torch side does
    less work than the file.

    Args:
        checkpoint: What the file was exported from.
        spec: The contract of the file.
        mode: See ``TorchMode``; eager on the CPU when None.
        threads: See ``TorchRunner``.

    Raises:
        CheckpointError: it cannot be read or recognised.
        OptionError: it is not what the file was exported from.
        RuntimeUnavailableError: there is no such device.
    """
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.load import load_checkpoint

    hints = Hints(imgsz=(spec.tensor.height, spec.tensor.width), features=spec.task == "features")
    built = load_checkpoint(checkpoint, hints).built
    if (built.spec.task, built.spec.num_classes) != (spec.task, spec.num_classes):
        raise OptionError(
            f"{checkpoint} is {built.spec.variant} with {built.spec.num_classes} classes, the model is "
            f"{spec.variant} with {spec.num_classes}.",
            hint="Give the checkpoint that the model was exported from.",
        )
    return TorchRunner(built, replace(built.spec, input=spec.tensor), mode=mode, threads=threads)


class TorchRunner(BaseRunner):
    """A built model in torch. Keeps the ``Runner`` protocol.

    Args:
        built: The model.
        spec: Its spec with the dynamic axes to allow; None: ``built.spec``.
        mode: Where and how; None: eager on the CPU.
        threads: Threads inside one operator, for this whole process (torch knows no narrower
            setting); None leaves torch's own choice.

    Raises:
        RuntimeUnavailableError: CUDA was asked for and torch finds none.
    """

    def __init__(
        self,
        built: BuiltModel,
        spec: ModelSpec | None = None,
        *,
        mode: TorchMode | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._mode = mode or TorchMode()
        self._module = _prepared(built.module.eval(), self._mode)
        self._spec = spec or built.spec
        image = self._spec.input
        self._inputs = (TensorInfo(name=image.name, dtype=image.dtype, shape=image.shape),)
        self._outputs = tuple(
            TensorInfo(name=name, dtype="float32", shape=("?",)) for name in self._spec.output.names
        )

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        check_feeds(self._spec, self._inputs, feeds)
        images = torch.from_numpy(np.ascontiguousarray(feeds[self._spec.input.name])).to(self._mode.place)
        if self._mode.variant == "channels-last":
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = self._module(images)
        tensors = (found,) if isinstance(found, torch.Tensor) else tuple(found)
        # Copying back waits for the device.
        return {
            name: tensor.cpu().numpy() for name, tensor in zip(self._spec.output.names, tensors, strict=True)
        }

    def placement(self) -> Placement:
        return Placement(
            engine=f"torch {self._mode.variant}", version=torch.__version__, device=self._mode.device
        )


def _prepared(module: nn.Module, mode: TorchMode) -> Callable[[torch.Tensor], Any]:
    if mode.device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeUnavailableError(
                f"CUDA was asked for, but torch {torch.__version__} finds no GPU.",
                hint="--runtime torch runs the checkpoint on the CPU.",
            )
        if mode.gpu >= torch.cuda.device_count():
            raise RuntimeUnavailableError(
                f"GPU {mode.gpu} was asked for, torch finds {torch.cuda.device_count()}, counted from 0."
            )
        # A copy: the checkpoint's module stays where it was.
        module = copy.deepcopy(module).to(mode.place)
    if mode.variant == "channels-last":
        module = copy.deepcopy(module).to(memory_format=torch.channels_last)
    if mode.variant == "compile":
        compiled: Callable[[torch.Tensor], Any] = torch.compile(module)
        return compiled
    return module
