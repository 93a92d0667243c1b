"""An engine on disk: the raw plan that every TensorRT tool reads, and a JSON sidecar that says what it is.

The sidecar lies beside the plan, ``model.engine`` and ``model.engine.json``. It holds the key of all
that the plan depends on, and the contract of the model, so that the plan runs without the ONNX file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deploykit_runtimes.contract.tensors import TensorInfo
from deploykit_runtimes.errors import ModelError
from deploykit_runtimes.files import atomic_path, room_for, sha256_of, write_target
from deploykit_runtimes.onnx.file import OnnxFile
from deploykit_runtimes.trt.profiles import Profile, ShapeRange, describe_profile

__all__ = ["TURING", "EngineKey", "Sidecar", "difference", "read_sidecar", "sidecar_path", "write_engine"]

FORMAT = 1
TURING = "7.5"
"""The compute capability that TensorRT for RTX leaves out of engines without named targets."""


@dataclass(frozen=True, kw_only=True)
class EngineKey:
    """All that a plan depends on.

    Attributes:
        onnx_sha256: Of the model file.
        flavour, version: Which TensorRT built it.
        gpu: Name of the GPU it was built on; empty where none was needed.
        capabilities: Compute capabilities it runs on; empty: 8.0 and all later ones that the flavour knows.
        profiles: Shapes it takes.
        precision, compatibility, version_compatible, strip_weights, optimization_level: See ``BuildOptions``.
    """

    onnx_sha256: str
    flavour: str
    version: str
    gpu: str = ""
    capabilities: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    precision: str = "model"
    compatibility: str = "none"
    version_compatible: bool = False
    strip_weights: bool = False
    optimization_level: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What is known about a plan.

    Attributes:
        key: All that it depends on.
        model: Name of the ONNX file, relative to the plan.
        plan_sha256: Of the plan, against damage.
        file: Metadata, inputs and outputs of the ONNX file.
    """

    key: EngineKey
    model: str
    plan_sha256: str
    file: OnnxFile


def sidecar_path(plan: Path) -> Path:
    """``model.engine`` -> ``model.engine.json``."""
    return plan.with_name(plan.name + ".json")


def difference(found: EngineKey, wanted: EngineKey) -> str:
    """Why an engine does not fit, as the end of "it was built ..."; empty when it fits.

    ``wanted`` is the key that a build here would get. Engines that were built to be compatible fit
    more than their own GPU and version.
    """
    if found.onnx_sha256 != wanted.onnx_sha256:
        return "from another version of the model"
    if found.flavour != wanted.flavour or not _version_fits(found, wanted):
        return f"by {found.flavour} {found.version}, this is {wanted.flavour} {wanted.version}"
    gpu = _gpu_difference(found, wanted)
    if gpu:
        return gpu
    if found.profiles != wanted.profiles:
        return f"for {_profiles(found)}, wanted {_profiles(wanted)}"
    for name in ("precision", "compatibility", "version_compatible", "strip_weights", "optimization_level"):
        if getattr(found, name) != getattr(wanted, name):
            words = name.replace("_", " ")
            return f"with {words} {getattr(found, name)}, wanted is {getattr(wanted, name)}"
    return ""


def _version_fits(found: EngineKey, wanted: EngineKey) -> bool:
    if found.version == wanted.version:
        return True
    old, new = (_numbers(key.version) for key in (found, wanted))
    return found.version_compatible and old[:1] == new[:1] and old <= new


def _gpu_difference(found: EngineKey, wanted: EngineKey) -> str:
    if found.flavour == "tensorrt-rtx":
        if found.capabilities:
            missing = not wanted.capabilities or not set(wanted.capabilities) <= set(found.capabilities)
        else:
            missing = TURING in wanted.capabilities  # the one that has to be asked for
        return f"for {_joined(found)}, wanted is {_joined(wanted)}" if missing else ""
    if found.gpu == wanted.gpu and found.capabilities == wanted.capabilities:
        return ""
    old, new = (_numbers(next(iter(key.capabilities), "")) for key in (found, wanted))
    if found.compatibility == "same-capability" and old == new:
        return ""
    if found.compatibility == "ampere+" and min(old, new) >= (8,):
        return ""
    return f"on {found.gpu} ({_joined(found)}), this is {wanted.gpu} ({_joined(wanted)})"


