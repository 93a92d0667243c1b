"""The models of a package: their names, their contract, and whether requests can share a batch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploykit_runtimes.build_options import ENGINE_SUFFIXES
from deploykit_runtimes.builds.model_folder import model_file, read_model
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError, OptionError
from deploykit_runtimes.onnx.model_files import files_of
from deploykit_runtimes.trt.profiles import Profile, default_profile

from deploykit.model_names import named_models

__all__ = ["PackagedModel", "check_max_batch", "dns_label", "dns_labels", "read_models"]

_LONGEST_LABEL = 53
"""Of a DNS label's 63 characters KServe keeps the rest for its suffixes (``-predictor``)."""


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model file and what a server must know about it.

    Attributes:
        name: What clients ask for.
        path: The .onnx file.
        inputs, outputs: Of the graph; dynamic axes by name.
        files: All files of the model; see ``files_of``.
    """

    name: str
    path: Path
    spec: ModelSpec
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    files: tuple[Path, ...]

    @property
    def place(self) -> str:
        """The model's path in a package; one with several files gets a folder of its own."""
        folder = f"models/{self.name}" if len(self.files) > 1 else "models"
        return f"{folder}/{self.name}.onnx"

    @property
    def profile(self) -> Profile:
        """Smallest, best and largest shape of each input, the defaults of ``deploykit build``."""
        return default_profile(self.spec, self.inputs)

    @property
    def max_batch(self) -> int:
        """The largest number of images in one run; 0 if requests cannot share a batch.

        Sharing needs a free first axis of every input and output, and any batch size from 1 upwards. The
        largest declared batch is limited as in ``deploykit build``, to what a GPU can reserve.
        """
        batch = self.spec.input.dynamic.get("batch")
        tensors = (*self.inputs, *self.outputs)
        free = all(info.shape and isinstance(info.shape[0], str) for info in tensors)
        if batch is None or not free or (batch.min, batch.step) != (1, 1):
            return 0
        if self.spec.output.layout == "end2end_flat":  # its first axis counts boxes
            return 0
        return self.profile[self.spec.input.name].max[0]


def read_models(models: str | Path | Iterable[str | Path]) -> tuple[PackagedModel, ...]:
    """Read the contract of each model, without an engine.

    Args:
        models: .onnx files or built folders; ``NAME=PATH`` for a name other than the file's.

    Raises:
        OptionError: no model is given, an argument is not a path, or a name is malformed or repeated.
        ModelError: a file is missing or damaged, is an engine, or takes inputs other than images.
    """
    return tuple(_read(name, path) for name, path in named_models(models).items())


def dns_label(name: str) -> str:
    """A Kubernetes name (RFC 1123 label) for a model: lower case, other characters replaced by dashes.

    Raises:
        OptionError: no valid character is left.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_LONGEST_LABEL].strip("-")
    if not label:
        raise OptionError(
            f"Kubernetes takes names of a-z, 0-9 and -, found {name!r}.", hint="Name the model: NAME=PATH"
        )
    # Services are the stricter ones (RFC 1035): they start with a letter.
    return label if label[0].isalpha() else f"m-{label}"[:_LONGEST_LABEL].rstrip("-")


def dns_labels(models: Sequence[PackagedModel]) -> tuple[str, ...]:
    """The label of each model.

    Raises:
        OptionError: two models would get the same one.
    """
    labels = [dns_label(model.name) for model in models]
    _refuse_twice(labels, "models are named, in Kubernetes' letters,", "Name them apart: NAME=PATH")
    return tuple(labels)


def check_max_batch(model: PackagedModel, wanted: int | None) -> int:
    """The largest batch of a model, limited to the requested one.

    Raises:
        OptionError: the model's largest batch is smaller.
    """
    if wanted is None or model.max_batch == 0:
        return model.max_batch
    allowed = model.spec.input.dynamic["batch"]
    if wanted not in allowed:
        raise OptionError(f"--max-batch {wanted}: {model.name} takes batches of {allowed}.")
    return wanted


def _read(name: str, path: Path) -> PackagedModel:
    file = model_file(path)
    if file.suffix in ENGINE_SUFFIXES:
        raise ModelError(
            f"{file} is an engine, which runs on the machine it was built for.",
            hint="Give the .onnx file; the server builds its own engine.",
        )
    outside = read_model(file)
    return PackagedModel(
        name=name,
        path=file,
        spec=outside.spec(),
        inputs=outside.inputs,
        outputs=outside.outputs,
        files=files_of(file),
    )


def _refuse_twice(names: Sequence[str], what: str, hint: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"{names.count(name)} {what} {name!r}.", hint=hint)
