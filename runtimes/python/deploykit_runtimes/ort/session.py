"""Starting an ONNX Runtime session, and refusing one that is not what was asked for.

ONNX Runtime's Python package answers with the CPU when a provider cannot start, and only logs it; the
checks before and after make that an error (microsoft/onnxruntime#23372, #17801).
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from deploykit_runtimes.contract.spec import InputSpec
from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.engine_options import EngineOptions
from deploykit_runtimes.errors import ModelError, RuntimeUnavailableError
from deploykit_runtimes.files import utf8_name
from deploykit_runtimes.machine.elf import missing_libraries, needed_libraries
from deploykit_runtimes.machine.memory_limit import loading
from deploykit_runtimes.machine.nvidia import library_fix, preload, read_gpu, tensorrt_version
from deploykit_runtimes.onnx.model_files import hash_model
from deploykit_runtimes.ort.errors import failures, load_error
from deploykit_runtimes.ort.options import profile_shapes
from deploykit_runtimes.runner import Placement

__all__ = [
    "engine_key",
    "nodes_per_provider",
    "provider_library",
    "refuse_missing_libraries",
    "refuse_other_provider",
    "refuse_strays",
    "require_provider",
    "start_session",
    "tensor_info",
    "weights_in_memory",
    "working_precision",
]

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
_SHARE = 0.01
"""Weights of a type below this share are constants of the graph, not what it computes in."""


_NO_DRIVER = (
    "No NVIDIA driver is installed here: --runtime ort-cpu runs on the CPU. "
    "With a GPU, install its driver first."
)


def require_provider(ort: Any, wanted: str, *, has_driver: bool) -> None:
    """Refuse a provider that the wheel was built without, or that lacks its driver.

    Raises:
        RuntimeUnavailableError: says which, and the line that fixes it.
    """
    if wanted not in ort.get_available_providers():
        _refuse_both_wheels(wanted, has_driver=has_driver)
        raise RuntimeUnavailableError(
            f"{wanted} was asked for, but the installed onnxruntime {ort.__version__} was built without it.",
            hint="Replace the wheel: pip uninstall -y onnxruntime && pip install 'deploykit[gpu]'"
            if has_driver
            else _NO_DRIVER,
        )
    if not has_driver:
        raise RuntimeUnavailableError(
            f"{wanted} was asked for, but no NVIDIA driver is installed (libcuda.so.1 is missing).",
            hint="Install the NVIDIA driver, or run on the CPU with --runtime ort-cpu.",
        )


def _refuse_both_wheels(wanted: str, *, has_driver: bool) -> None:
    """onnxruntime and onnxruntime-gpu write to the same folder: the later one breaks the earlier."""
    installed = {str(found.name).lower() for found in distributions()}
    if {"onnxruntime", "onnxruntime-gpu"} <= installed:
        raise RuntimeUnavailableError(
            f"{wanted} was asked for, but onnxruntime and onnxruntime-gpu are both installed and one "
            "has overwritten the other.",
            hint="pip uninstall -y onnxruntime onnxruntime-gpu && "
            f"pip install 'deploykit[{'gpu' if has_driver else 'cpu'}]'",
        )


def provider_library(ort: Any, device: str) -> Path:
    """The shared library of a provider, ``cuda`` or ``tensorrt``, in the installed wheel."""
    return Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{device}.so"


def refuse_missing_libraries(ort: Any, device: str, wanted: str) -> None:
    """Load what the provider links to, and name all of it that is not there.

    Raises:
        RuntimeUnavailableError: libraries are missing; the hint is the line that installs them.
    """
    for name in dict.fromkeys(("cuda", device)):
        library = provider_library(ort, name)
        preload(ort, needed_libraries(library))
        missing = missing_libraries(library)
        if missing:
            raise RuntimeUnavailableError(
                f"{wanted} was asked for, but {library.name} of onnxruntime {ort.__version__} needs "
                f"{', '.join(missing)}, not found.",
                hint=f"{library_fix(missing)}; --runtime ort-cpu runs on the CPU.",
            )


def start_session(
    ort: Any,
    path: Path,
    session_options: Any,
    providers: Mapping[str, Mapping[str, str]] | None,
    device: str,
    *,
    nbytes: int,
    model: bytes | None = None,
) -> Any:
    """Open an ``InferenceSession``; what ONNX Runtime raises becomes one of our errors.

    Args:
        providers: Options by provider, in order of priority; None: those in ``session_options``.
        nbytes: Size of the model with the weights beside it.
        model: What to open instead of the file; None: the file.

    Raises:
        ModelError: the file is missing or not an ONNX model.
        RuntimeUnavailableError: the provider cannot run it.
    """
    if not path.is_file():
        raise ModelError(f"{path} is not a file.", hint="Write a model with: deploykit export CHECKPOINT")
    chosen = {} if providers is None else {"providers": [(name, dict(v)) for name, v in providers.items()]}
    # What a GPU's driver asks for is not memory of the process.
    limit = loading(nbytes) if device == "cpu" else nullcontext()
    with limit as allowed:
        try:
            with utf8_name(path) as name:
                source = name if model is None else model
                return ort.InferenceSession(source, sess_options=session_options, enable_fallback=0, **chosen)
        except failures() as error:
            raise load_error(ort.__version__, path, device, error, allowed=allowed) from error


@contextmanager
def weights_in_memory(session_options: Any, path: Path, inside: Sequence[str]) -> Iterator[None]:
    """A session opened in the block copies the weights beside its model from memory, and maps no file.

    Weights that lie elsewhere than below the model's folder are left to ONNX Runtime, which refuses them.

    Args:
        inside: The other weights, as ``weights_beside`` names them.

    Raises:
        ModelError: they cannot be read.
    """
    if not inside or not hasattr(session_options, "add_external_initializers_from_files_in_memory"):
        yield
        return
    try:
        contents = [(path.parent / name).read_bytes() for name in inside]
    except OSError as error:
        raise ModelError(f"The weights of {path} cannot be read: {error}.") from error
    session_options.add_external_initializers_from_files_in_memory(
        list(inside), contents, [len(content) for content in contents]
    )
    yield
    del contents  # not before: the session reads from them when it is made


def refuse_other_provider(session: Any, wanted: str) -> None:
    """Refuse a session whose first provider is not the wanted one.

    Raises:
        RuntimeUnavailableError: ONNX Runtime fell back to another provider.
    """
    if session.get_providers()[0] != wanted:
        raise RuntimeUnavailableError(
            f"{wanted} was asked for, ONNX Runtime could only start {', '.join(session.get_providers())}.",
            hint="`deploykit doctor` lists the libraries it needs; --runtime ort-cpu runs on the CPU.",
        )


def refuse_strays(placement: Placement, wanted: str) -> None:
    """Refuse a placement with nodes on another provider, or without a record of any.

    Raises:
        RuntimeUnavailableError: names the providers and how many nodes they got.
    """
    strays = {name: count for name, count in placement.providers.items() if name != wanted}
    if strays or not placement.providers:
        found = ", ".join(f"{count} on {name}" for name, count in strays.items()) or "no record of any node"
        raise RuntimeUnavailableError(
            f"--strict wants every node on {wanted}, found {found}.",
            hint="Drop --strict to accept a mixed placement, or export with a fixed size.",
        )


def nodes_per_provider(session: Any) -> dict[str, int]:
    """All nodes of the graph that was opened, by the provider that ONNX Runtime assigned them to.

    Empty before version 1.24, which does not tell.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counts: dict[str, int] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] = counts.get(subgraph.ep_name, 0) + len(subgraph.get_nodes())
    return counts


