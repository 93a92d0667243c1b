"""What is measured, by name: a model file on an engine, or its checkpoint in torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from deploykit_runtimes.builds.model_folder import model_file, read_model
from deploykit_runtimes.contract.spec import ModelSpec
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.open import open_runner
from deploykit_runtimes.runner import Runner
from deploykit_runtimes.runtimes import available_runtimes, canonical_runtime, meant_runtime

__all__ = ["BenchTarget", "find_checkpoint", "target_name"]


def target_name(name: str) -> str:
    """The full name of a runtime, or of a mode of torch.

    Raises:
        OptionError: it is neither.
    """
    if not name.startswith("torch"):
        try:
            return canonical_runtime(name)
        except OptionError as error:
            known = (*available_runtimes(), "torch")
            raise OptionError(
                f"Runtime {name!r} is not one of {', '.join(known)}.", hint=meant_runtime(name, known)
            ) from error
    from deploykit_exporters.proof.torch_runner import TORCH_RUNTIMES

    if name not in TORCH_RUNTIMES:
        raise OptionError(
            f"Runtime {name!r} is not one of {', '.join(TORCH_RUNTIMES)}.",
            hint=meant_runtime(name, tuple(TORCH_RUNTIMES)),
        )
    return name


@dataclass(frozen=True, kw_only=True)
class BenchTarget:
    """One side of a comparison.

    Attributes:
        name: A runtime, or ``torch`` and its modes (``TORCH_RUNTIMES`` of the exporters).
        model: The .onnx file.
        reference: The checkpoint that torch runs; None: looked for beside the model.
        options: See ``EngineOptions``; torch follows ``threads`` and ``gpu``.
    """

    name: str
    model: Path
    reference: str | None = None
    options: EngineOptions = EngineOptions()  # noqa: RUF009 - frozen

    def open(self) -> Runner:
        """Load it.

        Raises:
            DeploykitError: see ``open_runner`` and ``open_reference``.
        """
        if not self.name.startswith("torch"):
            return open_runner(self.model, runtime=self.name, options=self.options)
        from deploykit_exporters.proof.torch_runner import TORCH_RUNTIMES, open_reference

        spec = read_model(self.model).spec(self.options.outputs)
        checkpoint = self.reference or find_checkpoint(model_file(self.model), spec)
        mode = replace(TORCH_RUNTIMES[self.name], gpu=self.options.gpu)
        return open_reference(checkpoint, spec, mode=mode, threads=self.options.threads)


def find_checkpoint(model: Path, spec: ModelSpec) -> Path:
    """Find the checkpoint that a file was exported from, next to the file or in the current folder, by name
    and hash.

    Raises:
        OptionError: it is not there.
    """
    folders = (model.parent, Path.cwd())
    for folder in folders:
        path = folder / spec.source
        if spec.source and path.is_file() and sha256_of(path) == spec.source_sha256:
            return path
    wanted = f"{spec.source!r} of {spec.source_sha256[:12]}" if spec.source else "a checkpoint"
    raise OptionError(
        f"torch runs the checkpoint of {model.name}: wanted {wanted}, not found in "
        f"{' or '.join(str(folder) for folder in dict.fromkeys(folders))}.",
        hint="Name it with --reference CHECKPOINT.",
    )
