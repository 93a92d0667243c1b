"""``device=`` as other libraries spell it: the runtime and the GPU that are meant."""

from __future__ import annotations

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.runtimes import available_runtimes, canonical_runtime, meant_runtime, short_names
from deploykit_runtimes.text.described import described

__all__ = ["runtime_of"]

_MEANT = {
    **dict.fromkeys(("cpu", "cpuexecutionprovider", "onnxruntime"), "ort-cpu"),
    **dict.fromkeys(("cuda", "gpu", "cudaexecutionprovider"), "ort-cuda"),
    **dict.fromkeys(("tensorrtexecutionprovider",), "ort-trt"),
    **dict.fromkeys(("intel:cpu", "intel"), "ov-cpu"),
    **dict.fromkeys(("intel:gpu", "xpu", "igpu"), "ov-gpu"),
    **dict.fromkeys(("intel:npu", "npu"), "ov-npu"),
}
"""The words of torch, Ultralytics and ONNX Runtime for one device each."""

_EXAMPLES = 'Such as device="cpu", "cuda", "cuda:1", 0 (a GPU) or "npu"; runtime= takes every engine by name.'


def runtime_of(device: object, runtime: str | None = None) -> tuple[str, int | None]:
    """The runtime that a device means, and the number of the GPU where it names one.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"gpu"``, ``0``, ``"npu"``, ``"intel:gpu"``, a
            ``torch.device``, or the name of a runtime.
        runtime: The runtime that was asked for besides, if any.

    Raises:
        OptionError: it means no runtime, or another one than was asked for.
    """
    word, number = _word(device)
    known = {**{name: name for name in available_runtimes()}, **short_names(), **_MEANT}
    if word not in known:
        hint = meant_runtime(word, available_runtimes()) if word else ""
        raise OptionError(f"device={described(device)} is not a device known here.", hint=hint or _EXAMPLES)
    meant = known[word]
    if runtime is not None and canonical_runtime(runtime) != meant:
        raise OptionError(
            f"device={described(device)} means the runtime {meant}, and runtime={runtime!r} was given too.",
            hint="Leave one of them out; runtime is the exacter one.",
        )
    if number and meant.endswith("-cpu"):
        raise OptionError(f"device={described(device)}: there is one CPU, number 0.", hint='device="cpu"')
    return meant, number


def _word(device: object) -> tuple[str, int | None]:
    """``cuda:1`` as the word and the number."""
    if isinstance(device, int) and not isinstance(device, bool):
        return ("cuda", device) if device >= 0 else ("", None)
    if not isinstance(device, str) and type(device).__name__ != "device":  # of torch
        return "", None
    text = str(device).strip().lower()
    if text.isdecimal() and text.isascii():
        return "cuda", int(text)
    word, colon, number = text.rpartition(":")
    if colon and number.isdecimal() and number.isascii():
        return word, int(number)
    return text, None
