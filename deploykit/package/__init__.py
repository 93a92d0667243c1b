"""Folders for other people's servers: Triton, Ray Serve, KServe, Docker.

    from deploykit.package import package

    package("triton", ["yolo11n.onnx"], "repository", device="gpu", tensorrt=True)

Each kind is a frozen dataclass of options (``options.py``), and a module with a function that fills an empty
folder. The folder appears whole or not at all.

docker.py        A folder to build a container image from: ``deploykit serve`` with the models inside
folder.py        A folder that appears whole or not at all, and replaces only folders that deploykit wrote
installation.py  The deploykit that a package brings along, so that it builds without a package index that
                 has deploykit
kserve.py        Manifests for KServe: a ServingRuntime with ``deploykit serve``, and one InferenceService
                 per model
models.py        The models of a package: their names, their contract, and whether requests can share a
                 batch
options.py       The options of each kind of package, shared by the command line and Python
pbtxt.py         Protocol buffer text format, as Triton reads its model configurations
ray.py           A Ray Serve application: one application per model, with batching and autoscaling
ray_app.py       What runs in a Ray cluster: a model behind HTTP and Ray's handles, with batching
ray_front.py     Where requests to a Ray Serve application arrive: they survive the death of a replica
ray_http.py      HTTP of a Ray Serve application: requests and responses in Ray's form
result.py        What was packaged, for people and programs
triton.py        A model repository for NVIDIA Triton: one folder per model, run by its ONNX Runtime backend
yaml.py          YAML written from plain values, as Kubernetes, Ray and Compose read it
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from deploykit_runtimes.errors import OptionError

from deploykit.package.result import PackageResult

__all__ = ["KINDS", "PackageResult", "package"]

KINDS = {
    "docker": "DockerOptions",
    "kserve": "KServeOptions",
    "ray": "RayOptions",
    "triton": "TritonOptions",
}
"""Each kind, and the name of its options in ``deploykit.package.options``."""


def package(
    kind: str,
    models: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    force: bool = False,
    **settings: Any,
) -> PackageResult:
    """Write a folder that another server takes as it is.

    Args:
        kind: ``triton``, ``ray``, ``kserve`` or ``docker``.
        models: .onnx files, or folders of ``deploykit build``; ``NAME=PATH`` gives one another name.
        output: The folder to write; it must not exist yet, or be empty.
        force: Replace a folder that an earlier call wrote.
        settings: The fields of the kind's options, for instance ``TritonOptions``.

    Raises:
        OptionError: no such kind or option, a name that the server does not take, or the folder exists.
        ModelError: a model cannot be read, or the meaning of its outputs is unknown.
    """
    from dataclasses import fields

    from deploykit_runtimes.contract.readings import refuse_unclear
    from deploykit_runtimes.options.arguments import refuse_unknown, suggestion

    from deploykit.package.folder import new_folder
    from deploykit.package.models import read_models

    if kind not in KINDS:
        raise OptionError(
            f"A package is one of {', '.join(KINDS)}, found {kind!r}.",
            hint=suggestion(str(kind), tuple(KINDS)),
        )
    module = import_module(f"deploykit.package.{kind}")
    options_type = getattr(import_module("deploykit.package.options"), KINDS[kind])
    known = [field.name for field in fields(options_type)]
    refuse_unknown(settings, known, where=f"package({kind!r})")
    options = options_type(**settings)
    packaged = read_models(models)
    if kind != "triton":  # whose clients get the tensors as they are
        for model in packaged:
            refuse_unclear(model.spec, model.outputs)
    with new_folder(output, kind=kind, models=packaged, force=force) as folder:
        told = module.write(folder, packaged, options)
        files = tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))
    return PackageResult(kind=kind, path=Path(output), files=files, **told)