def working_precision(weights: Mapping[str, int], device: str, options: EngineOptions) -> str:
    """What a model computes in, from the types of its weights: ``fp32``, ``fp16+fp32``.

    On x86 processors ONNX Runtime has no half-precision kernels: it converts FP16 weights and computes
    in FP32 (300 * 300 / 300 gives 300, which overflows in FP16).
    """
    total = sum(count for dtype, count in weights.items() if dtype in _PRECISIONS)
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    found = [_PRECISIONS[dtype] for dtype, n in ranked if dtype in _PRECISIONS and n >= _SHARE * total]
    if device == "cpu" and platform.machine().lower() in ("x86_64", "amd64"):
        found = ["fp32" if name in ("fp16", "bf16") else name for name in found]
    if device == "cuda" and options.precision == "auto":
        found = ["tf32" if name == "fp32" else name for name in found]
    return "+".join(dict.fromkeys(found)) or "fp32"


def engine_key(ort: Any, path: str | Path, image: InputSpec, options: EngineOptions) -> dict[str, object]:
    """Everything that an engine of the TensorRT provider depends on.

    Raises:
        RuntimeUnavailableError: there is no such GPU.
    """
    gpu = read_gpu(options.gpu)
    parser = needed_libraries(provider_library(ort, "tensorrt"))
    tensorrt = next((tensorrt_version(name) for name in parser if name.startswith("libnvinfer.so")), "")
    return {
        "model": hash_model(path),
        "onnxruntime": ort.__version__,
        "tensorrt": tensorrt,
        "gpu": gpu.name,
        "capability": gpu.capability,
        "driver": gpu.driver,
        "profile": list(profile_shapes(image)),
        "cuda_graph": options.cuda_graph,
    }


def tensor_info(node: Any) -> TensorInfo:
    """A graph input or output as ONNX Runtime describes it."""
    dtype = _DTYPES.get(node.type, node.type)
    shape = tuple(n if isinstance(n, int) else str(n or "?") for n in node.shape)
    return TensorInfo(name=node.name, dtype=dtype, shape=shape)
