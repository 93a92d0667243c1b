"""The options of ``quantize``, shared by the command line and Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import Options, declared, option, same_as

__all__ = ["QuantizeKeywords", "QuantizeOptions"]


class QuantizeKeywords(TypedDict, total=False):
    """The fields of ``QuantizeOptions`` as keywords, in every form that is understood."""

    fp16: bool
    calib: str | Path | None
    output: str | Path | None
    outputs: str | None


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class QuantizeOptions(Options):
    """In which precision a model file is written, and what it is measured on."""

    fp16: bool = option(False, "Write float16, with float32 where it is needed.")
    calib: Path | None = option(
        None,
        "Pictures to measure on: a folder, or Ultralytics' data.yaml. Default: the golden cases and a photo.",
        metavar="DIR|data.yaml",
        completes="files",
    )
    output: Path | None = option(
        None,
        "File to write. Default: MODEL-fp16.onnx beside the model.",
        flags=("-o", "--output"),
        metavar="OUT.onnx",
    )

    outputs: str | None = same_as(EngineOptions, "outputs")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fp16:
            raise OptionError("Which precision is not said.", hint="Add --fp16.")
