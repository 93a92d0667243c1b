"""Pickles that call whatever they are made of, and what is read of any pickle."""

from __future__ import annotations

import io
import pickle
from typing import Any

from deploykit_exporters.containers.pickles.unpickle import load_inert

PROTOCOLS = range(6)


class Call:
    """Pickles as a call of any function, which may be another ``Call``."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.call = (function, args, state) if state is not None else (function, args)

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """pickle only takes what can be called."""


def inert(obj: Any, protocol: int = 2) -> Any:
    return load_inert(io.BytesIO(pickle.dumps(obj, protocol))).value
