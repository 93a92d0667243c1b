"""From a checkpoint to a proven ONNX file. Users reach it through ``import deploykit``.

Importing anything below needs the packages of the extra ``export``; what is missing is said here, once,
instead of by an ImportError somewhere in the middle.
"""

from __future__ import annotations

from importlib.util import find_spec

from deploykit_runtimes import __version__
from deploykit_runtimes.errors import DependencyError

__all__ = ["__version__"]

_NEEDED = ("torch", "timm", "onnx", "onnxscript", "onnxsim", "safetensors")


def _require_packages() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"Checkpoints are read and exported with {', '.join(_NEEDED)}; "
            f"not installed: {', '.join(missing)}.",
            hint="Install them with: pip install 'deploykit[export]'",
        )


_require_packages()
