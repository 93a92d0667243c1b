"""Memory for input tensors that is used again."""

from __future__ import annotations

import math
import threading

import numpy as np

__all__ = ["TensorMemory"]

_SPARE = 16
"""Memory that is this many times larger than the next tensor is given back."""


class TensorMemory(threading.local):
    """The input tensor of a thread's last call, kept for its next one.

    Fresh memory of this size comes from the kernel page by page, which costs more than filling it.
    """

    tensor = buffer = np.empty(0, np.float32)

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uninitialised float32 of this shape, valid until the thread takes the next one."""
        if self.tensor.shape != shape:
            count = math.prod(shape)
            if not count <= self.buffer.size <= _SPARE * count:
                self.buffer = np.empty(count, np.float32)
            self.tensor = self.buffer[:count].reshape(shape)
        return self.tensor
