"""Manifests for KServe: a ServingRuntime with ``deploykit serve``, and one InferenceService per model.

Fields are those of the custom resources ``serving.kserve.io/v1alpha1`` ServingRuntime and
``serving.kserve.io/v1beta1`` InferenceService (https://kserve.github.io/website/docs/reference/crd-api).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit_runtimes import __version__
from deploykit_runtimes.onnx.model_files import copy_model

from deploykit.package.docker import USER_ID
from deploykit.package.folder import write_text
from deploykit.package.models import PackagedModel, dns_labels
from deploykit.package.options import KServeOptions, runtime_for
from deploykit.package.yaml import to_yaml

__all__ = ["inference_service", "serving_runtime", "write"]

_PORT = 8080
"""Where KServe's router looks for a predictor."""
_GRACE = 40  # seconds, to answer what was accepted
_FORMAT = {"name": "deploykit-onnx", "version": "1"}


def write(folder: Path, models: Sequence[PackagedModel], options: KServeOptions) -> dict[str, Any]:
    """Fill a folder with manifests and the models to upload; the lines to print about it.

    Raises:
        OptionError: two models get the same Kubernetes name.
    """
    labels = dns_labels(models)
    write_text(folder / "serving-runtime.yaml", to_yaml(serving_runtime(options)))
    for model, label in zip(models, labels, strict=True):
        copy_model(model.path, folder / "models" / label / f"{label}.onnx")
        write_text(folder / f"inference-service-{label}.yaml", to_yaml(inference_service(label, options)))
    renamed = [
        f"{model.name} is {label} in the cluster, as names there are a-z, 0-9 and dashes"
        for model, label in zip(models, labels, strict=True)
        if model.name != label
    ]
    return {
        "models": {
            model.name: {"resource": label, "url_path": f"/v2/models/{label}/infer", "storage_uri": uri}
            for model, label in zip(models, labels, strict=True)
            for uri in [_uri(label, options)]
        },
        "notes": tuple(renamed),
        "next": (f"upload {{path}}/models to {options.storage_uri}", "kubectl apply -f {path}"),
    }


def serving_runtime(options: KServeOptions) -> dict[str, Any]:
    """The ServingRuntime: the container that runs any model file."""
    container = {
        "name": "kserve-container",
        "image": options.image,
        "command": ["deploykit", "serve"],
        "args": ["--host", "0.0.0.0", "--port", str(_PORT), "--runtime", runtime_for(options.device).name],  # noqa: S104
        "ports": [{"name": "http1", "containerPort": _PORT, "protocol": "TCP"}],
        "livenessProbe": _probe("/v2/health/live", period=10, failures=3),
        "readinessProbe": _probe("/v2/health/ready", period=5, failures=3),
        "resources": _resources(options),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": _metadata(_runtime_name(options), options),
        "spec": {
            "annotations": {"prometheus.kserve.io/path": "/metrics", "prometheus.kserve.io/port": str(_PORT)},
            "supportedModelFormats": [{**_FORMAT, "autoSelect": True}],
            "protocolVersions": ["v2"],
            "multiModel": False,
            "containers": [container],
        },
    }


def inference_service(label: str, options: KServeOptions) -> dict[str, Any]:
    """The InferenceService of one model, under the name that clients use."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": _metadata(label, options),
        "spec": {
            "predictor": {
                "minReplicas": options.min_replicas,
                "maxReplicas": options.max_replicas,
                "scaleMetric": "concurrency",
                "scaleTarget": options.concurrency,
                "terminationGracePeriodSeconds": _GRACE,
                "model": {
                    "modelFormat": dict(_FORMAT),
                    "protocolVersion": "v2",
                    "runtime": _runtime_name(options),
                    "storageUri": _uri(label, options),
                    # KServe puts these behind the arguments of the runtime.
                    "args": [f"{label}=/mnt/models/{label}.onnx"],
                    "resources": _resources(options),
                },
            }
        },
    }


def _uri(label: str, options: KServeOptions) -> str:
    return f"{options.storage_uri.rstrip('/')}/{label}"


def _runtime_name(options: KServeOptions) -> str:
    return f"deploykit-{options.device}"


def _metadata(name: str, options: KServeOptions) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "deploykit", "app.kubernetes.io/version": _label_value()}
    namespace = {"namespace": options.namespace} if options.namespace else {}
    return {"name": name, **namespace, "labels": labels}


def _label_value() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", __version__)[:63].strip("._-")


def _resources(options: KServeOptions) -> dict[str, Any]:
    gpu = {"nvidia.com/gpu": "1"} if runtime_for(options.device).nvidia else {}
    amounts = {"cpu": options.cpu, "memory": options.memory, **gpu}
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": _PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
