"""CUDA graphs: the work of one call, recorded once per shape and replayed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from deploykit_runtimes.trt.cuda import Cuda

__all__ = ["GraphCache"]

_KEPT = 8


class GraphCache:
    """The recorded graphs of one execution context; the least used one leaves for a new one.

    A graph holds addresses: ``clear`` is due when a buffer moves.
    """

    def __init__(self, cuda: Cuda, stream: Any) -> None:
        self._cuda = cuda
        self._stream = stream
        self._graphs: OrderedDict[Hashable, Any] = OrderedDict()

    def run(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue the work of a shape: recorded when the shape comes again, and replayed from then on."""
        if key not in self._graphs:
            self._graphs[key] = None
            self._trim()
            enqueue()
            return
        self._graphs.move_to_end(key)
        graph = self._graphs[key]
        if graph is None:
            # TensorRT wants a plain run after a change of shape, before a recording of it.
            enqueue()
            self._graphs[key] = self._cuda.record(enqueue, self._stream)
        else:
            self._cuda.launch(graph, self._stream)

    def clear(self) -> None:
        for graph in self._graphs.values():
            if graph is not None:
                self._cuda.free_graph(graph)
        self._graphs.clear()

    def _trim(self) -> None:
        while len(self._graphs) > _KEPT:
            _, graph = self._graphs.popitem(last=False)
            if graph is not None:
                self._cuda.free_graph(graph)
