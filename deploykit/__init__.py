"""deploykit: from a trained checkpoint to one proven ONNX file that runs anywhere.

    import deploykit

    deploykit.export("best.pth", dynamic=True)
    result = deploykit.load("best.onnx")("cat.jpg")
    print(result.label, result.score)
    result.show()

Importing this package loads neither torch nor an engine; each name below does so when first used.

benchmark/        Measuring models: timing, the environment record, and reports
checkup/          What this machine can run, and the one line that would fix what it cannot
commands/         The commands, a file each
evaluation/       Accuracy on labelled pictures: what ``deploykit eval`` measures
package/          Folders for other people's servers: Triton, Ray Serve, KServe, Docker
prediction/       What ``predict`` does with pictures, before and after the model
process/          The command's own process: what it prints of itself, and how it ends
protocol/         The Open Inference Protocol over HTTP, and `predict` beside it, as every server here reads
                  them
quantization/     Model files below float32
remote/           Models that a server runs, over the Open Inference Protocol: Triton, KServe, ``deploykit
                  serve``
serve/            The model server: the Open Inference Protocol over HTTP and gRPC, an endpoint for
                  pictures, and a page
api.py            The operations of the facade. Each has the defaults of its command
cli.py            The ``deploykit`` command: sub-commands loaded when they are used, errors reported in one
                  message
comparing.py      The operations of the facade that compare a model file with its checkpoint: ``verify`` and
                  ``bisect``
demonstration.py  The demonstration: a real trained model, from its checkpoint to a measured ONNX file
examples.py       Examples at the end of a command's help
machine.py        Facts about the machine, read from where Linux keeps them; unknown facts are empty or None
model_names.py    Names of models: a file's or folder's own, or the one given as ``NAME=PATH``
model_report.py   What a model file holds, read without torch
operations.py     The operations of the facade that look at a machine: ``build``, ``selftest``, ``doctor``
                  and ``demo``
placed.py         The positional arguments of ``export``: the file to write, and the input size or an
                  example
progress.py       Progress of long work: a moving line on a terminal, plain lines elsewhere, always on
                  stderr
recording.py      The stand-alone script that records golden answers: where it is, and its use without the
                  export packages
terminal.py       How commands print: the only way out, with aligned pairs, units, and JSON that is valid
                  everywhere
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deploykit_runtimes import __version__, load
from deploykit_runtimes.errors import DeploykitError

if TYPE_CHECKING:
    from deploykit_exporters.bisect.result import BisectResult
    from deploykit_exporters.export import ExportResult
    from deploykit_exporters.inspect import CheckpointReport
    from deploykit_exporters.options import ExportOptions
    from deploykit_exporters.verify import VerifyResult
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
    from deploykit_runtimes.contract.spec import ModelSpec
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.prediction.predictor import Predictor
    from deploykit_runtimes.selftest.run import SelfTest

    from deploykit import serve
    from deploykit.api import bench, evaluate, export, inspect, quantize, record
    from deploykit.benchmark.options import BenchOptions
    from deploykit.benchmark.report import BenchReport
    from deploykit.checkup.diagnosis import Diagnosis
    from deploykit.comparing import bisect, verify
    from deploykit.demonstration import DemoResult
    from deploykit.evaluation.options import EvalOptions
    from deploykit.evaluation.report import EvalReport
    from deploykit.model_report import ModelReport
    from deploykit.operations import build, demo, doctor, selftest
    from deploykit.quantization.options import QuantizeOptions

_LAZY = {
    "BenchOptions": "deploykit.benchmark.options",
    "BenchReport": "deploykit.benchmark.report",
    "BisectResult": "deploykit_exporters.bisect.result",
    "BuildOptions": "deploykit_runtimes.build_options",
    "BuildResult": "deploykit_runtimes.build_options",
    "CheckpointReport": "deploykit_exporters.inspect",
    "Classification": "deploykit_runtimes.answers.results",
    "DemoResult": "deploykit.demonstration",
    "Detection": "deploykit_runtimes.answers.results",
    "Detections": "deploykit_runtimes.answers.results",
    "Diagnosis": "deploykit.checkup.diagnosis",
    "EvalOptions": "deploykit.evaluation.options",
    "EvalReport": "deploykit.evaluation.report",
    "EngineOptions": "deploykit_runtimes.engine_options",
    "ExportOptions": "deploykit_exporters.options",
    "ExportResult": "deploykit_exporters.export",
    "Features": "deploykit_runtimes.answers.results",
    "ModelReport": "deploykit.model_report",
    "ModelSpec": "deploykit_runtimes.contract.spec",
    "OrientedDetections": "deploykit_runtimes.answers.results",
    "Poses": "deploykit_runtimes.answers.results",
    "Predictor": "deploykit_runtimes.prediction.predictor",
    "QuantizeOptions": "deploykit.quantization.options",
    "Segmentation": "deploykit_runtimes.answers.results",
    "SelfTest": "deploykit_runtimes.selftest.run",
    "VerifyResult": "deploykit_exporters.verify",
    "build": "deploykit.operations",
    "demo": "deploykit.operations",
    "doctor": "deploykit.operations",
    "evaluate": "deploykit.api",
    "export": "deploykit.api",
    "inspect": "deploykit.api",
    "bench": "deploykit.api",
    "bisect": "deploykit.comparing",
    "quantize": "deploykit.api",
    "record": "deploykit.api",
    "selftest": "deploykit.operations",
    "verify": "deploykit.comparing",
}

__all__ = [
    "BenchOptions",
    "BenchReport",
    "BisectResult",
    "BuildOptions",
    "BuildResult",
    "CheckpointReport",
    "Classification",
    "DemoResult",
    "DeploykitError",
    "Detection",
    "Detections",
    "Diagnosis",
    "EngineOptions",
    "EvalOptions",
    "EvalReport",
    "ExportOptions",
    "ExportResult",
    "Features",
    "ModelReport",
    "ModelSpec",
    "OrientedDetections",
    "Poses",
    "Predictor",
    "QuantizeOptions",
    "Segmentation",
    "SelfTest",
    "VerifyResult",
    "__version__",
    "bench",
    "bisect",
    "build",
    "demo",
    "doctor",
    "evaluate",
    "export",
    "inspect",
    "load",
    "quantize",
    "record",
    "selftest",
    "serve",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "serve":  # a package, which importing makes an attribute
        return import_module("deploykit.serve")
    if name not in _LAZY:
        raise AttributeError(f"module 'deploykit' has no attribute {name!r}")
    # A sub-package of the same name (deploykit.bench) must not shadow the function.
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
