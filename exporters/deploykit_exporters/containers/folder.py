"""A Hugging Face folder: config.json (or open_clip_config.json) next to the weights, in one file or in
shards.

Shards are listed by an ``*.index.json`` whose ``weight_map`` gives the file of each tensor
(https://huggingface.co/docs/transformers/big_models).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.containers.labels import LARGEST
from deploykit_exporters.containers.texts import parse_json

__all__ = ["Folder", "open_folder", "sibling_folder"]

_WEIGHTS = (
    *("model.safetensors", "pytorch_model.bin"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
)
_INDEXES = tuple(f"{name}.index.json" for name in _WEIGHTS)
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.(safetensors|bin)")
_OTHERS = re.compile(
    r"adapter_model\.(safetensors|bin)|custom_checkpoint_\d+\.pkl|ema_\w+\.(safetensors|bin|pth|pt)"
)
_SUFFIXES = {".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".h5", ".hdf5", ".pkl"}


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder's weights files and parsed texts.

    ``meta`` has ``config``, ``preprocessor``, ``processor`` (where transformers 5 keeps the image processor
    of multimodal models) and ``open_clip``, each if present. ``notes``: files next to the weights that
    may hold other weights.
    """

    weights: tuple[Path, ...]
    meta: dict[str, Any]
    notes: tuple[str, ...] = ()


def open_folder(path: Path) -> Folder:
    """Find the weights of a folder.

    Raises:
        CheckpointError: there are none, several to choose from, or a shard is missing.
    """
    names = sorted(entry.name for entry in path.iterdir())
    _refuse_others(path, names)
    for name in (*_WEIGHTS, *_INDEXES):
        if name in names:
            _refuse_several(path, name, names)
            weights = _shards(path, name) if name in _INDEXES else (path / name,)
            return Folder(weights=weights, meta=_texts(path), notes=_left_out(names))
    found = [name for name in names if PurePath(name).suffix in _SUFFIXES]
    if len(found) == 1:
        return Folder(weights=(path / found[0],), meta=_texts(path))
    if found:
        raise CheckpointError(
            f"{path.name}/ holds {len(found)} checkpoints: {_listed(found)}.", hint="Give one of them."
        )
    raise CheckpointError(
        f"{path.name}/: wanted weights ({', '.join(_WEIGHTS)}), found {_listed(names) or 'an empty folder'}.",
        hint="Give the folder that save_pretrained() wrote, or a checkpoint file.",
    )


def _left_out(names: Iterable[str]) -> tuple[str, ...]:
    """A sentence on files that change or average the weights when their own library loads the folder."""
    found = [name for name in names if _OTHERS.fullmatch(name)]
    if not found:
        return ()
    return (
        f"Not read: {_listed(found)}, which may hold an adapter or an average of the weights "
        f"(PEFT's adapter_model, accelerate's custom_checkpoint).",
    )


def _refuse_several(path: Path, name: str, names: list[str]) -> None:
    """Refuse a folder in which accelerate's save_state() saved several models.

    Raises:
        CheckpointError: the folder holds ``model_1.safetensors`` next to ``model.safetensors``.
    """
    stem, dot, ending = name.partition(".")
    others = [one for one in names if re.fullmatch(rf"{stem}_\d+\{dot}{ending}", one)]
    if others:
        raise CheckpointError(
            f"{path.name}/ holds several models: {_listed([name, *others])}.",
            hint=f"Give the file of the one that is meant: {path.name}/{name}",
        )


def sibling_folder(path: Path) -> Folder | None:
    """The folder of a weights file or index that is next to its config.json, or None."""
    if path.name in _WEIGHTS and {"config", "open_clip"} & (meta := _texts(path.parent)).keys():
        names = sorted(entry.name for entry in path.parent.iterdir())
        return Folder(weights=(path,), meta=meta, notes=_left_out(names))
    if path.name in _INDEXES:
        return Folder(weights=_shards(path.parent, path.name), meta=_texts(path.parent))
    if path.name in ("config.json", "open_clip_config.json"):
        return open_folder(path.parent)
    if (shard := _SHARD.fullmatch(path.name)) and int(shard[3]) > 1 and path.is_file():
        raise CheckpointError(
            f"{path.name} is one of {int(shard[3])} shards, which hold the weights of one model.",
            hint=f"Give the index that lists them, {shard[1]}.{shard[4]}.index.json, or their folder.",
        )
    return None


def _texts(path: Path) -> dict[str, Any]:
    texts = {
        "config": path / "config.json",
        "preprocessor": path / "preprocessor_config.json",
        "processor": path / "processor_config.json",
        "open_clip": path / "open_clip_config.json",
    }
    return {key: _json(file) for key, file in texts.items() if file.is_file()}


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST:
        raise CheckpointError(
            f"{path.name} is larger than {LARGEST >> 20} MiB, too large to describe a model."
        )
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} cannot be read: {error}.", hint="Fetch the folder again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name}: wanted a JSON object, found a {type(content).__name__}.")
    return content


def _shards(path: Path, index: str) -> tuple[Path, ...]:
    weight_map = _json(path / index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map.", hint="Fetch the folder again.")
    names = sorted({str(name) for name in weight_map.values()})
    if outside := [name for name in names if PurePath(name).name != name or "\\" in name]:
        raise CheckpointError(f"{index} names files outside its folder: {_listed(outside)}.")
    if missing := [name for name in names if not (path / name).is_file()]:
        raise CheckpointError(
            f"{index} lists {len(names)} shards, of which these are missing: {_listed(missing)}.",
            hint="Fetch the whole folder again.",
        )
    return tuple(path / name for name in names)


def _refuse_others(path: Path, names: list[str]) -> None:
    if "adapter_config.json" in names:
        what, hint = "a PEFT adapter", "Merge it into its base model first (model.merge_and_unload())."
    elif any(name.endswith((".distcp", "_model_states.pt")) for name in names) or "latest" in names:
        what = "the shards of a distributed checkpoint"
        hint = (
            "Gather them into one file first (DeepSpeed: zero_to_fp32.py; torch: "
            "torch.distributed.checkpoint.format_utils.dcp_to_torch_save)."
        )
    elif "saved_model.pb" in names:
        what, hint = "a TensorFlow SavedModel", 'Save it from Keras as HDF5: model.save("model.h5").'
    else:
        return
    raise CheckpointError(f"{path.name}/: wanted the weights of a whole model, found {what}.", hint=hint)


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "")
