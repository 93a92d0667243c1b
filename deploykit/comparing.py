"""The operations of the facade that compare a model file with its checkpoint: ``verify`` and ``bisect``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from deploykit_runtimes.options.option import Options, refuse_other_fields

from deploykit.progress import counter_of, say_torch_loads

if TYPE_CHECKING:
    from deploykit_exporters.bisect.result import BisectResult
    from deploykit_exporters.options import ExportKeywords, ExportOptions
    from deploykit_exporters.sources.in_memory import Source
    from deploykit_exporters.verify import VerifyResult
    from deploykit_runtimes.engine_options import EngineKeywords, EngineOptions

    class VerifySettings(ExportKeywords, EngineKeywords, total=False):
        """The keywords of ``verify``."""

        tolerance: float | None

    class BisectSettings(VerifySettings, total=False):
        """The keywords of ``bisect``."""

        against: str


__all__ = ["bisect", "verify"]

_Own = TypeVar("_Own", bound=Options)


def verify(
    checkpoint: Source,
    model: str | Path,
    images: str | Path | Iterable[str | Path] = (),
    *,
    runtime: str | None = None,
    device: str | int | None = None,
    engine: EngineOptions | None = None,
    options: ExportOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[VerifySettings],
) -> VerifyResult:
    """Compare a model file with its checkpoint again, on noise, a photo and the given images.

    Args:
        checkpoint, model: The two sides; the first may be a module in memory, as for ``export``.
        images: Files, folders or glob patterns, one or several.
        runtime, device: What runs the model, as for ``load``.
        engine: How the model is opened; always ``exact``, since the file itself is to be proven.
        options: The options of the export, if they change the model.
        report: Called with a sentence as each stage starts; its method ``count(done, total)``, if it has
            one, is called as inputs are compared.
        settings: Any field of ``ExportOptions``, ``EngineOptions`` or ``VerifyOptions``, documented there:
            ``tolerance``, ``imgsz``, ``threads``, ...; they win over ``options`` and ``engine``.

    Raises:
        ParityError: the answers differ beyond the tolerance.
        DeploykitError: see ``deploykit_exporters.verify.verify``.
    """
    from deploykit_exporters.options import VerifyOptions

    asked, common = _asked(
        "verify()", VerifyOptions, settings, runtime=runtime, device=device, engine=engine, options=options
    )
    paths = _checked(checkpoint, model, images, common["options"])
    say_torch_loads(report)
    from deploykit_exporters.verify import verify as run

    return run(
        checkpoint, model, paths, **common, tolerance=asked.tolerance, report=report, count=counter_of(report)
    )


def bisect(
    checkpoint: Source,
    model: str | Path,
    images: str | Path | Iterable[str | Path] = (),
    *,
    runtime: str | None = None,
    device: str | int | None = None,
    engine: EngineOptions | None = None,
    options: ExportOptions | None = None,
    report: Callable[[str], None] | None = None,
    **settings: Unpack[BisectSettings],
) -> BisectResult:
    """Find the first layer at which an engine departs from the checkpoint: ``deploykit verify --bisect``.

        deploykit.bisect("best.pt", "best.onnx", runtime="ov-cpu").layer

    Args:
        checkpoint, model: As for ``verify``; the model is an .onnx file.
        images: Files, folders or glob patterns, one or several; none: the pictures of the file's golden
            cases.
        runtime, device: The engine in question, as for ``load``; or ``"ort-unoptimised"``.
        engine, options, report: As for ``verify``.
        settings: Any field of ``ExportOptions``, ``EngineOptions`` or ``BisectOptions``, documented there:
            ``tolerance``, ``against``, ...

    Raises:
        DeploykitError: see ``deploykit_exporters.bisect.run.bisect``.
    """
    from deploykit_exporters.options import BisectOptions

    asked, common = _asked(
        "bisect()", BisectOptions, settings, runtime=runtime, device=device, engine=engine, options=options
    )
    paths = _checked(checkpoint, model, images, common["options"])
    say_torch_loads(report)
    from deploykit_exporters.bisect.run import bisect as run

    return run(
        checkpoint, model, paths, **common, against=asked.against, tolerance=asked.tolerance, report=report
    )


def _asked(
    where: str,
    own: type[_Own],
    settings: Mapping[str, Any],
    *,
    runtime: str | None,
    device: str | int | None,
    engine: EngineOptions | None,
    options: ExportOptions | None,
) -> tuple[_Own, dict[str, Any]]:
    """Split options into those of the operation itself and, by name, those that both operations take.

    Args:
        where: The name of the public function.
        own: The dataclass of the former.
        settings: The keywords, which win over ``engine`` and ``options``.
        runtime, device, engine, options: As for ``verify``.
    """
    from dataclasses import fields

    from deploykit_exporters.options import ExportOptions
    from deploykit_runtimes.devices import chosen_runtime
    from deploykit_runtimes.engine_options import EngineOptions
    from deploykit_runtimes.options.option import put_over

    keywords = ("images", "runtime", "device", "engine", "options", "report")
    refuse_other_fields(where, settings, keywords, ExportOptions, EngineOptions, own)
    name, given = chosen_runtime(runtime, device, settings)
    of_engine = {field.name for field in fields(EngineOptions)}
    read = {key: value for key, value in given.items() if key not in of_engine}  # both have a precision
    both = {
        "options": put_over(options, ExportOptions, read),
        "runtime": name,
        "engine": put_over(engine, EngineOptions, given, "engine"),
    }
    return put_over(None, own, given), both


def _checked(
    checkpoint: Source,
    model: str | Path,
    images: str | Path | Iterable[str | Path],
    options: ExportOptions,
) -> list[Path]:
    """Refuse what can be refused before torch is loaded; returns the image files."""
    from deploykit_exporters.precheck import precheck
    from deploykit_runtimes.builds.model_folder import read_model
    from deploykit_runtimes.pixels.listing import list_images

    _refuse_model(checkpoint)
    precheck(checkpoint, options, writes=False)
    read_model(model)
    return list_images(images)


def _refuse_model(checkpoint: object) -> None:
    """Refuse a model given in place of the checkpoint that it is to be compared with.

    Raises:
        OptionError: it is a model.
    """
    from deploykit_runtimes.errors import OptionError
    from deploykit_runtimes.onnx.model_file import looks_like_onnx

    if isinstance(checkpoint, str | Path) and str(checkpoint) and looks_like_onnx(Path(checkpoint)):
        raise OptionError(
            f"verify wants the checkpoint first, and {checkpoint} is a model.",
            hint="deploykit verify CKPT MODEL [IMAGES]",
        )
