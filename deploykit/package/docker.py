"""A folder to build a container image from: ``deploykit serve`` with the models inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit_runtimes.onnx.model_files import copy_model

from deploykit.package.folder import write_text
from deploykit.package.installation import Installation, bring
from deploykit.package.models import PackagedModel
from deploykit.package.options import DockerOptions, runtime_for
from deploykit.package.yaml import to_yaml

__all__ = ["USER_ID", "write"]

USER_ID = 10001
"""A number, so that Kubernetes can check that it is not root."""

_READY = (
    "import os, urllib.request as r; "
    "r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/v2/health/ready', timeout=2)"
)
_CUDA = ' "onnxruntime-gpu[cuda,cudnn]"'
"""The libraries that onnxruntime-gpu loads, as packages."""


def write(folder: Path, models: Sequence[PackagedModel], options: DockerOptions) -> dict[str, Any]:
    """Fill a build context; returns the lines to print about it."""
    files = {model.name: model.place for model in models}
    for model in models:
        copy_model(model.path, folder / model.place)
    installation = bring(folder, options.wheel)
    for device in options.devices:
        text = _text(device, list(files.values()), options, installation)
        write_text(folder / _dockerfile(device, options), text)
    write_text(folder / ".dockerignore", f"*\n!models\n!{installation.folder}\n")
    write_text(folder / "compose.yaml", _compose(options))
    builds = tuple(
        f"docker build -t deploykit-models:{device} -f {{path}}/{_dockerfile(device, options)} {{path}}"
        for device in options.devices
    )
    return {
        "models": {name: {"file": file} for name, file in files.items()},
        "notes": (f"the image installs {installation.said}",),
        "next": (*builds, "docker compose -f {path}/compose.yaml up --build"),
    }


def _dockerfile(device: str, options: DockerOptions) -> str:
    return "Dockerfile" if device == options.devices[0] else f"Dockerfile.{device}"


def _text(device: str, files: Sequence[str], options: DockerOptions, installation: Installation) -> str:
    runtime = runtime_for(device)
    libraries = _CUDA if runtime.nvidia else ""
    command = ", ".join(f'"/{file}"' for file in files)
    healthcheck = f'CMD ["python", "-c", "{_READY}"]'
    return f"""\
# deploykit serve on {"NVIDIA GPUs; start it with --gpus all" if runtime.nvidia else "the CPU"}.
FROM python:{options.python}-slim

COPY {installation.folder} /{installation.folder}
RUN pip install --no-cache-dir "{installation.at("", f"serve,{runtime.extra}")}"{libraries} \\
 && useradd --uid {USER_ID} --create-home --shell /usr/sbin/nologin deploykit

COPY models /models

ENV PYTHONUNBUFFERED=1 \\
    PORT={options.port}
USER {USER_ID}
EXPOSE {options.port} {options.grpc_port}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=300s --retries=3 \\
  {healthcheck}

# The exec form: deploykit is process 1 and gets the signals, so that it drains before it ends.
ENTRYPOINT ["deploykit", "serve", "--host", "0.0.0.0", "--port", "{options.port}", \
"--grpc-port", "{options.grpc_port}", "--runtime", "{runtime.name}"]
CMD [{command}]
"""


def _compose(options: DockerOptions) -> str:
    services = {f"deploykit-{device}": _service(device, options) for device in options.devices}
    return to_yaml(
        {"services": services},
        comment="docker compose up --build\nPorts are published on the loopback only; put a proxy before.",
    )


def _service(device: str, options: DockerOptions) -> dict[str, Any]:
    ports = (options.port, options.grpc_port)
    service: dict[str, Any] = {
        "build": {"context": ".", "dockerfile": _dockerfile(device, options)},
        "image": f"deploykit-models:{device}",
        "ports": [f"127.0.0.1:{port}:{port}" for port in ports],
        "restart": "unless-stopped",
        "stop_grace_period": "40s",
        "read_only": True,
        "tmpfs": ["/tmp", f"/home/deploykit:uid={USER_ID}"],  # noqa: S108 - inside the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }
    if runtime_for(device).nvidia:
        gpus = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [gpus]}}}
        if len(options.devices) > 1:  # both would want the same ports
            service["profiles"] = [device]
    return service
