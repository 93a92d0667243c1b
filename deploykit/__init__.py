"""deploykit: from a trained checkpoint to one proven ONNX file that runs anywhere.

    import deploykit

    deploykit.export("best.pth", dynamic=True)
    result = deploykit.load("best.onnx")("cat.jpg")
    print(result.label, result.score)
    result.show()

Importing this package loads neither torch nor an engine; each name below does so when first used.
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
