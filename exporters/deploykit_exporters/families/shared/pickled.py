"""The code of a pickled network: where the classes of its modules come from."""

from __future__ import annotations

from fnmatch import fnmatchcase
from shlex import quote
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.pickles.inert import children, class_path, is_module, walk

if TYPE_CHECKING:
    from deploykit_exporters.families.base import Hints

__all__ = ["at", "is_own", "refuse_own_code"]

_LIBRARIES = frozenset(
    {
        *("timm", "torchvision", "transformers", "efficientnet_pytorch", "mmpretrain", "mmcls", "mmengine"),
        *("mmcv", "open_clip", "torch", "dinov2", "dinov3", "clip"),
    }
)


def is_own(module: Any) -> bool:
    """Whether a pickled module has a class from no known library: its code is not in the file."""
    return is_module(module) and class_path(module).partition(".")[0] not in _LIBRARIES


def at(module: Any, path: str) -> Any:
    """The pickled module at a dotted path; None if there is none. An empty path is the module itself."""
    for part in filter(None, path.split(".")):
        module = children(module).get(part)
    return module


def refuse_own_code(module: Any, path: str, hints: Hints, file: str) -> None:
    """Refuse custom modules inside a network or classifier that is otherwise from a library.

    Args:
        module: The pickled tree, or None.
        path: Where the network or its classifier is.
        hints: ``ignore`` names classes whose code does what the library's does.
        file: Its name, for errors.

    Raises:
        CheckpointError: names the class, and the option that declares it equivalent.
    """
    root = at(module, path)
    if not is_module(root) or is_own(root):
        return
    for inner, part in walk(root):
        kind = class_path(part)
        if is_own(part) and not any(fnmatchcase(kind, one) for one in hints.ignore):
            where = ".".join(filter(None, (path, inner)))
            raise CheckpointError(
                f"{file}: {where} is a {kind}, a custom class inside a {class_path(root)}: what its "
                "code does is not in the file.",
                hint="If it does what the layer of the library in its place does, say so: "
                f"--ignore {quote(kind)}",
            )
