"""Every way to run a model, in one table: an engine on a device, and how it opens and builds.

Opening, building, the doctor, the command line and the packages read it. Other packages add runtimes of their
own as entry points of the group ``deploykit.runtimes``: the entry point's name is the runtime's, and what it
names is a ``Runtime``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

from deploykit_runtimes.added import Added
from deploykit_runtimes.errors import DependencyError, OptionError
from deploykit_runtimes.options.arguments import suggestion
from deploykit_runtimes.text.described import described

if TYPE_CHECKING:
    from deploykit_runtimes.build_options import Builder
    from deploykit_runtimes.runner import Runner

__all__ = [
    "GROUP",
    "Device",
    "Engine",
    "Runtime",
    "available_runtimes",
    "broken_runtimes",
    "buildable_runtimes",
    "canonical_runtime",
    "engine_file_runtimes",
    "meant_runtime",
    "package_of",
    "runtime_named",
    "runtimes_of_provider",
    "short_names",
    "working_runtimes",
]

GROUP = "deploykit.runtimes"
Device = Literal["cpu", "gpu", "npu"]
Engine = Literal["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx", "other"]

_OPEN_ORT = "deploykit_runtimes.ort.runner:open_ort"
_OPEN_PLUGIN = "deploykit_runtimes.ort.runner:open_ort_plugin"
_OPEN_OPENVINO = "deploykit_runtimes.ov:open_openvino"
_OPEN_TENSORRT = "deploykit_runtimes.trt.open:open_trt"
_BUILD_ENGINE = "deploykit_runtimes.trt.builder.ahead:build_ahead"
_BUILD_CACHE = "deploykit_runtimes.builds.caches:build_cache"
_BUILD_CONTEXT = "deploykit_runtimes.builds.ep_context:build_context"


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """One way to run a model.

    Attributes:
        name: What ``--runtime`` takes.
        engine: The library that runs the model.
        device: The kind of device: ``cpu``, ``gpu`` or ``npu``.
        opener: ``module:function`` that is called with the path, ``options=EngineOptions`` and ``arguments``,
            and returns a ``Runner``.
        arguments: Further keyword arguments of the opener.
        builder: ``module:function`` of the type ``Builder``; empty: it compiles nothing ahead of time.
        short: Shorter names that are taken for it.
        devices: The words of torch, Ultralytics and ONNX Runtime that mean it, for ``device=``.
        elsewhere: What other libraries call the engine or device besides; not taken, but suggested.
        packages: The packages of which one must be installed.
        extra: The extra of deploykit that installs it; empty where there is none.
        provider: The execution provider of ONNX Runtime whose compiled nodes (EPContext) it runs.
        nvidia: Whether it needs an NVIDIA GPU with its driver.
        engine_files: Whether it opens engine files (``.engine``, ``.plan``, ``.trt``) as well as ONNX files.
    """

    name: str
    engine: Engine
    device: Device
    opener: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    builder: str = ""
    short: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    extra: str = ""
    provider: str = ""
    nvidia: bool = False
    engine_files: bool = False

    def load_opener(self) -> Callable[..., Runner]:
        """The function that opens a model.

        Raises:
            DependencyError: another package's runtime names a function that is not there.
        """
        opener: Callable[..., Runner] = self._resolve(self.opener)
        return opener

    def load_builder(self) -> Builder:
        """The function that builds ahead of time; only for runtimes with a ``builder``.

        Raises:
            DependencyError: another package's runtime names a function that is not there.
        """
        builder: Builder = self._resolve(self.builder)
        return builder

    def _resolve(self, target: str) -> Any:
        module, _, name = target.partition(":")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            if self.name in _TABLE:
                raise
            raise DependencyError(
                f"The runtime {self.name} ({target}) cannot be loaded: {error}.",
                hint=f"Update or reinstall {_ADDED.package(self.name) or 'the package that brings it'}.",
            ) from error


def _openvino(
    device: Device, *, short: tuple[str, ...] = (), devices: tuple[str, ...], elsewhere: tuple[str, ...]
) -> Runtime:
    return Runtime(
        name=f"ov-{device}",
        engine="openvino",
        device=device,
        opener=_OPEN_OPENVINO,
        arguments={"device": device},
        builder=_BUILD_CACHE,
        short=short,
        devices=devices,
        elsewhere=elsewhere,
        packages=("openvino",),
        extra="openvino",
    )


def _ort_openvino(device: Device, *, short: tuple[str, ...] = ()) -> Runtime:
    return Runtime(
        name=f"ort-openvino-{device}",
        engine="onnxruntime",
        device=device,
        opener=_OPEN_PLUGIN,
        arguments={"plugin": "ort-openvino", "device": device},
        builder=_BUILD_CONTEXT,
        short=short,
        packages=("onnxruntime-ep-openvino",),
        provider="OpenVINOExecutionProvider",
    )


_NVIDIA_TENSORRT = ("tensorrt", "nvidia-tensorrt", "tensorrtexecutionprovider")
_ROWS = (
    Runtime(
        name="ort-cpu",
        engine="onnxruntime",
        device="cpu",
        opener=_OPEN_ORT,
        arguments={"device": "cpu"},
        short=("ort",),
        devices=("cpu", "cpuexecutionprovider", "onnxruntime"),
        elsewhere=("onnx",),
        packages=("onnxruntime", "onnxruntime-gpu"),
        extra="cpu",
    ),
    Runtime(
        name="ort-cuda",
        engine="onnxruntime",
        device="gpu",
        opener=_OPEN_ORT,
        arguments={"device": "cuda"},
        devices=("cuda", "gpu", "cudaexecutionprovider"),
        elsewhere=("nvidia", "onnxruntime-gpu"),
        packages=("onnxruntime-gpu",),
        extra="gpu",
        nvidia=True,
    ),
    Runtime(
        name="ort-trt",
        engine="onnxruntime",
        device="gpu",
        opener=_OPEN_ORT,
        arguments={"device": "tensorrt"},
        builder="deploykit_runtimes.builds.ep_context:build_tensorrt",
        devices=("tensorrtexecutionprovider",),
        elsewhere=_NVIDIA_TENSORRT,
        packages=("onnxruntime-gpu",),
        extra="gpu",
        provider="TensorrtExecutionProvider",
        nvidia=True,
    ),
    _ort_openvino("cpu", short=("ort-openvino",)),
    _ort_openvino("gpu"),
    _ort_openvino("npu"),
    Runtime(
        name="ort-rtx",
        engine="onnxruntime",
        device="gpu",
        opener=_OPEN_PLUGIN,
        arguments={"plugin": "ort-rtx"},
        builder=_BUILD_CONTEXT,
        packages=("onnxruntime-ep-nv-tensorrt-rtx",),
        provider="NvTensorRTRTXExecutionProvider",
        nvidia=True,
    ),
    Runtime(
        name="trt",
        engine="tensorrt",
        device="gpu",
        opener=_OPEN_TENSORRT,
        arguments={"runtime": "trt"},
        builder=_BUILD_ENGINE,
        elsewhere=_NVIDIA_TENSORRT,
        packages=("tensorrt", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings"),
        extra="tensorrt",
        nvidia=True,
        engine_files=True,
    ),
    Runtime(
        name="trt-rtx",
        engine="tensorrt-rtx",
        device="gpu",
        opener=_OPEN_TENSORRT,
        arguments={"runtime": "trt-rtx"},
        builder=_BUILD_ENGINE,
        elsewhere=("tensorrt-rtx", "rtx"),
        packages=("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
        extra="tensorrt-rtx",
        nvidia=True,
        engine_files=True,
    ),
    _openvino(
        "cpu",
        short=("ov", "openvino"),
        devices=("intel:cpu", "intel"),
        elsewhere=("openvino-cpu", "openvinoexecutionprovider"),
    ),
    _openvino("gpu", devices=("intel:gpu", "xpu", "igpu"), elsewhere=("intel-gpu", "openvino-gpu")),
    _openvino("npu", devices=("intel:npu", "npu"), elsewhere=("intel-npu", "openvino-npu")),
)
_TABLE = {row.name: row for row in _ROWS}


def _read_added(name: str, found: object) -> Runtime:
    """A row of another package, checked: what it lacks would show far from where it comes from."""
    if not isinstance(found, Runtime):
        raise TypeError(f"wanted a Runtime, found {described(found)}")
    if found.name != name:
        raise ValueError(f"its row is called {found.name}")
    for what, value, known in (("engine", found.engine, Engine), ("device", found.device, Device)):
        if value not in get_args(known):
            raise ValueError(f"its {what} is {value!r}, not one of {', '.join(get_args(known))}")
    for what, target in (("opener", found.opener), ("builder", found.builder)):
        module, _, function = target.partition(":") if isinstance(target, str) else ("", "", "")
        if not (module and function) and (target or what == "opener"):
            raise ValueError(f"its {what} is {target!r}, not module:function")
    return found


_ADDED = Added(GROUP, noun="runtime", read=_read_added)
"""The runtimes of other packages."""


def available_runtimes() -> tuple[str, ...]:
    """The names that ``open_runner`` takes; ``deploykit doctor`` says whether one runs here."""
    return (*_TABLE, *(name for name in _ADDED.names if name not in _TABLE))


def working_runtimes(*, quiet: bool = False) -> tuple[Runtime, ...]:
    """The rows of all runtimes, without those of other packages that cannot be loaded.

    Args:
        quiet: Give no warning about these: the caller does.
    """
    added = _ADDED.working(quiet=quiet)
    return (*_TABLE.values(), *(row for name, row in added.items() if name not in _TABLE))


def broken_runtimes() -> dict[str, str]:
    """The runtimes of other packages that cannot be loaded, and why."""
    return {name: reason for name, reason in _ADDED.broken().items() if name not in _TABLE}


def package_of(name: str) -> str:
    """The distribution that brings a runtime of another package; empty for others."""
    return _ADDED.package(name) if name in _ADDED.names and name not in _TABLE else ""


def buildable_runtimes() -> tuple[str, ...]:
    """The names that ``build_engine`` takes."""
    return tuple(row.name for row in working_runtimes() if row.builder)


def short_names() -> dict[str, str]:
    """Short names that are taken, each with the full one."""
    return {short: row.name for row in _TABLE.values() for short in row.short}


def canonical_runtime(name: str) -> str:
    """The full name of a runtime: ``ov`` is ``ov-cpu``.

    Raises:
        OptionError: no such runtime.
    """
    full = short_names().get(name, name)
    if full not in available_runtimes():
        raise OptionError(
            f"Runtime {name!r} is not one of {', '.join(available_runtimes())}.",
            hint=meant_runtime(name, available_runtimes()),
        )
    return full


def runtime_named(name: str) -> Runtime:
    """The row of a runtime, by its full or short name.

    Raises:
        OptionError: no such runtime.
        DependencyError: it is another package's, which cannot be loaded.
    """
    full = canonical_runtime(name)
    if full in _TABLE:
        return _TABLE[full]
    return _ADDED.load(full)


def engine_file_runtimes() -> tuple[str, ...]:
    """The runtimes that open engine files."""
    return tuple(row.name for row in _TABLE.values() if row.engine_files)


def runtimes_of_provider(provider: str) -> tuple[str, ...]:
    """The runtimes that run what an execution provider compiled (EPContext); for ``""`` all that run any."""
    return tuple(row.name for row in _TABLE.values() if row.provider and provider in (row.provider, ""))


def meant_runtime(name: str, known: Sequence[str]) -> str:
    """``Did you mean ...?`` for a name that is not one of the known ones; empty when none is near.

    In a device with a number (``cuda:0``), the number is for ``--gpu``.
    """
    word = name.lower().replace("_", "-").partition(":")[0]
    rows = sorted(
        (row for row in _TABLE.values() if word in (*row.devices, *row.elsewhere)), key=_is_provider
    )
    named = [row.name for row in rows] or [short_names().get(word, word)]
    meant = [one for one in named if one in known]
    return f"Did you mean {' or '.join(meant)}?" if meant else suggestion(word, known)


def _is_provider(row: Runtime) -> bool:
    """An engine itself comes before the provider of ONNX Runtime that wraps it."""
    return row.engine == "onnxruntime"
