"""What the server says about itself and its models, as JSON values that REST and gRPC share.

Names: https://github.com/kserve/open-inference-protocol and the extensions of NVIDIA Triton
(https://github.com/triton-inference-server/server/tree/main/docs/protocol) that clients ask for.
"""

from __future__ import annotations

from typing import Any

from deploykit_runtimes import __version__
from deploykit_runtimes.contract.tensors import TensorInfo

from deploykit.protocol import metadata
from deploykit.protocol.datatypes import datatype_of
from deploykit.protocol.metadata import PLATFORM, axis_sizes
from deploykit.serve.model import ServedModel
from deploykit.serve.repository import Repository

__all__ = [
    "EXTENSIONS",
    "SERVER_NAME",
    "card",
    "model_config",
    "model_metadata",
    "reload_error",
    "reload_errors",
    "server_metadata",
    "statistics",
]

SERVER_NAME = "deploykit"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of the server."""
    return {"name": SERVER_NAME, "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Inputs and outputs of a model; -1 for an axis of variable length."""
    return metadata.model_metadata(model.name, model.version, model.inputs, model.outputs)


def reload_error(repository: Repository, name: str) -> dict[str, str]:
    """Why a model does not answer from its newest file, as a member of its JSON; otherwise nothing."""
    failure = repository.state(name).failure
    return {"reload_error": failure} if failure else {}


def reload_errors(repository: Repository, *, words: bool) -> dict[str, Any]:
    """Which models do not answer from their newest files, as members of the server's readiness; otherwise
    nothing.

    Args:
        repository: The models.
        words: Also say which ones and why, for clients that may use the models.
    """
    errors = {state.name: state.failure for state in repository.index() if state.failure}
    if not errors:
        return {}
    return {"reload_failed": True, **({"reload_errors": errors} if words else {})}


def model_config(model: ServedModel) -> dict[str, Any]:
    """The model as a Triton configuration, without the batch axis if ``max_batch_size`` > 0."""
    batched = bool(model.max_batch)
    config: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": model.max_batch,
        "input": [_configured(info, batched) for info in model.inputs],
        "output": [_configured(info, batched) for info in model.outputs],
        "instance_group": [
            {
                "name": model.name,
                "kind": "KIND_CPU" if model.on_cpu else "KIND_AUTO",
                "count": model.instances,
            }
        ],
    }
    if batched:  # a preferred size of 1, as on a CPU: each request runs alone, whatever its rows
        config["dynamic_batching"] = {"preferred_batch_size": [model.preferred_batch]}
    return config


def statistics(repository: Repository, name: str = "", version: str = "") -> dict[str, Any]:
    """The numbers of one model, or of all loaded models.

    Raises:
        NotFoundError, NotReadyError: there is no such model.
    """
    models = [repository.get(name, version)] if name else repository.models
    return {
        "model_stats": [
            {"name": model.name, "version": model.version, **model.statistics.to_dict()} for model in models
        ]
    }


def card(model: ServedModel) -> dict[str, Any]:
    """What a person would want to know about a model."""
    spec = model.spec
    image = spec.input
    parity = spec.parity
    return {
        "name": model.name,
        "version": model.version,
        "file": model.path.name,
        "task": spec.task,
        "family": spec.family,
        "variant": spec.variant,
        "origin": spec.origin,
        "classes": list(spec.classes),
        "num_classes": spec.num_classes,
        "input": {
            "name": image.name,
            "dtype": image.dtype,
            "layout": image.layout,
            "shape": axis_sizes(image.shape),
            "height": image.height,
            "width": image.width,
            "dynamic": {axis: str(allowed) for axis, allowed in image.dynamic.items()},
        },
        "preprocess_in_graph": spec.preprocess.included,
        "postprocess_in_graph": spec.is_postprocessed,
        "defaults": {
            "conf": spec.output.conf,
            "iou": spec.output.iou,
            "max_det": spec.output.max_det,
            "top_k": spec.output.top_k or 5,
        },
        "runtime_thresholds": spec.output.runtime_thresholds,
        "uses_iou": spec.output.runtime_thresholds or spec.output.layout in ("yolo", "yolov5"),
        "parity": None
        if parity is None
        else {
            "max_abs": parity.max_abs,
            "max_rel": parity.max_rel,
            "top1": parity.top1,
            "tolerance": parity.tolerance,
            "reference": parity.reference,
            "engine": parity.engine,
        },
        "placement": model.placement().to_dict(),
        "selftest": None if model.tested is None else model.tested.to_dict(),
        "instances": model.instances,
        "max_batch": model.max_batch,
        "shared_batch": model.preferred_batch if model.max_batch else 1,
        "assumed": list(spec.assumed),
    }


def _configured(info: TensorInfo, batched: bool) -> dict[str, Any]:
    dims = axis_sizes(info.shape[1:] if batched else info.shape)
    kind = datatype_of(info.dtype)
    # An empty list of dims is refused by Triton's own schema; a scalar per row is one value.
    return {"name": info.name, "data_type": f"TYPE_{kind}", "dims": dims or [1]}
