"""The options of ``quantize``, shared by the command line and Python."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from deploykit_runtimes.engine_options import EngineKeywords, EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import declared, option

from deploykit.evaluation.data.classes import Matching
from deploykit.quantization.int8.options import Int8Options, Metric, Target

__all__ = ["QuantizeKeywords", "QuantizeOptions"]


class QuantizeKeywords(EngineKeywords, total=False):
    """The fields of ``QuantizeOptions`` as keywords, in every accepted form."""

    fp16: bool
    int8: bool
    calib: str | Path | None
    output: str | Path | None
    budget: float | str
    metric: Metric | None
    target: Target
    calibrate: int
    limit: int | None
    seed: int
    split: str
    matching: Matching
    fresh: bool
    slower: bool
    seconds: float


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class QuantizeOptions(Int8Options):
    """The precision in which a model file is written, and the data it is measured on."""

    fp16: bool = option(False, "Write float16, with float32 where needed.")
    int8: bool = option(False, "Write 8 bits, with float32 where the accuracy needs it.")
    calib: Path | None = option(
        None,
        "Pictures to measure on: a folder, class folders, or Ultralytics' data.yaml. Default, for "
        "--fp16 only: the golden cases and a photo.",
        metavar="DIR|data.yaml",
        completes="files",
    )
    output: Path | None = option(
        None,
        "File to write. Default: MODEL-fp16.onnx or MODEL-int8.onnx beside the model.",
        flags=("-o", "--output"),
        metavar="OUT.onnx",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fp16 == self.int8:
            raise OptionError(
                "quantize writes one precision, found " + ("two." if self.fp16 else "none."),
                hint="Add --fp16 or --int8.",
            )
        if self.int8 and self.calib is None:
            raise OptionError(
                "--int8 wants pictures to calibrate with and to measure on.",
                hint="Name their folder with --calib; a data.yaml or class folders measure the accuracy too.",
            )
        if self.fp16:
            self._refuse_those_of_int8()

    def _refuse_those_of_int8(self) -> None:
        shared = {field.name for field in fields(EngineOptions)}
        for field in fields(Int8Options):
            if field.name not in shared and getattr(self, field.name) != field.default:
                label = "keep-slower" if field.name == "slower" else field.name.replace("_", "-")
                raise OptionError(f"--{label} is for --int8.", hint="Leave it out.")

    @property
    def for_int8(self) -> Int8Options:
        """The options that ``--int8`` uses."""
        return self.part(Int8Options)
