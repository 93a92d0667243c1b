"""``device=`` as other libraries spell it: the runtime and the GPU that are meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploykit_runtimes.errors import OptionError
from deploykit_runtimes.options.option import Options, declared, option
from deploykit_runtimes.runtimes import (
    available_runtimes,
    canonical_runtime,
    meant_runtime,
    runtime_named,
    short_names,
    working_runtimes,
)
from deploykit_runtimes.text.described import described

__all__ = ["RuntimeOptions", "chosen_runtime", "runtime_of"]

_EXAMPLES = 'Such as device="cpu", "cuda", "cuda:1", 0 (a GPU) or "npu"; runtime= takes every engine by name.'


@declared
@dataclass(frozen=True, kw_only=True, repr=False)
class RuntimeOptions(Options):
    """What runs a model: an engine on a device."""

    runtime: str | None = option(
        None,
        "Engine and device: ort-cpu (default), ov-cpu, ort-cuda, trt, ...; `deploykit doctor` says what runs "
        "here.",
        metavar="NAME",
        completes="runtimes",
    )
    device: str | int | None = option(
        None,
        "Device, named as in torch and Ultralytics: cpu, cuda, cuda:1, 0 (a GPU), npu, ...",
        form="own",
        metavar="DEVICE",
    )


def chosen_runtime(
    runtime: str | None, device: object, settings: Mapping[str, Any], *, default: str = "ort-cpu"
) -> tuple[str, dict[str, Any]]:
    """The runtime that keywords ask for, and the other keywords with the GPU that ``device`` names.

    Args:
        runtime: As given, or None.
        device: As given, or None; see ``runtime_of``.
        settings: The other keywords.
        default: What runs where neither was given.

    Raises:
        OptionError: the device means no runtime, another one than was asked for, or another GPU.
    """
    if device is None:
        return runtime or default, dict(settings)
    meant, number = runtime_of(device, runtime)
    if number is None:
        return meant, dict(settings)
    if settings.get("gpu", number) != number:
        raise OptionError(
            f"device={described(device)} means GPU {number}, and gpu={settings['gpu']!r} was given too.",
            hint="Leave one of them out.",
        )
    return meant, {**settings, "gpu": number}


def runtime_of(device: object, runtime: str | None = None) -> tuple[str, int | None]:
    """The runtime that a device means, and the number of the GPU where it names one.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"gpu"``, ``0``, ``"npu"``, ``"intel:gpu"``, a
            ``torch.device``, or the name of a runtime.
        runtime: The runtime that was asked for besides, if any: it is taken where it runs on such a device.

    Raises:
        OptionError: it means no runtime, or another one than was asked for.
    """
    word, number = _word(device)
    means = {word: row.name for row in working_runtimes() for word in row.devices}
    known = {**{name: name for name in available_runtimes()}, **short_names(), **means}
    if word not in known:
        hint = meant_runtime(word, available_runtimes()) if word else ""
        raise OptionError(f"device={described(device)} is not a device known here.", hint=hint or _EXAMPLES)
    meant = known[word]
    if number and meant.endswith("-cpu"):
        raise OptionError(f"device={described(device)}: there is one CPU, number 0.", hint='device="cpu"')
    if runtime is None or canonical_runtime(runtime) == meant:
        return meant, number
    if word in means and _on_the_same(meant, runtime):
        return canonical_runtime(runtime), number
    raise OptionError(
        f"device={described(device)} means the runtime {meant}, and runtime={runtime!r} was given too.",
        hint="Leave one of them out; runtime is the more exact one.",
    )


def _on_the_same(meant: str, runtime: str) -> bool:
    """Whether two runtimes drive the same kind of device: ``cuda`` also means the GPU of ``trt``."""
    one, other = runtime_named(meant), runtime_named(runtime)
    return (one.device, one.nvidia) == (other.device, other.nvidia)


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
