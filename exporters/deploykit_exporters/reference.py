"""The oracle: the checkpoint itself, run by torch behind the Runner protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from deploykit_runtimes.runner import Placement, TensorInfo, check_feeds
from deploykit_runtimes.spec import ModelSpec

from deploykit_exporters.families.base import BuiltModel

__all__ = ["TorchRunner"]


class TorchRunner:
    """A built model in torch eager mode on the CPU. Keeps the ``Runner`` protocol.

    Args:
        built: The model.
        spec: Its spec with the dynamic axes to allow; None: ``built.spec``.
        threads: Threads inside one operator, for this whole process (torch knows no narrower
            setting); None leaves torch's own choice.
    """

    def __init__(
        self, built: BuiltModel, spec: ModelSpec | None = None, *, threads: int | None = None
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._module = built.module.eval()
        self._spec = spec or built.spec
        image = self._spec.input
        sizes = {
            "batch": image.batch,
            "channels": image.channels,
            "height": image.height,
            "width": image.width,
        }
        shape = tuple(name if name in image.dynamic else n for name, n in sizes.items())
        self._inputs = (TensorInfo(name=image.name, dtype=image.dtype, shape=shape),)
        self._outputs = tuple(
            TensorInfo(name=name, dtype="float32", shape=("?",)) for name in self._spec.output.names
        )

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return self._outputs

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        check_feeds(self._spec, self._inputs, feeds)
        images = torch.from_numpy(np.ascontiguousarray(feeds[self._spec.input.name]))
        with torch.inference_mode():
            found = self._module(images)
        tensors = (found,) if isinstance(found, torch.Tensor) else tuple(found)
        return {name: tensor.numpy() for name, tensor in zip(self._spec.output.names, tensors, strict=True)}

    def placement(self) -> Placement:
        return Placement(engine="torch eager", version=torch.__version__, device="cpu")

    def close(self) -> None:
        """Nothing to release: the weights go with the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
