"""Keras HDF5 files: the weights of a model, or a whole model.

Keras writes a group per layer, whose attribute ``weight_names`` lists its data sets in order, under the
root (``save_weights``) or under ``model_weights`` (``save``). An attribute too large for HDF5 is split into
``name0``, ``name1``, ... (keras/src/legacy/saving/legacy_h5_format.py).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.budget import ExcessError, excess
from deploykit_exporters.containers.hdf5 import Hdf5Reader, NotPlainDataError
from deploykit_exporters.containers.texts import parse_json

__all__ = ["KerasFile", "read_keras"]


_AGAIN = "Save it again from Keras."
_MAX_LEVELS = 64  # a model in a model in a model, whose names are paths, has ten


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
        CheckpointError: it is damaged, not written by Keras, or in Keras 3's form with numbered variables.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read(path, Hdf5Reader(path, file))
    except ExcessError as error:
        raise excess(path.name, error, "Save it again from Keras.") from error
    except NotPlainDataError as error:
        raise CheckpointError(f"{path.name}: {error}.", hint=_AGAIN) from error
    except (OSError, LookupError, ValueError, TypeError, RuntimeError, RecursionError, zlib.error) as error:
        raise CheckpointError(
            f"{path.name} is not a complete HDF5 file: {error}.",
            hint="The file is truncated or damaged; copy or download it again.",
        ) from error


def _read(path: Path, reader: Hdf5Reader) -> KerasFile:
    root = reader.group("model_weights") or reader.file
    layers = _names(reader, root, "layer_names")
    if not layers:
        raise _not_keras(path, reader.file)
    groups, datasets = _contents(root)
    tensors: dict[str, torch.Tensor] = {}
    for layer in dict.fromkeys(layers):
        if layer not in groups:
            raise CheckpointError(f"{path.name} lists the layer {layer}, but does not hold it.", hint=_AGAIN)
        for weight in _names(reader, groups[layer], "weight_names"):
            dataset = datasets.get(f"{layer}/{weight}")
            if dataset is None:
                raise CheckpointError(
                    f"{path.name} lists the weight {layer}/{weight}, but does not hold it.", hint=_AGAIN
                )
            name = _short_name(layer, weight)
            tensors[name if name not in tensors else f"{layer}/{weight}"] = torch.from_numpy(
                reader.array(dataset)
            )
    meta: dict[str, Any] = {"layer_names": layers}
    for key in ("keras_version", "backend"):
        if (value := _either(reader, root, key)) is not None:
            meta[key] = _text(value)
    if (config := reader.attribute(reader.file, "model_config")) is not None:
        meta["model_config"] = parse_json(_text(config))
    return KerasFile(tensors=tensors, meta=meta)


def _either(reader: Hdf5Reader, root: Any, key: str) -> Any:
    value = reader.attribute(root, key)
    return reader.attribute(reader.file, key) if value is None else value


def _short_name(layer: str, weight: str) -> str:
    """``layer/weight``, starting at the layer's own name if the path repeats it; for a nested model, whose
    name says nothing, the last two parts.
    """
    parts = weight.split("/")
    if layer in parts:
        inner = parts[len(parts) - 1 - parts[::-1].index(layer) :]
        return "/".join(inner) if len(inner) > 1 else weight
    return "/".join(parts[-2:]) if len(parts) > 1 else f"{layer}/{weight}"


def _contents(root: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every group and every data set by its path, once. Links into other files are not followed.

    ``visititems`` takes time quadratic in the number of levels, which a file can choose.

    Raises:
        NotPlainDataError: the groups are nested deeper than layers are.
    """
    groups: dict[str, Any] = {}
    datasets: dict[str, Any] = {}
    pending = [("", root, 0)]
    seen: set[int] = set()
    while pending:
        prefix, group, depth = pending.pop()
        if depth > _MAX_LEVELS:
            raise NotPlainDataError(f"it has groups in groups, more than {_MAX_LEVELS} levels deep")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            if (address := h5py.h5o.get_info(item.id).addr) in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Dataset):
                datasets[prefix + name] = item
            elif isinstance(item, h5py.Group):
                groups[prefix + name] = item
                pending.append((f"{prefix}{name}/", item, depth + 1))
    return groups, datasets


def _names(reader: Hdf5Reader, group: Any, attribute: str) -> list[str]:
    values = reader.attribute(group, attribute)
    if values is None:
        values = []
        while (part := reader.attribute(group, f"{attribute}{len(values)}")) is not None:
            values.append(part)
        values = [value for part in values for value in part]
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _not_keras(path: Path, file: Any) -> CheckpointError:
    if "layers" in file or "_layer_checkpoint_dependencies" in file:
        return CheckpointError(
            f"{path.name} is in Keras 3's form, whose variables have numbers instead of names.",
            hint='Save it from Keras as HDF5 with names: model.save("model.h5").',
        )
    return CheckpointError(
        f"{path.name}: wanted the weights of a Keras model, found an HDF5 file with {_listed(file)}.",
        hint="Give a file that Keras wrote with save_weights() or save().",
    )


def _listed(file: Any) -> str:
    return ", ".join(list(file)[:5]) or "nothing"
