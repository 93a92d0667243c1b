"""Keras HDF5 files: the weights of a model, or a whole model.

Keras writes a group per layer, whose attribute ``weight_names`` lists its data sets in order, under the
root (``save_weights``) or under ``model_weights`` (``save``). An attribute too large for HDF5 is split into
``name0``, ``name1``, ... (keras/src/legacy/saving/legacy_h5_format.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from deploykit_runtimes.errors import CheckpointError

__all__ = ["KerasFile", "read_keras"]

# A data set may be stored compressed, or as nothing but a fill value.
_MAX_EXPANSION = 1000
_FREE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class KerasFile:
    """The arrays of a file by ``layer/weight`` (``stem_conv/kernel:0``), unchanged (channels last), in the
    order of the model; ``meta`` holds ``keras_version``, ``backend``, ``layer_names`` and, for a whole
    model, ``model_config``."""

    tensors: dict[str, torch.Tensor]
    meta: dict[str, Any]


def read_keras(path: Path) -> KerasFile:
    """Read a Keras HDF5 file.

    Raises:
        CheckpointError: it is damaged, not written by Keras, or of Keras 3's form of numbered variables.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read(path, file)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise CheckpointError(
            f"{path.name} is not a complete HDF5 file: {error}.",
            hint="The file is truncated or damaged; copy or download it again.",
        ) from error


def _read(path: Path, file: Any) -> KerasFile:
    root = file.get("model_weights", file)
    layers = _names(root, "layer_names")
    if not layers:
        raise _foreign(path, file)
    datasets = _datasets(root)
    tensors: dict[str, torch.Tensor] = {}
    for layer in layers:
        for weight in _names(root[layer], "weight_names"):
            dataset = datasets.get(f"{layer}/{weight}")
            if dataset is None:
                raise CheckpointError(f"{path.name} lists the weight {layer}/{weight}, but does not hold it.")
            name = _short_name(layer, weight)
            tensors[name if name not in tensors else f"{layer}/{weight}"] = _tensor(path, dataset)
    meta: dict[str, Any] = {"layer_names": layers}
    for key in ("keras_version", "backend"):
        if (value := root.attrs.get(key, file.attrs.get(key))) is not None:
            meta[key] = _text(value)
    if (config := file.attrs.get("model_config")) is not None:
        meta["model_config"] = json.loads(_text(config))
    return KerasFile(tensors=tensors, meta=meta)


def _short_name(layer: str, weight: str) -> str:
    """``layer/weight``, from the layer's own name on where the path repeats it; for a model inside the
    model, whose name says nothing, the last two parts."""
    parts = weight.split("/")
    if layer in parts:
        inner = parts[len(parts) - 1 - parts[::-1].index(layer) :]
        return "/".join(inner) if len(inner) > 1 else weight
    return "/".join(parts[-2:]) if len(parts) > 1 else f"{layer}/{weight}"


def _datasets(root: Any) -> dict[str, Any]:
    """Every data set by its path. ``visititems`` does not follow links into other files."""
    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    root.visititems(note)
    return found


def _tensor(path: Path, dataset: Any) -> torch.Tensor:
    if dataset.dtype.kind not in "fiub" or dataset.is_virtual or dataset.external:
        raise CheckpointError(f"{path.name}: {dataset.name} is not a plain array of numbers.")
    if dataset.nbytes > _FREE_BYTES + _MAX_EXPANSION * dataset.id.get_storage_size():
        raise CheckpointError(
            f"{path.name}: {dataset.name} claims {dataset.nbytes} bytes that it does not hold."
        )
    array = np.asarray(dataset[()])
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _names(group: Any, attribute: str) -> list[str]:
    values = group.attrs.get(attribute)
    if values is None:
        chunks = iter(range(len(group.attrs)))
        values = [
            value
            for chunk in chunks
            if (part := group.attrs.get(f"{attribute}{chunk}")) is not None
            for value in part
        ]
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _foreign(path: Path, file: Any) -> CheckpointError:
    if "layers" in file or "_layer_checkpoint_dependencies" in file:
        return CheckpointError(
            f"{path.name} is of Keras 3's form, whose variables have numbers instead of names.",
            hint='Save it from Keras as HDF5 with names: model.save("model.h5").',
        )
    return CheckpointError(
        f"{path.name}: wanted the weights of a Keras model, found an HDF5 file with {_listed(file)}.",
        hint="Give a file that Keras wrote with save_weights() or save().",
    )


def _listed(file: Any) -> str:
    return ", ".join(list(file)[:5]) or "nothing"
