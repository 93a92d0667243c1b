"""Other names of runtimes: short ones that are taken, and those of other libraries, which are told."""

from __future__ import annotations

from collections.abc import Sequence

from deploykit_runtimes.arguments import suggestion

__all__ = ["SHORT", "meant_runtime"]

SHORT = {"ort": "ort-cpu", "ort-openvino": "ort-openvino-cpu", "ov": "ov-cpu", "openvino": "ov-cpu"}

_OTHER_WORDS = {
    **dict.fromkeys(("tensorrt", "nvidia-tensorrt", "tensorrtexecutionprovider"), ("trt", "ort-trt")),
    **dict.fromkeys(("tensorrt-rtx", "rtx"), ("trt-rtx",)),
    **dict.fromkeys(("gpu", "cuda", "nvidia", "onnxruntime-gpu", "cudaexecutionprovider"), ("ort-cuda",)),
    **dict.fromkeys(("onnxruntime", "onnx", "cpu", "cpuexecutionprovider"), ("ort-cpu",)),
    **dict.fromkeys(("intel", "openvino-cpu", "openvinoexecutionprovider"), ("ov-cpu",)),
    **dict.fromkeys(("npu", "intel-npu", "openvino-npu"), ("ov-npu",)),
    **dict.fromkeys(("igpu", "xpu", "intel-gpu", "openvino-gpu"), ("ov-gpu",)),
}
"""What engines and devices are called elsewhere."""


def meant_runtime(name: str, known: Sequence[str]) -> str:
    """``Did you mean ...?`` for a runtime that is none of the known ones; empty when none is near.

    Of a device with a number (``cuda:0``) the number is for ``--gpu``.
    """
    word = name.lower().replace("_", "-").partition(":")[0]
    meant = [one for one in _OTHER_WORDS.get(word, (SHORT.get(word, word),)) if one in known]
    return f"Did you mean {' or '.join(meant)}?" if meant else suggestion(word, known)
