"""The stand-alone script that records golden answers: where it is, and its use without the export
packages.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from deploykit_runtimes.errors import DependencyError

__all__ = ["load", "source"]

_NAME = "deploykit_record"


def source() -> Path:
    """The script that ``deploykit record --print`` prints; the package that contains it is not imported.

    Raises:
        DependencyError: this installation came without the exporters.
    """
    package = find_spec("deploykit_exporters")
    for folder in (package and package.submodule_search_locations) or ():
        if (path := Path(folder, "record.py")).is_file():
            return path
    raise DependencyError(
        "The file that records golden answers is not installed.",
        hint="Install deploykit again: pip install --force-reinstall deploykit",
    )


def load() -> Any:
    """The script as a module: a training machine needs only numpy and torch for it.

    Raises:
        DependencyError: torch is not installed.
    """
    if _NAME not in sys.modules:
        if find_spec("torch") is None:
            raise DependencyError(
                "deploykit.record runs a model of torch, which is not installed.", hint="pip install torch"
            )
        spec = spec_from_file_location(_NAME, source())
        if spec is None or spec.loader is None:
            raise AssertionError("a .py file has a loader")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[_NAME] = module
    return sys.modules[_NAME]
