"""A typed float16 file from a float32 file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.quantization.options import QuantizeOptions

if TYPE_CHECKING:
    from deploykit_exporters.precision.file import Fp16File

__all__ = ["calibration_pictures", "to_fp16"]


def to_fp16(
    model: Path, options: QuantizeOptions, *, report: Callable[[str], None] = lambda _: None
) -> Fp16File:
    """Convert an ONNX file to float16, and prove it.

    Raises:
        InputError: there are no calibration pictures, or none can be read.
        DeploykitError: see ``deploykit_exporters.precision.file.write_fp16``.
    """
    from deploykit_exporters.precision.file import check_float32, write_fp16

    check_float32(model)
    pictures = [] if options.calib is None else calibration_pictures(options.calib)
    data = "" if options.calib is None else options.calib.name
    return write_fp16(model, options.output, pictures, data=data, outputs=options.outputs, report=report)


def calibration_pictures(path: Path) -> list[Path]:
    """The pictures of a folder or a data.yaml: those of ``train``, otherwise those of ``val``.

    Raises:
        InputError: there are none.
        OptionError: a data.yaml has neither split.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        from deploykit.evaluation.data.yolo import listed_pictures

        return listed_pictures(path, ("train", "val"))
    from deploykit_exporters.precision.feeds import folder_pictures

    return folder_pictures(path)
