"""What is measured, by name: a model file on an engine, or a checkpoint in torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploykit_runtimes.builds.model_folder import model_file
from deploykit_runtimes.contract.spec import AxisRange, ModelSpec
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.files import sha256_of
from deploykit_runtimes.onnx.model_files import hash_model
from deploykit_runtimes.prediction.predictor import Predictor
from deploykit_runtimes.runtimes import canonical_runtime

from deploykit.evaluation.options import EvalOptions
from deploykit.model_report import is_model_file

__all__ = ["EvalTarget", "targets_of"]

_BATCHES = AxisRange(min=1, max=256)


@dataclass(frozen=True, kw_only=True)
class EvalTarget:
    """One side of a comparison.

    Attributes:
        name: Its name in reports.
        path: The model file, or the checkpoint.
        runtime: The engine; ``torch`` for a checkpoint.
        options: The options of the evaluation.
    """

    name: str
    path: Path
    runtime: str
    options: EvalOptions

    def digest(self) -> str:
        """A hash of its files."""
        if self.runtime == "torch":
            return _checkpoint_digest(self.path)
        return hash_model(model_file(self.path))

    def open(self) -> tuple[Predictor, ModelSpec]:
        """Load it.

        Returns:
            The model, and its contract with the names that the caller gave.

        Raises:
            DeploykitError: see ``deploykit.load`` and ``load_checkpoint``.
        """
        if self.runtime == "torch":
            return self._open_checkpoint()
        from deploykit_runtimes import load

        predictor = load(self.path, runtime=self.runtime, options=self.options.engine)
        spec, names = predictor.spec, self.options.class_names
        if names and spec.num_classes and len(names) != spec.num_classes:
            predictor.close()
            raise OptionError(
                f"--labels gives {len(names)} names, {self.name} has {spec.num_classes} classes.",
                hint="Give one name per line, as many as the model has classes.",
            )
        return predictor, replace(spec, classes=names) if names else spec

    def _open_checkpoint(self) -> tuple[Predictor, ModelSpec]:
        from deploykit_exporters.families.base import Hints
        from deploykit_exporters.load import load_checkpoint
        from deploykit_exporters.proof.torch_runner import TorchRunner

        hints = Hints(imgsz=self.options.imgsz, labels=self.options.class_names or None)
        built = load_checkpoint(self.path, hints).built
        spec = replace(built.spec, input=replace(built.spec.input, dynamic={"batch": _BATCHES}))
        if self.options.rect:
            side = AxisRange(min=32, max=4096, step=32)
            axes = {"batch": _BATCHES, "height": side, "width": side}
            spec = replace(spec, input=replace(spec.input, dynamic=axes))
        return Predictor(TorchRunner(built, spec, threads=self.options.engine.threads)), spec


def _checkpoint_digest(path: Path) -> str:
    """A hash of a checkpoint, or of every file in its folder; a name such as timm:NAME is its own digest."""
    if path.is_file():
        return sha256_of(path)
    if not path.is_dir():
        return str(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    told = "".join(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\0" for file in files)
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()


def targets_of(paths: Sequence[str | Path], options: EvalOptions) -> list[EvalTarget]:
    """Each model file on each runtime, each checkpoint in torch; duplicates count once.

    Raises:
        OptionError: there is no such runtime, or nothing to measure.
    """
    runtimes = list(dict.fromkeys(canonical_runtime(name) for name in options.runtimes))
    sides: dict[tuple[str, str], Path] = {}
    for path in paths:
        for runtime in runtimes if is_model_file(path) else ["torch"]:
            sides.setdefault((str(path), runtime), Path(path))
    if not sides:
        raise OptionError("Wanted a model to evaluate, found none.")
    shared = _shared_names([path for path, _ in sides])
    several = len({path for path, _ in sides}) < len(sides)
    return [
        EvalTarget(
            name=f"{shared[text]} on {runtime}" if several else shared[text],
            path=path,
            runtime=runtime,
            options=options,
        )
        for (text, runtime), path in sides.items()
    ]


def _shared_names(paths: Sequence[str]) -> dict[str, str]:
    """The last parts of the paths, or more parts if two are the same."""
    names = {path: Path(path).name for path in paths}
    alike = len(set(names.values())) < len(names)
    return {path: path for path in paths} if alike else names
