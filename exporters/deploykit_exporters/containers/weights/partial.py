"""Files with only a part of a model's weights, or none: what they are, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from deploykit_runtimes.errors import CheckpointError, UnsafeCheckpointError

from deploykit_exporters.containers.pickles.inert import InertObject, class_path
from deploykit_exporters.containers.weights.found import Tensors, entries_of
from deploykit_exporters.containers.weights.parametrized import PARAMETRIZED

__all__ = ["nothing_found", "refuse_partial"]

_QUANTISERS = re.compile(r"(^|\.)(weight_fake_quant|activation_post_process)\.|\.fake_quant_enabled$")
_ADAPTER = re.compile(
    r"\.(lora_|hada_|lokr_|adapter_)|lora_(A|B|up|down)\b"
    r"|\.(base_layer|original_module|modules_to_save)\.|\.(ia3|vera|oft|boft|hra|fourierft)_"
)


def refuse_partial(tensors: Tensors, entries: Mapping[str, Any], name: str) -> None:
    """Refuse a shard, an adapter, or a model wrapped in its training tools.

    Raises:
        CheckpointError: the weights are one of them.
    """
    if any("flat_param" in key for key in tensors):
        raise _sharded(name, "FSDP", "FullStateDictConfig (state_dict_type FULL_STATE_DICT)")
    empty = sum(tensor.numel() == 0 for tensor in tensors.values())
    parallel = entries.get("mp_world_size")
    if empty > len(tensors) / 2 or (isinstance(parallel, int) and parallel > 1):
        raise _sharded(name, "DeepSpeed", "DeepSpeed's zero_to_fp32.py")
    _refuse_unfinished(tensors, name)
    adapters = [key for key in tensors if _ADAPTER.search(key)]
    if adapters:
        raise CheckpointError(
            f"{name}: wanted the weights of a whole model, found an adapter that is not merged "
            f"({len(adapters)} tensors such as {adapters[0]}).",
            hint="Merge it into its base model first (PEFT: model.merge_and_unload()) and save that.",
        )


def _refuse_unfinished(tensors: Tensors, name: str) -> None:
    """Refuse tensors from which training code still computes its weights or answers.

    Raises:
        CheckpointError: names the first such tensor, and what to call before saving.
    """
    parts = [key for key in tensors if PARAMETRIZED.search(key)]
    if parts:
        raise CheckpointError(
            f"{name}: weights are computed from others, in a way that is not in the file ({parts[0]}).",
            hint="Save the model after torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') "
            "of each such layer.",
        )
    quantisers = [key for key in tensors if _QUANTISERS.search(key)]
    if quantisers:
        raise CheckpointError(
            f"{name}: wanted a model in floating point, found one of quantisation-aware training "
            f"({len(quantisers)} tensors of quantisers, such as {quantisers[0]}).",
            hint="Load its weights into the model as it was before prepare_qat, and save that.",
        )


def nothing_found(root: Any, name: str, inert: tuple[str, ...]) -> CheckpointError:
    """The error for a file without usable weights."""
    entries = entries_of(root) if isinstance(root, Mapping | InertObject) else {}
    if any(path.startswith("torch.distributed.") for path in inert):
        return _sharded(
            name, "torch.distributed", "torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
        )
    if any(key.startswith(("ds_", "zero_")) for key in entries):
        return _sharded(name, "DeepSpeed", "DeepSpeed's zero_to_fp32.py")
    if {"state", "param_groups"} <= entries.keys() or any("optim" in key.lower() for key in entries):
        return CheckpointError(
            f"{name}: wanted the weights of a model, found only the state of an optimiser.",
            hint="Give the checkpoint that training saved for the model.",
        )
    if inert:
        listed = ", ".join(inert[:8]) + (", ..." if len(inert) > 8 else "")
        return UnsafeCheckpointError(
            f"{name}: the weights cannot be read without running code that the file names: {listed}.",
            hint="Save the model's state_dict() instead, or give --trust if you trust the file's author.",
        )
    holds = ", ".join(map(repr, list(entries)[:10])) or class_path(root)
    return CheckpointError(
        f"{name}: wanted the weights of a model, found none in what it holds ({holds}).",
        hint="Save it with torch.save(model.state_dict(), path).",
    )


def _sharded(name: str, system: str, remedy: str) -> CheckpointError:
    return CheckpointError(
        f"{name}: wanted the weights of a whole model, found one shard written by {system}.",
        hint=f"Gather the shards into one file first, with {remedy}.",
    )
