"""A model on a server of the Open Inference Protocol as a runner, so that golden cases can be run there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from deploykit_runtimes.builds.model_folder import read_model
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.runner import BaseRunner, Placement, check_feeds
from deploykit_runtimes.selftest.cases import PRECISIONS

from deploykit.protocol.datatypes import datatype_of
from deploykit.remote.connection import Connection

__all__ = ["RemoteRunner", "open_remote"]


class RemoteRunner(BaseRunner):
    """A model that a server runs; see ``open_remote``."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        *,
        spec: ModelSpec,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        placement: Placement,
    ) -> None:
        self._connection = connection
        self._name = name
        self._spec = spec
        self._inputs = inputs
        self._outputs = outputs
        self._placement = placement

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Have the server run the model once.

        Raises:
            InputError: a feed does not fit the model's file.
            ModelError: the server refuses the request, or leaves out an output.
            RuntimeUnavailableError: it cannot be reached.
        """
        check_feeds(self._spec, self._inputs, feeds)
        names = [info.name for info in self._outputs]
        outputs, _ = self._connection.infer(self._name, feeds, names)
        missing = [name for name in names if name not in outputs]
        if missing:
            raise ModelError(f"The server's answer lacks the output {', '.join(missing)}.")
        return {info.name: _with_rank(outputs[info.name], len(info.shape)) for info in self._outputs}

    def placement(self) -> Placement:
        """The server, and its precision as far as that is known."""
        return self._placement


def open_remote(model: Path, url: str, *, compute: str | None = None, key: str = "") -> RemoteRunner:
    """Open a server's model, together with the file that it was made from.

    Args:
        model: The model file that the server runs, or that its engine was built from: it contains the
            golden cases.
        url: The server's REST interface, ``http://host:8000``, if the model is named like its file; or
            ``http://host:8000/v2/models/NAME``.
        compute: What the server computes in: ``fp32``, ``tf32``, ``fp16``, ``bf16``, ``int8``. None: as
            ``deploykit serve`` reports; for other servers ``fp32``.
        key: The bearer key that the server requires.

    Raises:
        OptionError: the URL or ``compute`` has another form.
        ModelError: the file is not a model, or the server's model has other inputs or outputs.
        RuntimeUnavailableError: the server cannot be reached.
    """
    if compute is not None and compute not in PRECISIONS:
        raise OptionError(f"--compute wants one of {', '.join(PRECISIONS)}, found {compute!r}.")
    file = read_model(model)
    connection = Connection(url, key=key)
    server = connection.server_info()
    name = connection.model or model.stem
    _check_tensors(connection.model_identity(name), file.inputs, file.outputs, model)
    return RemoteRunner(
        connection,
        name,
        spec=_limited(file.spec(), connection.page(name, "config")),
        inputs=file.inputs,
        outputs=file.outputs,
        placement=Placement(
            engine=str(server.get("name", "server"))[:64],
            version=str(server.get("version", ""))[:64],
            device=f"at {connection.origin}",
            precision=compute or _said(connection, name, server) or "fp32",
        ),
    )


def _check_tensors(
    server_info: Mapping[str, Any],
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    model: Path,
) -> None:
    """Refuse a server's model whose tensors differ from the file's.

    Raises:
        ModelError: they differ.
    """
    for kind, infos in (("inputs", inputs), ("outputs", outputs)):
        listed = server_info.get(kind)
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        theirs = {str(entry.get("name")): str(entry.get("datatype")) for entry in entries}
        ours = {info.name: datatype_of(info.dtype) for info in infos}
        if theirs != ours:
            raise ModelError(
                f"The server's model has the {kind} {_listed(theirs)}, {model} has {_listed(ours)}.",
                hint="Give the file that this server runs.",
            )


def _with_rank(output: np.ndarray, rank: int) -> np.ndarray:
    """An output with the rank that the file declares: Triton adds an axis to one number per image."""
    return output[..., 0] if output.ndim == rank + 1 and output.shape[-1] == 1 else output


def _listed(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {datatype}" for name, datatype in tensors.items()) or "none"


def _limited(spec: ModelSpec, config: Mapping[str, Any]) -> ModelSpec:
    """The contract with the server's largest batch, if its configuration has one."""
    limit = config.get("max_batch_size")
    batch = spec.input.dynamic.get("batch")
    if batch is None or type(limit) is not int or not batch.min <= limit < batch.max:
        return spec
    dynamic = {**spec.input.dynamic, "batch": replace(batch, max=limit)}
    return replace(spec, input=replace(spec.input, dynamic=dynamic))


def _said(connection: Connection, name: str, server: Mapping[str, Any]) -> str:
    """The precision that ``deploykit serve`` reports for the model; empty for other servers."""
    if server.get("name") != "deploykit":
        return ""
    placement = connection.page(name, "card").get("placement")
    return str(placement.get("precision", "")) if isinstance(placement, dict) else ""
