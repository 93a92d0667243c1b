"""A Ray Serve application: one application per model, with batching and autoscaling.

The file ``serve.yaml`` has the fields of Ray's ServeDeploySchema
(https://docs.ray.io/en/latest/serve/production-guide/config.html).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit_runtimes.onnx.model_files import copy_model

from deploykit.package.folder import write_text
from deploykit.package.installation import Installation, bring
from deploykit.package.models import PackagedModel, check_max_batch
from deploykit.package.options import RayOptions, runtime_for
from deploykit.package.yaml import to_yaml

__all__ = ["serve_config", "write"]

_OLDEST_RAY = "2.40"
_PROTOCOL_PACKAGES = ("orjson>=3.10", "python-multipart>=0.0.18")
"""What ``deploykit.protocol`` needs of the extra ``serve``; Ray's proxies take the place of the others."""
_APP = '''\
"""The application that serve.yaml names: `serve run --working-dir . serve.yaml` in this folder."""

from deploykit.package.ray_app import build_app as app

__all__ = ["app"]
'''


def write(folder: Path, models: Sequence[PackagedModel], options: RayOptions) -> dict[str, Any]:
    """Fill a working directory of Ray; returns the lines to print about it.

    Raises:
        OptionError: ``max_batch`` is not in a model's range.
    """
    for model in models:
        copy_model(model.path, folder / model.place)
    write_text(folder / "app.py", _APP)
    installation = bring(folder, options.wheel)
    write_text(folder / "requirements.txt", _requirements(options, installation))
    comment = "serve run --working-dir . serve.yaml\nFor `serve deploy`, upload the folder as a zip and name"
    comment += " it: runtime_env: {working_dir: s3://...}"
    write_text(folder / "serve.yaml", to_yaml(serve_config(models, options), comment=comment))
    loopback = options.host.startswith("127.") or options.host in ("localhost", "::1")
    return {
        "models": {
            model.name: {
                "file": model.place,
                "max_batch": check_max_batch(model, options.max_batch),
                "url_path": f"{_route(model)}/infer",
            }
            for model in models
        },
        "notes": (
            f"requirements.txt installs {installation.said}",
            *(("the proxies listen on the loopback only; other machines need --host",) if loopback else ()),
        ),
        "next": (
            "(cd {path} && pip install -r requirements.txt)",
            "(cd {path} && serve run --working-dir . serve.yaml)",
        ),
    }


def serve_config(models: Sequence[PackagedModel], options: RayOptions) -> dict[str, Any]:
    """What Ray deploys: proxies on every node with replicas, and one application per model."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": options.host, "port": options.port, "request_timeout_s": 60},
        "applications": [_application(model, options) for model in models],
    }


def _application(model: PackagedModel, options: RayOptions) -> dict[str, Any]:
    batch = max(1, check_max_batch(model, options.max_batch))
    resources: dict[str, Any] = {"num_cpus": options.cpus}
    runtime = runtime_for(options.device)
    if runtime.nvidia:
        resources["num_gpus"] = 1
    return {
        "name": model.name,
        "route_prefix": _route(model),
        "import_path": "app:app",
        "args": {
            "name": model.name,
            "path": model.place,
            "route_prefix": _route(model),
            "runtime": runtime.name,
            "threads": math.ceil(options.cpus),
            "resubmit": options.resubmit,
        },
        "deployments": [
            *([_front(options)] if options.resubmit else []),
            {
                "name": "Model",
                # One batch runs while the next one fills.
                "max_ongoing_requests": 2 * batch,
                "max_queued_requests": options.queue,
                "user_config": {"max_batch": batch, "max_delay_ms": options.max_delay_ms},
                "autoscaling_config": _autoscaling(options.min_replicas, options, target=batch),
                "health_check_period_s": 5,
                "health_check_timeout_s": 15,
                "graceful_shutdown_wait_loop_s": 1,
                "graceful_shutdown_timeout_s": 40,
                "ray_actor_options": resources,
            },
        ],
    }


def _front(options: RayOptions) -> dict[str, Any]:
    """The resources of the front, which mostly waits: the models hold the queue that counts."""
    return {
        "name": "Front",
        "max_ongoing_requests": 1000,
        "autoscaling_config": _autoscaling(1, options, target=100),
        "ray_actor_options": {"num_cpus": 0.1},
    }


def _autoscaling(least: int, options: RayOptions, *, target: int) -> dict[str, Any]:
    return {
        "min_replicas": least,
        "max_replicas": options.max_replicas,
        "target_ongoing_requests": target,
        "upscale_delay_s": 5,
        "downscale_delay_s": 120,
    }


def _route(model: PackagedModel) -> str:
    return f"/v2/models/{model.name}"


def _requirements(options: RayOptions, installation: Installation) -> str:
    engine = runtime_for(options.device).extra
    return "\n".join([installation.beside(engine), f"ray[serve]>={_OLDEST_RAY}", *_PROTOCOL_PACKAGES, ""])
