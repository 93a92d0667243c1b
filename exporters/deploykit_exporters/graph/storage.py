"""Writing a model: one file where the format allows it, two named and hashed files where not.

A protobuf message cannot exceed 2 GB. Above that the weights go to ``NAME-HASH.onnx.data`` beside the
model. The hash of the content is part of the name, so that a model never meets another's weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.files import room_for
from deploykit_runtimes.targets import check_alone

from deploykit_exporters.graph.metadata import set_metadata

if TYPE_CHECKING:
    import onnx
    from torch import nn

__all__ = ["SINGLE_FILE_LIMIT", "check_room", "save_model", "store"]

_DATA = ".onnx.data"
_BESIDE = "Above 2 GB the weights of an ONNX file lie in a second one beside it."

SINGLE_FILE_LIMIT = 2_000_000_000
"""Bytes of weights that still fit into one file with the graph around them."""


def check_room(module: nn.Module, final: Path) -> None:
    """Refuse a target that cannot hold a module's weights, before the work.

    Raises:
        OptionError: they belong beside ``final``, where nothing can lie.
    """
    weights = sum(each.numel() * each.element_size() for each in module.state_dict().values())
    if weights > SINGLE_FILE_LIMIT:
        check_alone(final, needs=_BESIDE)


def save_model(
    model: onnx.ModelProto, draft: Path, *, final: Path, spec: ModelSpec | None
) -> tuple[Path, ...]:
    """Write the model with its spec to ``draft``, which will be renamed to ``final``.

    Args:
        model: The graph; gets the spec as its metadata.
        draft: In a folder of its own, from which weights beside it are moved with it.
        final: What the weights are named after.
        spec: What the file says of itself; None: what the metadata of the graph says already.

    Raises:
        OptionError: weights belong beside ``final``, where nothing can lie.
        OSError: the disk is full.

    Returns:
        The files written: the draft, and the weights beside it when they exceed ``SINGLE_FILE_LIMIT``.
    """
    import onnx

    import deploykit_exporters

    if spec is not None:
        set_metadata(model, spec, deploykit_exporters.__version__)
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights <= SINGLE_FILE_LIMIT:
        with room_for(model.ByteSize()):
            onnx.save_model(model, draft)
        return (draft,)
    check_alone(final, needs=_BESIDE)
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        digest.update(tensor.raw_data)
    data = draft.with_name(f"{final.stem}-{digest.hexdigest()[:12]}{_DATA}")
    for other in draft.parent.glob(f"*{_DATA}"):
        other.unlink()  # of a graph that was not proven
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.external_data_helper.convert_model_to_external_data(
        copy, all_tensors_to_one_file=True, location=data.name, size_threshold=1024
    )
    onnx.helper.set_model_props(
        copy,
        {
            **{entry.key: entry.value for entry in model.metadata_props},
            "deploykit.weights_file": data.name,
            "deploykit.weights_sha256": digest.hexdigest(),
        },
    )
    with room_for(weights):
        onnx.external_data_helper.write_external_data_tensors(copy, str(draft.parent))
        onnx.save_model(copy, draft)
    return draft, data


def store(model: onnx.ModelProto, path: Path) -> None:
    """Write a model for this process alone, with weights above ``SINGLE_FILE_LIMIT`` beside it.

    Args:
        model: The graph; such weights are taken out of it.
        path: In a folder for unfinished work.

    Raises:
        OSError: the disk is full.
    """
    import onnx

    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    with room_for(weights):
        onnx.save_model(model, path, save_as_external_data=weights > SINGLE_FILE_LIMIT)
