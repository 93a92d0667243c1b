"""Manifests for KServe: a ServingRuntime with ``deploykit serve``, and one InferenceService per model.

Fields are those of the custom resources ``serving.kserve.io/v1alpha1`` ServingRuntime and
``serving.kserve.io/v1beta1`` InferenceService (https://kserve.github.io/website/docs/reference/crd-api).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploykit_runtimes import __version__
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.onnx.model_files import copy_model

from deploykit.package.docker import USER_ID
from deploykit.package.folder import write_text
from deploykit.package.models import PackagedModel, dns_labels
from deploykit.package.yaml import to_yaml

__all__ = ["KServeOptions", "inference_service", "serving_runtime", "write"]

_PORT = 8080
"""Where KServe's router looks for a predictor."""
_GRACE = 40  # seconds, to answer what was accepted
_FORMAT = {"name": "deploykit-onnx", "version": "1"}
_STORES = ("s3", "gs", "pvc", "https", "hdfs", "webhdfs")
_QUANTITY = {"cpu": r"[0-9]+(\.[0-9]+)?|[0-9]+m", "memory": r"[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?"}
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


@dataclass(frozen=True, kw_only=True)
class KServeOptions:
    """How the cluster runs the models.

    Attributes:
        storage_uri: Where the folder ``models`` is uploaded to, for instance ``s3://bucket/models``.
        image: The container image with ``deploykit[serve]``, as ``deploykit package docker`` builds it.
        device: ``cpu``, or ``cuda`` for one NVIDIA GPU per replica.
        cpu, memory: What a replica requests and may use, in Kubernetes' units.
        min_replicas, max_replicas: Bounds of the autoscaler; 0 lets an unused model go.
        concurrency: Requests under way that a replica is scaled for.
        namespace: Where the resources live; empty: the current one.
    """

    storage_uri: str = ""
    image: str = ""
    device: Literal["cpu", "cuda"] = "cpu"
    cpu: str = "2"
    memory: str = "4Gi"
    min_replicas: int = 1
    max_replicas: int = 4
    concurrency: int = 16
    namespace: str = ""

    def __post_init__(self) -> None:
        store, sign, rest = self.storage_uri.partition("://")
        if not sign or store not in _STORES or not rest or re.search(r"\s", rest):
            raise OptionError(
                f"--storage-uri wants where the cluster finds the models, found {self.storage_uri!r}.",
                hint=f"For instance s3://bucket/models or pvc://claim/models ({', '.join(_STORES)}).",
            )
        if not self.image or re.search(r"\s", self.image):
            raise OptionError(
                f"--image wants a container image, found {self.image!r}.",
                hint="Build one with: deploykit package docker MODEL -o DIR",
            )
        if self.device not in ("cpu", "cuda"):
            raise OptionError(f"--device is cpu or cuda, found {self.device!r}.")
        for name, pattern in _QUANTITY.items():
            if not re.fullmatch(pattern, getattr(self, name)):
                raise OptionError(
                    f"--{name} wants a quantity of Kubernetes, found {getattr(self, name)!r}.",
                    hint="For instance 2 or 500m for --cpu, 4Gi for --memory.",
                )
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1 or self.concurrency < 1:
            raise OptionError(
                "Wanted 0 <= min_replicas <= max_replicas, and at least one replica and request; found "
                f"{self.min_replicas}, {self.max_replicas} and {self.concurrency}."
            )
        if self.namespace and not re.fullmatch(_LABEL, self.namespace):
            raise OptionError(f"--namespace wants a-z, 0-9 and dashes, found {self.namespace!r}.")


def write(folder: Path, models: Sequence[PackagedModel], options: KServeOptions) -> dict[str, Any]:
    """Fill a folder with manifests and the models to upload; what to tell of it.

    Raises:
        OptionError: two models get the same name in Kubernetes' letters.
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
        "args": ["--host", "0.0.0.0", "--port", str(_PORT), "--runtime", _runtime(options)],  # noqa: S104
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
    """The InferenceService of one model, which clients know by the same name."""
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


def _runtime(options: KServeOptions) -> str:
    return "ort-cuda" if options.device == "cuda" else "ort-cpu"


def _runtime_name(options: KServeOptions) -> str:
    return f"deploykit-{options.device}"


def _metadata(name: str, options: KServeOptions) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "deploykit", "app.kubernetes.io/version": _label_value()}
    namespace = {"namespace": options.namespace} if options.namespace else {}
    return {"name": name, **namespace, "labels": labels}


def _label_value() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", __version__)[:63].strip("._-")


def _resources(options: KServeOptions) -> dict[str, Any]:
    gpu = {"nvidia.com/gpu": "1"} if options.device == "cuda" else {}
    amounts = {"cpu": options.cpu, "memory": options.memory, **gpu}
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": _PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