def _joined(key: EngineKey) -> str:
    return f"compute capability {', '.join(key.capabilities) or '8.0 and later'}"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


def _profiles(key: EngineKey) -> str:
    return " or ".join(describe_profile(profile) for profile in key.profiles)


def write_engine(path: Path, plan: memoryview | bytes, sidecar: Sidecar) -> tuple[Path, Path]:
    """Write plan and sidecar, each whole or not at all.

    The sidecar comes last and names the plan's hash: a run that is killed in between leaves a plan
    that is known to be unfinished business, never one that passes for another.

    Raises:
        OptionError: the folder cannot be written.
    """
    with atomic_path(path) as draft, room_for(memoryview(plan).nbytes):
        draft.write_bytes(plan)
        sidecar = replace(sidecar, plan_sha256=sha256_of(draft))
    described = sidecar_path(path)
    write_target(described, json.dumps(_to_json(sidecar), indent=1, ensure_ascii=False))
    return path, described


def read_sidecar(plan: Path) -> Sidecar | None:
    """What lies beside a plan; None where nothing does.

    Raises:
        ModelError: the sidecar is damaged, or of a later format.
    """
    path = sidecar_path(plan)
    if not path.is_file():
        return None
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} does not describe an engine: {error}.",
            hint="Build the engine again: deploykit build MODEL",
        ) from error


def _to_json(sidecar: Sidecar) -> dict[str, object]:
    key = asdict(sidecar.key)
    key["profiles"] = [
        {name: [shapes.min, shapes.opt, shapes.max] for name, shapes in profile.items()}
        for profile in sidecar.key.profiles
    ]
    return {
        "format": FORMAT,
        "key": key,
        "model": sidecar.model,
        "plan_sha256": sidecar.plan_sha256,
        "metadata": dict(sidecar.file.metadata),
        "inputs": [asdict(info) for info in sidecar.file.inputs],
        "outputs": [asdict(info) for info in sidecar.file.outputs],
        "weights": dict(sidecar.file.weights),
        "nodes": sidecar.file.nodes,
    }


def _from_json(data: Mapping[str, Any]) -> Sidecar:
    if data["format"] != FORMAT:
        raise ValueError(f"its format is {data['format']}, this version reads {FORMAT}")
    key = dict(data["key"])
    key["profiles"] = tuple(
        {name: _shape_range(shapes) for name, shapes in profile.items()} for profile in key["profiles"]
    )
    key["capabilities"] = tuple(str(name) for name in key["capabilities"])
    return Sidecar(
        key=EngineKey(**key),
        model=str(data["model"]),
        plan_sha256=str(data["plan_sha256"]),
        file=OnnxFile(
            metadata={str(name): str(text) for name, text in data["metadata"].items()},
            inputs=tuple(_tensor(info) for info in data["inputs"]),
            outputs=tuple(_tensor(info) for info in data["outputs"]),
            weights={str(name): int(count) for name, count in data["weights"].items()},
            nodes=int(data["nodes"]),
        ),
    )


def _shape_range(shapes: Any) -> ShapeRange:
    low, best, high = (tuple(int(n) for n in shape) for shape in shapes)
    return ShapeRange(min=low, opt=best, max=high)


def _tensor(info: Mapping[str, Any]) -> TensorInfo:
    shape = tuple(n if isinstance(n, int) else str(n) for n in info["shape"])
    return TensorInfo(name=str(info["name"]), dtype=str(info["dtype"]), shape=shape)
