"""The spec in the metadata of an ONNX model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_runtimes.contract.metadata import spec_to_metadata
from deploykit_runtimes.contract.spec import ModelSpec

from deploykit_exporters.graph.ultralytics_metadata import ultralytics_metadata

if TYPE_CHECKING:
    import onnx

__all__ = ["renew_metadata", "set_metadata"]

_OURS = "deploykit."


def set_metadata(model: onnx.ModelProto, spec: ModelSpec, version: str) -> None:
    """Write the spec into the model, replacing any metadata that it had."""
    import onnx

    model.producer_name = "deploykit"
    model.producer_version = version
    model.doc_string = ""
    del model.metadata_props[:]
    keys = spec_to_metadata(spec)
    if spec.family == "yolo":
        keys.update(ultralytics_metadata(spec))
    onnx.helper.set_model_props(model, keys)


def renew_metadata(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Write the spec into the model in place of the one that it had; keys of others stay."""
    import onnx

    others = {entry.key: entry.value for entry in model.metadata_props if not entry.key.startswith(_OURS)}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**others, **spec_to_metadata(spec)})
