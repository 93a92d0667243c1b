"""The torch-free runtime of deploykit: a model file in, answers out.

A device that only runs models needs this package, numpy, Pillow and one engine:

    from deploykit_runtimes import load

    with load("model.onnx") as model:
        print(model("cat.jpg"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit_runtimes.arguments import known_keywords

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from pathlib import Path

    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.predictor import Predictor


@known_keywords("load()")
def load(
    path: str | Path,
    *,
    runtime: str | None = None,
    device: str | int | None = None,
    threads: int | None = None,
    strict: bool = False,
    outputs: str | None = None,
    options: EngineOptions | None = None,
) -> Predictor:
    """Open a model file for prediction.

    Args:
        path: An .onnx file, by deploykit or by another exporter.
        runtime: Engine and device; see ``deploykit_runtimes.runtimes.available_runtimes``. None: what
            ``device`` means, or ``ort-cpu``.
        device: The same as torch, Ultralytics and ONNX Runtime call it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``,
            ``0``, ``"npu"``, ...
        threads: Threads inside one operator on the CPU; None uses every usable core.
        strict: Refuse a model of which a part would run elsewhere than asked for.
        outputs: What the outputs of another exporter's file mean, such as ``yolov5``, where the file does not
            tell; one of ``readings.READINGS``.
        options: These and all others; None: only these.

    Raises:
        ModelError, RuntimeUnavailableError, DependencyError, OptionError: see ``open_runner``.
    """
    from dataclasses import replace

    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.open import open_runner
    from deploykit_runtimes.predictor import Predictor

    options = options or EngineOptions(threads=threads, strict=strict)
    if device is not None:
        from deploykit_runtimes.devices import runtime_of

        runtime, gpu = runtime_of(device, runtime)
        options = options if gpu is None else replace(options, gpu=gpu)
    options = options if outputs is None else replace(options, outputs=outputs)
    return Predictor(open_runner(path, runtime=runtime or "ort-cpu", options=options))


def __dir__() -> list[str]:
    return sorted(__all__)
