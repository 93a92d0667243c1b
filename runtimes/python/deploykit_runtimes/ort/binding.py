"""Calls of a session through buffers that stay on the device, one set per shape.

A CUDA graph replays kernels on the addresses at which it was recorded, so its inputs and outputs must
not move. ONNX Runtime records one graph per ``gpu_graph_id``; it is recorded by the first run of a shape
and replayed by the following ones. The same path works on the CPU, where nothing is recorded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["BoundCalls"]

_MAX_SHAPES = 16
"""Sets of buffers kept; beyond that the one not used for longest is given back."""


@dataclass(kw_only=True)
class _Bound:
    """Buffers of one combination of input shapes."""

    binding: Any
    inputs: dict[str, Any]
    run_options: Any


class BoundCalls:
    """Runs a session through bound buffers. Safe for many threads, which take turns.

    Args:
        ort: The onnxruntime module.
        session: The session.
        device: ``cuda`` or ``cpu``, as OrtValue names it.
        index: Number of the device.
        record: Record and replay a CUDA graph per shape.
    """

    def __init__(self, ort: Any, session: Any, *, device: str, index: int = 0, record: bool = False) -> None:
        self._ort = ort
        self._session = session
        self._device = device
        self._index = index
        self._record = record
        self._outputs = [output.name for output in session.get_outputs()]
        self._bound: OrderedDict[tuple[tuple[int, ...], ...], _Bound] = OrderedDict()
        self._graphs = 0
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One call; the outputs are copies that belong to the caller."""
        key = tuple(array.shape for array in feeds.values())
        with self._lock:
            bound = self._bound.get(key)
            if bound is None:
                bound = self._bound[key] = self._bind(feeds)
                if len(self._bound) > _MAX_SHAPES:
                    self._bound.popitem(last=False)
            self._bound.move_to_end(key)
            for name, array in feeds.items():
                bound.inputs[name].update_inplace(np.asarray(array, order="C"))
            self._session.run_with_iobinding(bound.binding, bound.run_options)
            found = bound.binding.copy_outputs_to_cpu()
            # On the CPU the "copies" are the buffers themselves, which the next call overwrites.
            owned = [np.array(array) if self._device == "cpu" else array for array in found]
        return dict(zip(self._outputs, owned, strict=True))

    def _bind(self, feeds: Mapping[str, np.ndarray]) -> _Bound:
        binding = self._session.io_binding()
        inputs = {}
        for name, array in feeds.items():
            inputs[name] = self._ort.OrtValue.ortvalue_from_shape_and_type(
                array.shape, array.dtype.type, self._device, self._index
            )
            binding.bind_ortvalue_input(name, inputs[name])
        for name in self._outputs:
            binding.bind_output(name, self._device, self._index)
        run_options = None
        if self._record:
            run_options = self._ort.RunOptions()
            run_options.add_run_config_entry("gpu_graph_id", str(self._graphs))
            self._graphs += 1
        return _Bound(binding=binding, inputs=inputs, run_options=run_options)
