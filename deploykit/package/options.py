"""The options of each kind of package, shared by the command line and Python."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploykit_runtimes.devices import runtime_of
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import Options, declared, option, same_as
from deploykit_runtimes.runtimes import Runtime, runtime_named

from deploykit.package.installation import check_wheel

__all__ = [
    "DockerOptions",
    "KServeOptions",
    "PackageOptions",
    "RayOptions",
    "TritonOptions",
    "runtime_for",
]

_STORES = ("s3", "gs", "pvc", "https", "hdfs", "webhdfs")
_QUANTITY = {"cpu": r"[0-9]+(\.[0-9]+)?|[0-9]+m", "memory": r"[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?"}
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def runtime_for(device: str) -> Runtime:
    """The runtime of a package for a device; ``device=`` means the same everywhere."""
    return runtime_named(runtime_of(device)[0])


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class PackageOptions(Options):
    """Where a package of any kind is written."""

    output: Path | None = option(
        None,
        "Folder to write; it must not exist yet, or be empty.",
        flags=("-o", "--output"),
        metavar="DIR",
        required=True,
    )
    force: bool = option(False, "Replace a folder that this command wrote before.")


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class TritonOptions(Options):
    """How Triton runs the models."""

    max_batch: int | None = option(
        None, "Maximum number of images per run. Default: the declared batch, up to 32.", least=1, metavar="N"
    )
    max_delay_ms: float = option(
        2.0,
        "How long the first request waits for others, in milliseconds.",
        flags="--max-delay",
        least=0,
        most=60_000,
        metavar="MS",
    )
    queue: int = option(256, "Requests that may wait; 0: any number.", least=0, metavar="N")
    device: Literal["auto", "cpu", "gpu"] = option(
        "auto", "Where the models run.", "``auto`` takes a GPU if there is one."
    )
    instances: int = option(1, "Copies of each model, per GPU.", least=1, metavar="N")
    tensorrt: bool = option(
        False,
        "Run through TensorRT, for the declared shapes.",
        "They are its optimisation profile.",
    )
    precision: Literal["fp32", "fp16"] = option("fp32", "Precision in which TensorRT may compute.")
    warmup: bool = option(
        True, "Report ready before the models have run once.", "True: run each once with zeros."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tensorrt and self.device == "cpu":
            raise OptionError("TensorRT runs on GPUs, found --device cpu.", hint="Leave out one of the two.")
        if self.precision == "fp16" and not self.tensorrt:
            raise OptionError("--precision fp16 is TensorRT's.", hint="Add --tensorrt.")


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class RayOptions(Options):
    """How the cluster runs the models."""

    max_batch: int | None = same_as(TritonOptions, "max_batch")
    max_delay_ms: float = same_as(TritonOptions, "max_delay_ms")
    queue: int = option(256, "Requests that may wait; more get 503.", least=1, metavar="N")
    device: Literal["cpu", "cuda"] = option(
        "cpu", "Where the models run.", "``cuda``: one NVIDIA GPU per replica."
    )
    cpus: float = option(
        1.0, "CPUs per replica.", "The engine uses that many threads.", above=0, most=1024, metavar="N"
    )
    min_replicas: int = option(1, "Fewest replicas.", least=1, metavar="N")
    max_replicas: int = option(4, "Most replicas.", least=1, metavar="N")
    resubmit: bool = option(
        True,
        "Save one hop; when a replica dies, its requests fail.",
        "True: resend the requests of a replica that died.",
    )
    host: str = option("127.0.0.1", "Address on which the proxies listen.", metavar="HOST")
    port: int = option(8000, "Port on which the proxies listen.", least=1, most=65535, metavar="PORT")
    wheel: str | None = option(
        None, "Wheel of deploykit to install. Default: the deploykit that runs here.", metavar="FILE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_replicas(self)
        if not self.host:
            raise OptionError("--host wants an address, found none.")
        check_wheel(self.wheel)


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class KServeOptions(Options):
    """How the cluster runs the models."""

    storage_uri: str = option(
        "", "Where the models will be stored: s3://..., pvc://...", metavar="URI", required=True
    )
    image: str = option(
        "",
        "Container image with deploykit[serve].",
        "``deploykit package docker`` builds one.",
        metavar="IMAGE",
        required=True,
    )
    device: Literal["cpu", "cuda"] = same_as(RayOptions, "device")
    cpu: str = option("2", "CPUs per replica.", "In Kubernetes' units.", metavar="QUANTITY")
    memory: str = option("4Gi", "Memory per replica.", "In Kubernetes' units.", metavar="QUANTITY")
    min_replicas: int = same_as(RayOptions, "min_replicas", more="0 lets an unused model shut down.", least=0)
    max_replicas: int = same_as(RayOptions, "max_replicas")
    concurrency: int = option(
        16, "Concurrent requests that each replica is scaled for.", least=1, metavar="N"
    )
    namespace: str = option("", "Where the resources live. Default: the current one.", metavar="NAME")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_replicas(self)
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
        for name, pattern in _QUANTITY.items():
            if not re.fullmatch(pattern, getattr(self, name)):
                raise OptionError(
                    f"--{name} wants a Kubernetes quantity, found {getattr(self, name)!r}.",
                    hint="For instance 2 or 500m for --cpu, 4Gi for --memory.",
                )
        if self.namespace and not re.fullmatch(_LABEL, self.namespace):
            raise OptionError(f"--namespace wants a-z, 0-9 and dashes, found {self.namespace!r}.")


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class DockerOptions(Options):
    """What the image holds."""

    device: Literal["cpu", "cuda", "each"] = option(
        "each", "Which Dockerfiles to write.", "``each``: one for each device."
    )
    python: Literal["3.11", "3.12", "3.13", "3.14"] = option("3.12", "Python version of the image.")
    port: int = option(
        8000,
        "HTTP port.",
        "Compose publishes it on the loopback interface.",
        least=1024,
        most=65535,
        metavar="PORT",
    )
    grpc_port: int = option(
        8001,
        "gRPC port.",
        "Compose publishes it on the loopback interface.",
        least=1024,
        most=65535,
        metavar="PORT",
    )
    wheel: str | None = same_as(RayOptions, "wheel")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.port == self.grpc_port:
            raise OptionError(f"--port and --grpc-port want two ports, found {self.port} for both.")
        check_wheel(self.wheel)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices to write a Dockerfile for."""
        return ("cpu", "cuda") if self.device == "each" else (self.device,)


def _check_replicas(options: Any) -> None:
    if options.min_replicas > options.max_replicas:
        raise OptionError(
            f"--min-replicas {options.min_replicas} is above --max-replicas {options.max_replicas}."
        )
