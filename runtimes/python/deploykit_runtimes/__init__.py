"""The torch-free runtime of deploykit: a model file in, answers out.

A device that only runs models needs this package, numpy, Pillow and one engine:

    from deploykit_runtimes import load

    with load("model.onnx") as model:
        print(model("cat.jpg"))

Importing this package loads no engine; each name below is looked up when first used. docs/api.md lists them.

answers/           From the raw outputs of a model to results in pixels of the image
builds/            What is compiled ahead of time and kept beside a model
contract/          What a model file declares about itself, and what is inferred where it declares nothing
machine/           The machine: its cores and GPUs, what it runs out of, and folders that others could write
                   to
onnx/              ONNX files, read and edited without an engine and without the onnx package
options/           Options: declared once, read in every reasonable form
ort/               ONNX Runtime: the adapter, its sessions and plug-ins, and the rewrites that it gets at
                   load
pixels/            From picture files to the tensor that a model takes, as its training code does it
prediction/        Pictures through a model, in one call
selftest/          The golden cases that a model file carries, and the test of an engine by them
text/              Text for people: safe to print, and short
trt/               TensorRT 10, TensorRT 11 and TensorRT for RTX behind one adapter
added.py           What other packages add as entry points; one that cannot be loaded spoils nothing but
                   itself
build_options.py   What is built ahead of time, how far a build is, and what came of it
devices.py         ``device=`` as other libraries spell it: the runtime and the GPU that are meant
engine_options.py  How a model is opened: one record for the Python API, the command line and every engine
errors.py          The exception tree. Every error that a user can cause is one of these
files.py           Files written whole or not at all
open.py            Engines by name
optional.py        Optional dependencies: an error that names the pip line instead of an ImportError
ov.py              OpenVINO adapter: CPU, GPU and NPU, with the precision that every layer really runs at
runner.py          The Runner protocol that every engine adapter keeps, and the way to open one
runtimes.py        Every way to run a model, in one table: an engine on a device, and how it opens and
                   builds
suitability.py     Whether a file of low precision runs where it was made for, in a sentence. C++ says the
                   same (``contract/suitability.cpp``)
targets.py         What a name to write to stands for: a file, also behind links, or a device or pipe
testing.py         A runner without an engine, for tests of whatever sits on top of one
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack

__version__ = "0.1.0"
__all__ = [
    "BuildOptions",
    "BuildResult",
    "Classification",
    "DependencyError",
    "DeploykitError",
    "Detection",
    "Detections",
    "EngineOptions",
    "Features",
    "InputError",
    "ModelError",
    "ModelSpec",
    "OptionError",
    "OrientedDetections",
    "Placement",
    "Poses",
    "Predictor",
    "Runner",
    "RuntimeUnavailableError",
    "Segmentation",
    "__version__",
    "available_runtimes",
    "build_engine",
    "load",
    "open_runner",
]

if TYPE_CHECKING:
    from pathlib import Path

    from deploykit_runtimes.answers.results import (
        Classification,
        Detection,
        Detections,
        Features,
        OrientedDetections,
        Poses,
        Segmentation,
    )
    from deploykit_runtimes.build_options import BuildOptions, BuildResult
    from deploykit_runtimes.builds.build import build_engine
    from deploykit_runtimes.contract.spec import ModelSpec
    from deploykit_runtimes.engine_options import EngineKeywords, EngineOptions
    from deploykit_runtimes.errors import (
        DependencyError,
        DeploykitError,
        InputError,
        ModelError,
        OptionError,
        RuntimeUnavailableError,
    )
    from deploykit_runtimes.open import open_runner
    from deploykit_runtimes.prediction.predictor import Predictor
    from deploykit_runtimes.runner import Placement, Runner
    from deploykit_runtimes.runtimes import available_runtimes

_LAZY = {
    "BuildOptions": "deploykit_runtimes.build_options",
    "BuildResult": "deploykit_runtimes.build_options",
    "Classification": "deploykit_runtimes.answers.results",
    "DependencyError": "deploykit_runtimes.errors",
    "DeploykitError": "deploykit_runtimes.errors",
    "Detection": "deploykit_runtimes.answers.results",
    "Detections": "deploykit_runtimes.answers.results",
    "EngineOptions": "deploykit_runtimes.engine_options",
    "Features": "deploykit_runtimes.answers.results",
    "InputError": "deploykit_runtimes.errors",
    "ModelError": "deploykit_runtimes.errors",
    "ModelSpec": "deploykit_runtimes.contract.spec",
    "OptionError": "deploykit_runtimes.errors",
    "OrientedDetections": "deploykit_runtimes.answers.results",
    "Placement": "deploykit_runtimes.runner",
    "Poses": "deploykit_runtimes.answers.results",
    "Predictor": "deploykit_runtimes.prediction.predictor",
    "Runner": "deploykit_runtimes.runner",
    "RuntimeUnavailableError": "deploykit_runtimes.errors",
    "Segmentation": "deploykit_runtimes.answers.results",
    "available_runtimes": "deploykit_runtimes.runtimes",
    "build_engine": "deploykit_runtimes.builds.build",
    "open_runner": "deploykit_runtimes.open",
}


def load(
    path: str | Path,
    *,
    runtime: str | None = None,
    device: str | int | None = None,
    options: EngineOptions | None = None,
    **settings: Unpack[EngineKeywords],
) -> Predictor:
    """Open a model file for prediction.

    Args:
        path: An .onnx file, by deploykit or by another exporter.
        runtime: Engine and device; see ``available_runtimes``. None: what ``device`` means, or ``ort-cpu``.
        device: The same as torch, Ultralytics and ONNX Runtime call it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``,
            ``0``, ``"npu"``, ...
        options: All options in one; what is given beside them wins.
        settings: Any field of ``EngineOptions``, which explains them: ``threads``, ``strict``, ``exact``,
            ``outputs`` (what the outputs of another exporter's file mean, such as ``yolov5``), ...

    Raises:
        ModelError, RuntimeUnavailableError, DependencyError, OptionError: see ``open_runner``.
    """
    from deploykit_runtimes.engine_options import EngineKeywords
    from deploykit_runtimes.open import open_runner
    from deploykit_runtimes.options.arguments import refuse_unknown
    from deploykit_runtimes.prediction.predictor import Predictor

    known = ("runtime", "device", "options", *EngineKeywords.__annotations__)
    refuse_unknown(settings, known, where="load()")
    return Predictor(open_runner(path, runtime=runtime, device=device, options=options, **settings))


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'deploykit_runtimes' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
