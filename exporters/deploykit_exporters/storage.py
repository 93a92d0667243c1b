"""Writing a model: one file where the format allows it, two named and hashed files where not.

A protobuf message cannot exceed 2 GB. Above that the weights go to ``NAME-HASH.onnx.data`` beside the
model. The hash of the content is part of the name, so that a model never meets another's weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit_runtimes.spec import ModelSpec

from deploykit_exporters.onnx_export import set_metadata

if TYPE_CHECKING:
    import onnx

__all__ = ["SINGLE_FILE_LIMIT", "save_model"]

SINGLE_FILE_LIMIT = 2_000_000_000
"""Bytes of weights that still fit into one file with the graph around them."""


def save_model(model: onnx.ModelProto, draft: Path, *, final: Path, spec: ModelSpec) -> tuple[Path, ...]:
    """Write the model with its spec to ``draft``, which will be renamed to ``final``.

    Returns:
        The files written: the draft, and the weights beside it when they exceed ``SINGLE_FILE_LIMIT``.
    """
    import onnx

    import deploykit_exporters

    set_metadata(model, spec, deploykit_exporters.__version__)
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights <= SINGLE_FILE_LIMIT:
        onnx.save_model(model, draft)
        return (draft,)
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        digest.update(tensor.raw_data)
    data = draft.with_name(f"{final.stem}-{digest.hexdigest()[:12]}.onnx.data")
    partial = data.with_suffix(".data.part")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.external_data_helper.convert_model_to_external_data(
        copy, all_tensors_to_one_file=True, location=partial.name, size_threshold=1024
    )
    onnx.helper.set_model_props(
        copy,
        {
            **{entry.key: entry.value for entry in model.metadata_props},
            "deploykit.weights_file": data.name,
            "deploykit.weights_sha256": digest.hexdigest(),
        },
    )
    partial.unlink(missing_ok=True)
    onnx.external_data_helper.write_external_data_tensors(copy, str(draft.parent))
    partial.replace(data)
    for tensor in copy.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = data.name
    onnx.save_model(copy, draft)
    return draft, data
