"""Reads any checkpoint file or folder into a ``Checkpoint``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.errors import CheckpointError, OptionError
from deploykit_runtimes.machine.exhausted import exhausted

from deploykit_exporters.checkpoint import Checkpoint, Container

if TYPE_CHECKING:
    from deploykit_exporters.containers.folder import Folder
    from deploykit_exporters.containers.weights.unwrap import Weights

__all__ = ["check_file", "read_checkpoint"]


def read_checkpoint(
    path: str | Path, *, trust: bool = False, weights: str | None = None, ignore: tuple[str, ...] = ()
) -> Checkpoint:
    """Read any supported checkpoint container.

    Args:
        path: A .pth/.pt/.ckpt/.bin/.safetensors/.h5 file or a Hugging Face folder.
        trust: Allow unpickling of classes that are not on the allow-list, which can execute
            code from the file. Only for files whose author is trusted.
        weights: The key of the weights to take, if the file holds several; None: EMA weights first. A text
            that is not a key of the file may be a prefix of names, and is passed on in ``Checkpoint.part``.
        ignore: Dangerous calls of the file (``os.system``) to tolerate; they are still not executed.

    Raises:
        CheckpointError: the file is missing, truncated, empty, or not a known container.
        UnsafeCheckpointError: the weights can only be reached by executing code from the file.
    """
    from deploykit_exporters.containers.folder import open_folder, sibling_folder

    path, how = Path(path).expanduser(), _How(trust=trust, choice=weights, ignore=ignore)
    try:
        if path.is_dir():
            return _read_folder(path, open_folder(path), how)
        if not path.is_file():
            raise _missing(path)
        folder = sibling_folder(path)
        return _read_file(path, how) if folder is None else _read_folder(path, folder, how)
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read: {error.strerror}.") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def check_file(path: Path) -> None:
    """Refuse a missing file, or one whose first bytes are not those of a checkpoint. No weights are read.

    Raises:
        CheckpointError: as ``read_checkpoint`` does for the same reasons.
    """
    from deploykit_exporters.containers.folder import open_folder, sibling_folder
    from deploykit_exporters.containers.sniff import sniff

    path = path.expanduser()
    try:
        if path.is_dir():
            for file in open_folder(path).weights:
                sniff(file)
        elif not path.is_file():
            raise _missing(path)
        elif sibling_folder(path) is None:
            sniff(path)
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read: {error.strerror}.") from error
    except OSError as error:
        raise _unreadable(path, error) from error


@dataclass(frozen=True, kw_only=True)
class _How:
    """The arguments of ``read_checkpoint``, with ``choice`` for its ``weights``."""

    trust: bool
    choice: str | None
    ignore: tuple[str, ...]


def _read_file(path: Path, how: _How) -> Checkpoint:
    weights, container = _weights(path, how)
    return _checkpoint(path, (path,), container, weights)


def _read_folder(path: Path, folder: Folder, how: _How) -> Checkpoint:
    parts = [_weights(file, how) for file in folder.weights]
    first, container = parts[0]
    note = f"Read {len(parts)} shards." if len(parts) > 1 else f"Read {folder.weights[0].name}."
    tensors = {name: tensor for part, _ in parts for name, tensor in part.tensors.items()}
    weights = replace(
        first,
        tensors=tensors,
        meta={**first.meta, **folder.meta},
        notes=(note, *folder.notes, *first.notes),
        sets=first.sets if len(parts) == 1 else {first.weights_key: tensors},
    )
    return _checkpoint(path, folder.weights, "huggingface" if "config" in folder.meta else container, weights)


def _weights(path: Path, how: _How) -> tuple[Weights, Container]:
    from deploykit_exporters.containers.pickles.dangerous import not_executed, refuse_dangerous
    from deploykit_exporters.containers.sniff import sniff
    from deploykit_exporters.containers.weights.unwrap import Weights, unwrap

    kind = sniff(path)
    if kind == "hdf5":
        from deploykit_exporters.containers.keras_h5 import read_keras

        keras = read_keras(path)
        if how.choice is not None:
            raise OptionError(f"--weights {how.choice}: a Keras file holds one set of weights.")
        return Weights(tensors=keras.tensors, meta=keras.meta), "keras-h5"
    if kind == "safetensors":
        from deploykit_exporters.containers.safetensors_file import read_safetensors

        tensors, text = read_safetensors(path)
        weights = unwrap(tensors, name=path.name, choice=how.choice)
        return replace(weights, meta={"safetensors": text} if text else {}), "safetensors"

    from deploykit_exporters.containers.torch_file import read_legacy, read_trusted, read_zip

    if how.trust:
        return unwrap(read_trusted(path), name=path.name, choice=how.choice), "torch"
    pickle = read_zip(path) if kind == "torch-zip" else read_legacy(path)
    notes = refuse_dangerous(pickle.inert, how.ignore, name=path.name)
    found = unwrap(pickle.value, name=path.name, inert=pickle.inert, choice=how.choice)
    return replace(found, notes=(*found.notes, *notes), not_executed=not_executed(pickle.inert)), "torch"


def _checkpoint(path: Path, files: Iterable[Path], container: Container, weights: Weights) -> Checkpoint:
    return Checkpoint(
        path=path,
        sha256=_sha256(files),
        container=container,
        tensors=weights.tensors,
        weights_key=weights.weights_key,
        meta=weights.meta,
        module=weights.module,
        notes=weights.notes,
        not_executed=weights.not_executed,
        sets=weights.sets,
        part=weights.part,
    )


def _sha256(files: Iterable[Path]) -> str:
    """The hash of the files one after the other; for one file, its usual hash."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> Exception:
    """The error for an unreadable path: a link to itself, an impossible name, a folder instead of weights.
    If the machine's resources are exhausted, it says so.
    """
    if exhausted(error) is not None:
        return error
    where = f" ({Path(str(error.filename)).name})" if error.filename else ""
    return CheckpointError(
        f"{path} cannot be read: {error.strerror or error}{where}.", hint="Fetch it again, or copy it whole."
    )


def _missing(path: Path) -> CheckpointError:
    if path.exists():
        return CheckpointError(f"{path} is a pipe, socket or device, wanted a checkpoint.")
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    near = get_close_matches(path.name, [entry.name for entry in beside])
    hint = f"Did you mean {' or '.join(near)}?" if near else "Check the path."
    return CheckpointError(f"{path} does not exist.", hint=hint)
